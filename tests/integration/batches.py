"""Batches as an ingest would hand them on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.core.model import CYCLE_SCHEMA, SPECTRUM_SCHEMA, VALUE_COLUMNS, Batch, Flag, Tally

START_US = 1_800_000_000_000_000


def cycles(count: int, device: str = "rack1-pdu2", first: int = 0) -> pa.RecordBatch:
    index = np.repeat(np.arange(first, first + count), 3)
    values = np.random.default_rng(7).normal(100, 30, (len(VALUE_COLUMNS), len(index))).astype(np.float32)
    values[:, 0] = np.nan
    values[0, 1] = np.inf
    return pa.RecordBatch.from_arrays(
        [
            pa.array(START_US + index * 16_667).view(CYCLE_SCHEMA.field("time").type),
            pa.array(START_US + index * 16_667 + 900).view(CYCLE_SCHEMA.field("received").type),
            pa.array([device] * len(index)).dictionary_encode(),
            pa.array([f"threephase/karman{1 + row % 3}" for row in range(len(index))]).dictionary_encode(),
            pa.array([None if row == 4 else int(number) for row, number in enumerate(index)], pa.int64()),
            pa.array(index),
            pa.array([int(Flag.TIME_ABSENT) if row == 5 else 0 for row in range(len(index))], pa.int32()),
            *(
                pa.array(column, mask=(np.arange(len(index)) == 6) & (name != "a_power_factor"))
                if name.startswith("a_")
                else pa.nulls(len(index), pa.float32())
                for name, column in zip(VALUE_COLUMNS, values, strict=True)
            ),
        ],
        schema=CYCLE_SCHEMA,
    )


def arrived_together(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of a device without a clock, all at one moment."""
    count = rows.num_rows
    at = pa.array([START_US] * count).view(CYCLE_SCHEMA.field("time").type)
    rows = rows.set_column(0, CYCLE_SCHEMA.field("time"), at)
    flags = pa.array([int(Flag.TIME_ABSENT)] * count, pa.int32())
    return rows.set_column(CYCLE_SCHEMA.get_field_index("flags"), CYCLE_SCHEMA.field("flags"), flags)


def spectra(rows: list[dict[str, object]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=SPECTRUM_SCHEMA)


def batch(number: int, rows: pa.RecordBatch | None = None) -> Batch:
    rows = cycles(20) if rows is None else rows
    tally = Tally(received=21, delivered=20, rows=rows.num_rows, missing=2, dropped={"malformed": 1})
    return Batch("ingest-0", 1000, number, {"rack1-pdu2": tally}, rows, spectra([]))
