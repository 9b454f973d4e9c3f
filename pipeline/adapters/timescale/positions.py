"""Where the streams stand: the newest stored row of each, found by way of the roll-ups, without a table to keep.

Must not know: what a gap is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import psycopg

from pipeline.adapters.timescale.connection import translated
from pipeline.core.continuity import Position
from pipeline.core.keys import Key

# By the whole of the key but its time: the end of the index tells. Without the channel all seconds would be read.
_LAST_SECONDS = """
SELECT d.id, s.id, d.name, s.name, last.time
FROM device d
CROSS JOIN stream s
CROSS JOIN LATERAL (
    SELECT max(newest.time) AS time
    FROM unnest('{a,b}'::text[]) c (channel)
    CROSS JOIN LATERAL (
        SELECT max(time) AS time FROM power_1s r
        WHERE r.device_id = d.id AND r.stream_id = s.id AND r.channel = c.channel
    ) newest
) last
WHERE d.name = ANY(%s) AND last.time IS NOT NULL
"""
# Messages that arrived at one moment may share their time.
_NEWEST_CYCLES = """
SELECT DISTINCT ON (device_id, stream_id) device_id, stream_id, sequence, (extract(epoch FROM time) * 1000000)::bigint
FROM cycle WHERE time >= %s AND time < %s AND device_id = ANY(%s) AND sequence IS NOT NULL
ORDER BY device_id, stream_id, time DESC, sequence DESC
"""
# By the index of each stream: there may be millions in a day, and most streams have none.
_NEWEST_SPECTRA = """
SELECT d.name, s.name, newest.sequence, (extract(epoch FROM newest.time) * 1000000)::bigint
FROM device d
CROSS JOIN stream s
CROSS JOIN LATERAL (
    SELECT sequence, time FROM spectrum p
    WHERE p.device_id = d.id AND p.stream_id = s.id AND time >= %s AND time < %s AND sequence IS NOT NULL
    ORDER BY time DESC, sequence DESC LIMIT 1
) newest
WHERE d.name = ANY(%s)
"""


def positions(connection: psycopg.Connection, devices: Sequence[str], now: datetime) -> dict[str, dict[Key, Position]]:
    """The newest row of each stream of the given devices, by product. Spectra are looked for in the last day."""
    found: dict[str, dict[Key, Position]] = {"cycle": {}, "spectrum": {}}
    with translated(), connection.transaction():
        names: dict[tuple[int, int], Key] = {}
        by_second: dict[datetime, set[int]] = defaultdict(set)
        for device_id, stream_id, device, stream, second in connection.execute(_LAST_SECONDS, [list(devices)]):
            names[device_id, stream_id] = (device, stream)
            by_second[second].add(device_id)
        # Devices that run stand in the same one or two seconds, so these are few queries.
        for second, ids in by_second.items():
            window = [second, second + timedelta(seconds=1), list(ids)]
            for device_id, stream_id, sequence, time_us in connection.execute(_NEWEST_CYCLES, window):
                key = names.get((device_id, stream_id))
                known = found["cycle"].get(key) if key else None
                if key and (known is None or known.time_us < time_us):
                    found["cycle"][key] = Position(sequence, time_us)
        window = [now - timedelta(days=1), now + timedelta(days=1), list(devices)]
        for device, stream, sequence, time_us in connection.execute(_NEWEST_SPECTRA, window):
            found["spectrum"][device, stream] = Position(sequence, time_us)
    return found
