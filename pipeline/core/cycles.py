"""Rows of one device as columns by cycle, and those as a block of bytes for a browser.

A block is, little-endian: 4 bytes `KRM1`; uint32 n, the header's length; the header, n bytes of JSON padded with spaces
so that what follows begins at a multiple of 8; float64 `time_us`; float64 `sequence`, NaN where unknown; then float32
values, one column of `rows` values for each stream, channel and quantity of the header, the quantity varying fastest.
NaN is unknown. (docs/live-page.md says it for those who write clients.)

Must not know: sockets, databases, who asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.model import CHANNELS, QUANTITIES, value_columns

MAGIC: Final = b"KRM1"
_COLUMNS: Final = [quantity.column for quantity in QUANTITIES]
_UNKNOWN: Final = -1


@dataclass(frozen=True, slots=True)
class Cycles:
    """n cycles of one device, in the order of time.

    `time_us`: shape (n,). `sequence`: shape (n,), -1 where unknown; the highest of the cycle's rows. `values`: shape
    (streams, channels, quantities, n), NaN where unknown, the quantities those of the model. A channel of which nothing
    is known is left out.
    """

    time_us: NDArray[np.int64]
    sequence: NDArray[np.int64]
    streams: tuple[str, ...]
    channels: tuple[str, ...]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.time_us)

    @classmethod
    def empty(cls, streams: Sequence[str]) -> Cycles:
        """No cycle."""
        none = np.empty(0, np.int64)
        return cls(none, none, tuple(streams), (), np.empty((len(streams), 0, len(QUANTITIES), 0), np.float32))

    def at(self, part: slice) -> Cycles:
        """Some of the cycles."""
        return Cycles(self.time_us[part], self.sequence[part], self.streams, self.channels, self.values[..., part])

    def between(self, from_us: int, to_us: int) -> Cycles:
        """The cycles with from_us <= time < to_us."""
        first, last = np.searchsorted(self.time_us, (from_us, to_us)).tolist()
        return self.at(slice(first, last))

    def then(self, later: Cycles) -> Cycles:
        """These cycles and later ones; a stream or channel that only one part knows is unknown in the other."""
        streams = tuple(dict.fromkeys((*self.streams, *later.streams)))
        channels = tuple(sorted({*self.channels, *later.channels}))
        values = np.full((len(streams), len(channels), len(QUANTITIES), len(self) + len(later)), np.nan, np.float32)
        for part, place in ((self, slice(0, len(self))), (later, slice(len(self), None))):
            for row, stream in enumerate(part.streams):
                for column, channel in enumerate(part.channels):
                    values[streams.index(stream), channels.index(channel), :, place] = part.values[row, column]
        return Cycles(
            np.concatenate((self.time_us, later.time_us)),
            np.concatenate((self.sequence, later.sequence)),
            streams,
            channels,
            values,
        )

    def total(self, streams: Sequence[str], column: str) -> NDArray[np.float64]:
        """Sum of a quantity over `streams`, shape (channels, n); NaN unless every one is known in the cycle."""
        if not set(streams) <= set(self.streams):
            return np.full((len(self.channels), len(self)), np.nan)
        chosen = [self.streams.index(stream) for stream in streams]
        return self.values[chosen, :, _COLUMNS.index(column)].sum(axis=0, dtype=np.float64)


def by_cycle(rows: pa.RecordBatch, streams: Sequence[str]) -> Cycles:
    """Columns from rows of `CYCLE_SCHEMA` of one device; those of one message make a cycle.

    Args:
        streams: those that come first, in this order; others follow by name.
    """
    names = rows.column("stream").dictionary.to_pylist()
    ordered = [*streams, *sorted(set(names) - set(streams))]
    place = np.array([ordered.index(name) for name in names], np.int64)
    _, first, cycle = np.unique(rows.column("message").to_numpy(), return_index=True, return_inverse=True)
    time_us = rows.column("time").view(pa.int64()).to_numpy()[first]
    sequence = np.full(len(first), _UNKNOWN, np.int64)
    np.maximum.at(sequence, cycle, rows.column("sequence").fill_null(_UNKNOWN).to_numpy())
    cells = np.full((len(ordered), len(CHANNELS) * len(QUANTITIES), len(first)), np.nan, np.float32)
    if rows.num_rows:
        columns = [rows.column(name).to_numpy(zero_copy_only=False) for c in CHANNELS for name in value_columns(c)]
        cells[place[rows.column("stream").indices.to_numpy()], :, cycle] = np.stack(columns, axis=1)
    order = np.argsort(time_us, kind="stable")
    values = cells.reshape(len(ordered), len(CHANNELS), len(QUANTITIES), len(first))[..., order]
    known = [index for index in range(len(CHANNELS)) if not np.isnan(values[:, index]).all()]
    return Cycles(
        time_us[order],
        sequence[order],
        tuple(ordered),
        tuple(CHANNELS[index] for index in known),
        np.ascontiguousarray(values[:, known]),
    )


def to_block(cycles: Cycles, **header: Any) -> bytes:
    """A block; `header` goes into its header."""
    said = {
        **header,
        "rows": len(cycles),
        "streams": cycles.streams,
        "channels": cycles.channels,
        "quantities": _COLUMNS,
    }
    text = json.dumps(said, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 8)
    sequence = np.where(cycles.sequence == _UNKNOWN, np.nan, cycles.sequence)
    return b"".join(
        (
            MAGIC,
            len(text).to_bytes(4, "little"),
            text,
            cycles.time_us.astype("<f8").tobytes(),
            sequence.astype("<f8").tobytes(),
            cycles.values.astype("<f4").tobytes(),
        )
    )


def from_block(data: bytes) -> tuple[Mapping[str, Any], Cycles]:
    """The header and the cycles of a block.

    Raises:
        ValueError: not a block.
    """
    if data[:4] != MAGIC:
        raise ValueError("not a block of cycles")
    start = 8 + int.from_bytes(data[4:8], "little")
    header = json.loads(data[8:start])
    rows, shape = header["rows"], tuple(len(header[name]) for name in ("streams", "channels", "quantities"))
    times = np.frombuffer(data, "<f8", 2 * rows, start).reshape(2, rows)
    values = np.frombuffer(data, "<f4", -1, start + 16 * rows).reshape(*shape, rows)
    sequence = np.where(np.isnan(times[1]), _UNKNOWN, times[1]).astype(np.int64)
    return header, Cycles(
        times[0].astype(np.int64), sequence, tuple(header["streams"]), tuple(header["channels"]), values
    )


def as_document(cycles: Cycles, streams: Sequence[str], channels: Iterable[str] = CHANNELS) -> dict[str, Any]:
    """The cycles as plain values and arrays, ready for JSON; NaN is to become null."""
    chosen = [channel for channel in channels if channel in cycles.channels]
    totals = {column: cycles.total(streams, column) for column in ("real_power_w", "reactive_power_var")}
    return {
        "time_us": cycles.time_us,
        "sequence": [None if number == _UNKNOWN else number for number in cycles.sequence.tolist()],
        "streams": {
            stream: {
                channel: {
                    column: cycles.values[row, cycles.channels.index(channel), index]
                    for index, column in enumerate(_COLUMNS)
                }
                for channel in chosen
            }
            for row, stream in enumerate(cycles.streams)
        },
        "three_phase": {
            channel: {column: total[cycles.channels.index(channel)] for column, total in totals.items()}
            for channel in chosen
        },
    }
