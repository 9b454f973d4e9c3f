"""The statements that merge roll-ups, generated from the quantities.

The seconds are merged from a stage (a temporary table) by adding. The minutes and hours above are continuous aggregates
on TimescaleDB; on plain PostgreSQL they are computed anew from the level below for what `rollup_due` lists.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from pipeline.core.model import QUANTITIES
from pipeline.core.rollup import ROLLUP_SCHEMA

ROLLUP_COLUMNS: Final = pa.schema(
    [
        ROLLUP_SCHEMA.field("time"),
        pa.field("device_id", pa.int32()),
        pa.field("stream_id", pa.int16()),
        *[field for field in ROLLUP_SCHEMA if field.name not in ("time", "device", "stream")],
    ]
)
# A temporary table writes no WAL. It is kept for the connection; emptying it costs less than making it.
STAGE: Final = "CREATE TEMPORARY TABLE IF NOT EXISTS rollup_stage AS SELECT * FROM power_1s WITH NO DATA"

_KEYS: Final = ("device_id", "stream_id", "channel", "time")
_ADDED: Final = ("row_count", *(f"{q.column}_{name}" for q in QUANTITIES for name in ("count", "sum", "sumsq")))
_EXTREMES: Final = tuple((f"{q.column}_{name}", name) for q in QUANTITIES for name in ("min", "max"))
_COLUMNS: Final = (*_KEYS, *_ADDED, *(name for name, _ in _EXTREMES))


def _merge() -> str:
    updates = [f"{name} = t.{name} + EXCLUDED.{name}" for name in _ADDED]
    updates += [
        f"{name} = {'least' if kind == 'min' else 'greatest'}(t.{name}, EXCLUDED.{name})" for name, kind in _EXTREMES
    ]
    return (
        f"INSERT INTO power_1s AS t ({', '.join(_COLUMNS)}) SELECT {', '.join(_COLUMNS)} FROM rollup_stage"  # noqa: S608
        f" ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET {', '.join(updates)}"
    )


def _recompute(table: str, source: str, unit: str) -> str:
    """Compute anew the interval of `unit` that begins at the parameter `start`.

    One at a time: of several, PostgreSQL would look through all that was ever kept.
    """
    values = [f"sum({name})" for name in _ADDED] + [f"{kind}({name})" for name, kind in _EXTREMES]
    updates = [f"{name} = EXCLUDED.{name}" for name in _COLUMNS if name not in _KEYS]
    return (
        f"INSERT INTO {table} ({', '.join(_COLUMNS)})"  # noqa: S608 - made of our own names alone
        f" SELECT device_id, stream_id, channel, %(start)s, {', '.join(values)} FROM {source}"
        f" WHERE time >= %(start)s AND time < %(start)s + interval '1 {unit}' GROUP BY device_id, stream_id, channel"
        f" ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET {', '.join(updates)}"
    )


MERGE: Final = _merge()
NOTE_DUE: Final = (  # parameter: starts of minutes, seconds since the epoch
    "INSERT INTO rollup_due SELECT to_timestamp(m) FROM unnest(%s::bigint[]) AS m ON CONFLICT DO NOTHING"
)
# Keeps a minute on the list until our seconds are committed: who takes it off would compute it without them.
HOLD_DUE: Final = (
    "SELECT 1 FROM rollup_due WHERE minute IN (SELECT to_timestamp(m) FROM unnest(%s::bigint[]) AS m)"
    " ORDER BY minute FOR KEY SHARE"
)
RECOMPUTE_MINUTE: Final = _recompute("power_1m", "power_1s", "minute")
RECOMPUTE_HOUR: Final = _recompute("power_1h", "power_1m", "hour")
