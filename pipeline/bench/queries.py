"""How long the questions take that people and dashboards ask, on 120 seconds of a hundred devices and a day of minutes.

The minutes before those 120 seconds are made by SQL, a row per device, stream and minute: only their number matters.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from pipeline.adapters.timescale import schema, upkeep
from pipeline.adapters.timescale.schema import Flavour
from pipeline.adapters.timescale.store import Store
from pipeline.bench.storage import DEVICES
from pipeline.bench.workload import Seconds, messages
from pipeline.core.config import Storage
from pipeline.core.intake import concatenate
from pipeline.core.model import QUANTITIES, SPECTRUM_SCHEMA, Batch, Tally

SECONDS: Final = 120
REPEATS: Final = 15
QUERIES: Final = {  # parameters: the end of what is stored, one device's name
    "30 s of cycles, one phase of one device": (
        "SELECT time, real_power_w FROM cycle_by_phase WHERE device = %(device)s AND stream = 'threephase/karman1'"
        " AND phase = 'a' AND time BETWEEN %(end)s - interval '30 seconds' AND %(end)s ORDER BY time"
    ),
    "the fleet's total per second over 30 s": (
        "SELECT time, sum(real_power_w) FROM power_1s_by_phase"
        " WHERE time BETWEEN %(end)s - interval '30 seconds' AND %(end)s GROUP BY time ORDER BY time"
    ),
    "a day of one device's phases by the minute": (
        "SELECT time, stream, real_power_w FROM power_1m_by_phase WHERE device = %(device)s"
        " AND time BETWEEN %(end)s - interval '1 day' AND %(end)s ORDER BY time"
    ),
    "a day of the fleet's total by the minute": (
        "SELECT time, sum(real_power_w) FROM power_1m_by_phase"
        " WHERE time BETWEEN %(end)s - interval '1 day' AND %(end)s GROUP BY time ORDER BY time"
    ),
    "the original's panel over 2 min": (
        "SELECT time, (data -> 'threephase/karman1' -> 'phase_a' ->> 'real_power')::float FROM bibimbap"
        " WHERE device = 'bibimbap' AND time BETWEEN %(end)s - interval '2 minutes' AND %(end)s ORDER BY time"
    ),
}


@dataclass(frozen=True, slots=True)
class Answered:
    """A query, the rows of its answer, and the median of its times."""

    query: str
    rows: int
    median_ms: float


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes on disk of a series, indexes included, for one frame of a device or one second of it."""

    what: str
    bytes_each: float
    columnstore_bytes_each: float | None


def measure(dsn: str) -> tuple[list[Answered], list[Kept]]:
    """Fill the new database `dsn`, ask, and look at its size."""
    schema.migrate(dsn)
    store = Store(dsn)
    upkeep.index_cycles(store.connection, Storage(), DEVICES)
    _, rows = messages(DEVICES, 1.0, (time.time_ns() // 1_000_000_000 - SECONDS) * 1_000_000)
    second = Seconds(rows)
    for number in range(SECONDS):
        part = second.at(number)
        tally = Tally(DEVICES * 60, DEVICES * 60, part.num_rows)
        store.write([Batch("bench", 1, number, {"bench": tally}, part, concatenate([], SPECTRUM_SCHEMA))])
    flavour = store.flavour
    store.close()
    with psycopg.connect(dsn, autocommit=True) as connection:
        kept = list(_kept(connection, flavour))
        _day_of_minutes(connection, flavour)
        connection.execute("VACUUM ANALYZE")
        (end,) = connection.execute("SELECT max(time) FROM cycle").fetchone() or (None,)
        with psycopg.ClientCursor(connection) as cursor:  # literals in the text, as Grafana sends them
            asked = {"end": end, "device": f"bench{DEVICES // 2:04d}"}
            return [_ask(cursor, name, text, asked) for name, text in QUERIES.items()], kept


def _ask(cursor: psycopg.ClientCursor[Any], name: str, text: str, asked: Mapping[str, Any]) -> Answered:
    times_s, rows = [], 0
    for _ in range(REPEATS):
        began_s = time.perf_counter()
        rows = len(cursor.execute(text.encode(), asked).fetchall())
        times_s.append(time.perf_counter() - began_s)
    return Answered(name, rows, statistics.median(times_s) * 1e3)


def _kept(connection: psycopg.Connection[Any], flavour: Flavour) -> Iterator[Kept]:
    for series, each, count in (
        ("cycle", "frame", DEVICES * 60 * SECONDS),
        ("power_1s", "second of a device", DEVICES * SECONDS),
    ):
        what = f"{series}, per {each}"
        if flavour is Flavour.TIMESCALE:
            (size,) = connection.execute("SELECT hypertable_size(%s)::float8", [series]).fetchone() or (0.0,)
            for (chunk,) in connection.execute("SELECT show_chunks(%s)", [series]).fetchall():
                connection.execute("CALL convert_to_columnstore(%s)", [chunk])
            (after,) = connection.execute("SELECT hypertable_size(%s)::float8", [series]).fetchone() or (0.0,)
            for (chunk,) in connection.execute("SELECT show_chunks(%s)", [series]).fetchall():
                connection.execute("CALL convert_to_rowstore(%s)", [chunk])
            yield Kept(what, size / count, after / count)
        else:
            (size,) = connection.execute(
                "SELECT sum(pg_total_relation_size(inhrelid))::float8 FROM pg_inherits WHERE inhparent = %s::regclass",
                [series],
            ).fetchone() or (0.0,)
            yield Kept(what, size / count, None)


def _day_of_minutes(connection: psycopg.Connection[Any], flavour: Flavour) -> None:
    """A day of minutes before what is stored: on TimescaleDB by way of the seconds, for there they are computed."""
    names = ["time", "device_id", "stream_id", "channel", "row_count"]
    values = ["t", "d.id", "s.id", "'a'", "3600"]
    for column in (quantity.column for quantity in QUANTITIES):
        names += [f"{column}_{name}" for name in ("count", "sum", "sumsq", "min", "max")]
        values += ["3600", "3600 * 700", "3600 * 490000", "650", "750"]
    table = "power_1s" if flavour is Flavour.TIMESCALE else "power_1m"
    if flavour is Flavour.PLAIN:
        now_us = time.time_ns() // 1000
        upkeep.Partitions().ensure(connection, table, now_us - 90_000_000_000, now_us)
    connection.execute(
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM device d CROSS JOIN stream s"  # noqa: S608
        f" CROSS JOIN generate_series(date_trunc('minute', now()) - interval '1 day', now() - interval '5 minutes',"
        f" '1 minute') t".encode()
    )
    if flavour is Flavour.TIMESCALE:
        connection.execute("CALL refresh_continuous_aggregate('power_1m', NULL, NULL)")
