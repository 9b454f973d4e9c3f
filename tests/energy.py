"""The energy of each stream, from the stored rows and from the metrics page."""

from __future__ import annotations

import re

import psycopg

from pipeline.core import families

# The step from the row before where the numbers follow, else a nominal cycle.
_FROM_ROWS = """
SELECT d.name, s.name, sum(
    p * CASE WHEN sequence = before + 1 THEN extract(epoch FROM time - earlier)::float8 ELSE 1 / 60.0::float8 END
)
FROM (
    SELECT device_id, stream_id, time, sequence, a_real_power_w::float8 AS p,
           lag(sequence) OVER w AS before, lag(time) OVER w AS earlier
    FROM cycle WINDOW w AS (PARTITION BY device_id, stream_id ORDER BY time)
) rows JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id GROUP BY 1, 2
"""
_SAMPLE = re.compile(rf"{families.ENERGY[0].name}\{{(.*)\}} (\S+)")


def from_rows(connection: psycopg.Connection) -> dict[tuple[str, str], float]:
    """Joules by device and stream, of the frames that are stored."""
    return {(device, stream): joules for device, stream, joules in connection.execute(_FROM_ROWS.encode()).fetchall()}


def exposed(page: str) -> dict[tuple[str, str], float]:
    """Joules by device and stream, as the counters of phase a stand."""
    found = {}
    for labels, value in _SAMPLE.findall(page):
        of = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if of["phase"] == "a":
            found[of["device"], of["stream"]] = float(value)
    return found
