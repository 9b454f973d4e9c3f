"""The statements that merge roll-ups, generated from the quantities.

Roll-ups are copied into a stage (a temporary table) and merged from there by adding, so that a second that comes in
several batches, or late, comes out right. Above `power_1s` TimescaleDB has continuous aggregates; on plain PostgreSQL
the same stage is merged into the minute and the hour too, in the same transaction.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from pipeline.adapters.timescale.schema import Flavour
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
# Kept for the connection, emptied in each transaction; a temporary table writes no WAL.
STAGE: Final = "CREATE TEMPORARY TABLE IF NOT EXISTS rollup_stage AS SELECT * FROM power_1s WITH NO DATA"

_KEYS: Final = ("device_id", "stream_id", "channel", "time")
_ADDED: Final = ("row_count", *(f"{q.column}_{name}" for q in QUANTITIES for name in ("count", "sum", "sumsq")))
_EXTREMES: Final = tuple((f"{q.column}_{name}", name) for q in QUANTITIES for name in ("min", "max"))


def _merge(table: str, unit: str) -> str:
    """Merge the stage into a table of `unit`s."""
    columns = [*_KEYS, *_ADDED, *(name for name, _ in _EXTREMES)]
    values = [f"sum({name})" for name in _ADDED] + [f"{kind}({name})" for name, kind in _EXTREMES]
    updates = [f"{name} = t.{name} + EXCLUDED.{name}" for name in _ADDED]
    updates += [
        f"{name} = {'least' if kind == 'min' else 'greatest'}(t.{name}, EXCLUDED.{name})" for name, kind in _EXTREMES
    ]
    return (
        f"INSERT INTO {table} AS t ({', '.join(columns)})"  # noqa: S608 - made of our own names alone
        f" SELECT device_id, stream_id, channel, date_trunc('{unit}', time, 'UTC'), {', '.join(values)}"
        f" FROM rollup_stage GROUP BY 1, 2, 3, 4"
        f" ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET {', '.join(updates)}"
    )


MERGES: Final = {
    Flavour.TIMESCALE: {"power_1s": _merge("power_1s", "second")},
    Flavour.PLAIN: {
        table: _merge(table, unit)
        for table, unit in (("power_1s", "second"), ("power_1m", "minute"), ("power_1h", "hour"))
    },
}
