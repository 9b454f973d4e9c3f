"""From a recording's rows, one per time, stream and phase, to frames: both phases side by side, as on the wire.

Must not know: files, what makes a row acceptable (`core.recording_rules` has seen to that).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.model import QUANTITIES, VALUE_COLUMNS
from pipeline.core.recording_rules import PHASES, STREAM_PREFIX, Rows


def group(rows: Rows) -> tuple[pa.Array, pa.RecordBatch]:
    """Rows of one time make a frame, wherever they stand; frames come in the order of their first rows.

    Returns:
        (time_ms, cycles). `time_ms`: int64, each frame's time. `cycles`: a row per frame and stream, sorted by frame,
        then by the streams' first appearance: `frame` int64 from 0, `stream` string (`threephase/karman1` ...),
        `sequence` int64 (the frame's index unless every row has one), and `VALUE_COLUMNS` float32, null where there
        is nothing.
    """
    times, first, inverse = np.unique(rows.time_ms.to_numpy(), return_index=True, return_inverse=True)
    by_appearance = np.argsort(first)
    frame_of = np.empty_like(by_appearance)
    frame_of[by_appearance] = np.arange(len(times))

    streams = rows.stream.dictionary_encode()
    count = len(streams.dictionary)
    key, row = np.unique(frame_of[inverse] * count + streams.indices.to_numpy(), return_inverse=True)
    channel = pc.index_in(rows.phase, value_set=pa.array(PHASES)).to_numpy()
    source = np.full((len(PHASES), len(key)), -1)  # by channel: the row that each cycle's values come from
    source[channel, row] = np.arange(len(row))
    values = [
        rows.values[quantity.name].take(pa.array(index, mask=index < 0)) for index in source for quantity in QUANTITIES
    ]
    frame = pa.array(key // count)
    either = pa.array(np.where(source[0] >= 0, source[0], source[1]))
    sequence = frame if rows.sequence.null_count else rows.sequence.take(either)
    names = pc.binary_join_element_wise(STREAM_PREFIX, streams.dictionary, "")
    cycles = pa.RecordBatch.from_arrays(
        [frame, names.take(pa.array(key % count)), sequence, *values],
        names=["frame", "stream", "sequence", *VALUE_COLUMNS],
    )
    return pa.array(times[by_appearance]), cycles


def frame_rate_hz(time_ms: pa.Array) -> float:
    """Frames per second while they came regularly; NaN for fewer than two.

    Gaps and jumps do not count, and whole milliseconds are too coarse for a median: the mean of the usual spacings.
    """
    spacing_ms = np.diff(time_ms.to_numpy())
    forward = spacing_ms[spacing_ms > 0]
    if forward.size == 0:
        return float("nan")
    usual = forward[np.abs(forward - np.median(forward)) <= 0.5 * np.median(forward)]
    return float(1000.0 / usual.mean())
