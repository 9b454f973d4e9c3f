"""One-second roll-ups: for each device, stream, channel and second the count, sum, sum of squares, least and greatest.

They merge by adding, so a second may be computed from several batches, in any order, also late. Sums are float64.
NaN, infinities and nulls are unknown: no quantity's count counts them. A row counts for a channel of which the device
sent anything.

Must not know: SQL, clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.keys import by_series, sizes_of, starts_of
from pipeline.core.model import CHANNELS, QUANTITIES, TIMESTAMP, value_columns

SECOND_US: Final = 1_000_000
STATISTICS: Final = (
    ("count", pa.int32()),
    ("sum", pa.float64()),
    ("sumsq", pa.float64()),
    ("min", pa.float32()),
    ("max", pa.float32()),
)
ROLLUP_SCHEMA: Final = pa.schema(
    [
        pa.field("time", TIMESTAMP, nullable=False),  # start of the second
        pa.field("device", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("stream", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("channel", pa.string(), nullable=False),
        pa.field("row_count", pa.int32(), nullable=False),
        *(pa.field(f"{q.column}_{name}", kind) for q in QUANTITIES for name, kind in STATISTICS),
    ]
)


def one_second(cycles: pa.RecordBatch) -> Sequence[pa.RecordBatch]:
    """The roll-ups of a batch of CYCLE_SCHEMA rows: one batch of ROLLUP_SCHEMA for each channel that has values."""
    if cycles.num_rows == 0:
        return []
    second = cycles.column("time").view(pa.int64()).to_numpy() // SECOND_US
    device, stream = cycles.column("device"), cycles.column("stream")
    streams = max(1, len(stream.dictionary))
    group = device.indices.to_numpy().astype(np.int64) * streams + stream.indices.to_numpy()
    interval = group + (second - second.min()) * (len(device.dictionary) * streams)
    order = by_series(interval)
    second, group = second[order], group[order]
    starts = starts_of(interval[order])
    keys = [
        pa.array(second[starts] * SECOND_US).view(TIMESTAMP),
        pa.DictionaryArray.from_arrays(pa.array((group[starts] // streams).astype(np.int32)), device.dictionary),
        pa.DictionaryArray.from_arrays(pa.array((group[starts] % streams).astype(np.int32)), stream.dictionary),
    ]
    rollups = []
    for channel in CHANNELS:
        columns = [cycles.column(name) for name in value_columns(channel)]
        sent = _sent(columns)
        if not sent.any():
            continue
        rows = np.add.reduceat(sent[order], starts, dtype=np.int32)
        statistics = chain.from_iterable(_statistics(column, order, starts) for column in columns)
        channels = pa.array([channel] * len(starts), pa.string())
        rollup = pa.RecordBatch.from_arrays([*keys, channels, pa.array(rows), *statistics], schema=ROLLUP_SCHEMA)
        rollups.append(rollup if rows.all() else rollup.filter(pa.array(rows > 0)))
    return rollups


def _statistics(column: pa.Array, order: NDArray[np.intp], starts: NDArray[np.intp]) -> tuple[pa.Array, ...]:
    """`STATISTICS` of one column, of the rows in an order from start to start."""
    values = np.take(column.to_numpy(zero_copy_only=False), order)
    exact = values.astype(np.float64)
    sums = np.add.reduceat(exact, starts)
    count = sizes_of(starts, len(order)).astype(np.int32)
    if not np.isfinite(sums).all():
        known = np.isfinite(values)
        count = np.add.reduceat(known, starts, dtype=np.int32)
        values, exact = np.where(known, values, np.float32(np.nan)), np.where(known, exact, 0.0)
        sums = np.add.reduceat(exact, starts)
    least, greatest = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    squares = np.add.reduceat(np.square(exact, out=exact), starts)
    none = count == 0
    return tuple(
        pa.array(figures, kind, mask=none if name in ("min", "max") else None)
        for (name, kind), figures in zip(STATISTICS, (count, sums, squares, least, greatest), strict=True)
    )


def _sent(columns: Sequence[pa.Array]) -> NDArray[np.bool_]:
    """In which rows the device sent anything of a channel."""
    if min(column.null_count for column in columns) == 0:
        return np.ones(len(columns[0]), bool)
    valid = [column.is_valid().to_numpy(zero_copy_only=False) for column in columns]
    return np.asarray(np.logical_or.reduce(valid), bool)
