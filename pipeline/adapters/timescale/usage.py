"""What each series takes on disk, and which of the server's jobs on them fail.

Must not know: how it is shown.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from pipeline.adapters.timescale.connection import connect, translated
from pipeline.adapters.timescale.jobs import failing
from pipeline.adapters.timescale.schema import Flavour, flavour_of
from pipeline.adapters.timescale.upkeep import PARTITION_S


@dataclass(frozen=True, slots=True)
class Usage:
    """A series: its bytes with indexes, its rows as the server estimates them, its partitions or chunks.

    `rows` is None where the server has not looked yet.
    """

    series: str
    nbytes: int
    rows: int | None
    parts: int
    columnar_parts: int


_JOB: Final = re.compile(r"\bJob \d+ \([^)]*\)")  # in what the scheduler says: else each says something of its own
_PLAIN: Final = """
SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint,
       CASE WHEN bool_or(reltuples < 0 AND pg_relation_size(inhrelid) > 0) THEN NULL
            ELSE coalesce(sum(greatest(reltuples, 0)), 0)::bigint END,
       count(*), 0
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = %(series)s::regclass
"""
_TIMESCALE: Final = """
WITH hypertable AS (  -- a continuous aggregate keeps its rows in one of its own
    SELECT format('%%I.%%I', hypertable_schema, hypertable_name)::regclass AS id
    FROM (
        SELECT hypertable_schema, hypertable_name FROM timescaledb_information.hypertables
        WHERE hypertable_name = %(series)s
        UNION ALL
        SELECT materialization_hypertable_schema, materialization_hypertable_name
        FROM timescaledb_information.continuous_aggregates WHERE view_name = %(series)s
    ) AS named
)
SELECT coalesce(hypertable_size(id), 0), approximate_row_count(id), count(is_compressed),
       count(*) FILTER (WHERE is_compressed)
FROM hypertable LEFT JOIN timescaledb_information.chunks
     ON format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = id
GROUP BY id
"""


def usage(dsn: str) -> list[Usage]:
    """The size of each series of a migrated database.

    Raises:
        StorageError: the database cannot be reached.
    """
    found = []
    with translated(), connect(dsn) as connection:
        statement = _TIMESCALE if flavour_of(connection) is Flavour.TIMESCALE else _PLAIN
        for series in PARTITION_S:
            row = connection.execute(statement.encode(), {"series": series}).fetchone() or (0, 0, 0, 0)
            found.append(Usage(series, *row))
    return found


def failing_jobs(dsn: str) -> Counter[str]:
    """At how many of its jobs a TimescaleDB's scheduler fails, by what it says.

    Raises:
        StorageError: the database cannot be reached.
    """
    with translated(), connect(dsn) as connection:
        if flavour_of(connection) is not Flavour.TIMESCALE:
            return Counter()
        return Counter(_JOB.sub("Job …", error) for _, _, error in failing(connection))
