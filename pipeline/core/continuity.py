"""Which rows continue their stream, and what is missing, repeated or begun anew.

Each (device, stream, product) counts its own sequence. Contiguous rows, nearly all, are handled as arrays; a key with
any break in a batch is walked from one run of contiguous rows to the next, so that a lossy link costs little more.

Rules, with L the last sequence and T its time:
- s = L + 1 continues; s > L + 1 is a gap of s - L - 1, unless that exceeds the bound: then numbering began anew.
- s <= L and seen before with the same time: a duplicate, not kept.
- s <= L, within the memory, not seen, and not later than T: it came late and fills a hole; kept.
- any other s <= L: the device began its numbering anew (a restart); kept, nothing is called missing.
Rows without a sequence are kept and not judged.

Must not know: sockets, clocks, what happens to a gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.keys import Key, KeyTable, by_series, starts_of
from pipeline.core.model import Gap, GapReason

MEMORY: Final = 256  # sequence numbers remembered per stream: 4 s at 60 Hz, more than a network reorders
MAX_GAP: Final = 60 * 3600 * 24  # a jump of more than a day of 60 Hz cycles is a new numbering, not a loss
_NONE: Final = np.int64(-1)
_Numbers = NDArray[np.int64] | int


@dataclass(frozen=True, slots=True)
class Position:
    """The last row of a stream that was kept: what a restarted ingest continues from."""

    sequence: int
    time_us: int

    def is_behind(self, other: Position) -> bool:
        """Whether a row that stands here came late, before `other`; else its stream stands here now."""
        return other.sequence - MEMORY < self.sequence < other.sequence and self.time_us <= other.time_us


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `Continuity.observe` found in a batch."""

    kept: NDArray[np.bool_]  # shape (rows,)
    gaps: tuple[Gap, ...]
    late: Mapping[Key, int]  # rows that filled a hole, by stream
    resets: Mapping[str, int]  # streams begun anew, by device


class Continuity:
    """The sequence state of the streams of one product. `observe` is its only mutator.

    Args:
        product: "cycle" or "spectrum", written into gaps.
        stride: by how much the sequence grows from row to row; 0 learns it as the smallest growth seen. A spectrum
            comes every so many cycles and may carry the cycle's number: what lies between is not missing.
        positions: where the streams stood when somebody last wrote them down; a gap from there to the first row is
            the time when nobody of ours listened.
    """

    def __init__(self, product: str, positions: Mapping[Key, Position] | None = None, stride: int = 1) -> None:
        self._product = product
        self._first_stride = stride
        self._table = KeyTable()
        self._last = np.empty(0, np.int64)
        self._last_time_us = np.empty(0, np.int64)
        self._stride = np.empty(0, np.int64)
        self._resumed = np.empty(0, bool)  # still at the position handed to the constructor
        self._seen = np.empty((0, MEMORY), np.int64)
        self._seen_time_us = np.empty((0, MEMORY), np.int64)
        for key, position in (positions or {}).items():
            slot = self._table.slot(key)
            self._grow()
            self._remember(slot, position.sequence, position.time_us)
            self._resumed[slot] = True

    def positions(self) -> dict[Key, Position]:
        """Where each stream stands; goes back in through the constructor."""
        return {
            key: Position(int(self._last[slot]), int(self._last_time_us[slot]))
            for slot, key in enumerate(self._table.keys)
            if self._last[slot] != _NONE
        }

    def observe(self, batch: pa.RecordBatch) -> Verdict:
        """Judge the rows of a batch, in the order of their arrival (columns of CYCLE_SCHEMA or SPECTRUM_SCHEMA)."""
        kept = np.ones(batch.num_rows, bool)
        sequenced = batch.column("sequence")
        if batch.num_rows == 0 or sequenced.null_count == batch.num_rows:
            return Verdict(kept, (), {}, {})
        slots = self._table.slots(batch)
        self._grow()
        sequence = (sequenced.fill_null(_NONE.item()) if sequenced.null_count else sequenced).to_numpy()
        time_us = batch.column("time").view(pa.int64()).to_numpy()
        rows = np.flatnonzero(sequence >= 0)
        order = rows[by_series(slots[rows])]
        slot, number = slots[order], sequence[order]
        first = starts_of(slot)
        previous = np.empty(len(number), np.int64)
        previous[1:] = number[:-1]
        previous[first] = self._last[slot[first]]
        stride = self._stride[slot]
        broken = ((number != previous + stride) | (stride == 0)) & (previous != _NONE)
        if not broken.any():  # nearly always
            self._remember(slot, number, time_us[order])
            return Verdict(kept, (), {}, {})
        troubled = np.isin(slot, slot[broken])
        self._remember(slot[~troubled], number[~troubled], time_us[order][~troubled])
        walk = _Walk()
        broken[first] = True
        for run in np.split(order[troubled], np.flatnonzero(broken[troubled])[1:]):
            self._follow(walk, run, int(slots[run[0]]), sequence[run], time_us[run])
        kept[walk.duplicates] = False
        return Verdict(kept, tuple(walk.gaps), walk.late, walk.resets)

    def _follow(
        self, walk: _Walk, rows: NDArray[np.int64], slot: int, number: NDArray[np.int64], time_us: NDArray[np.int64]
    ) -> None:
        """Walk contiguous rows of one stream, until the stream stands where they do: the others continue it.

        Where the stride is learnt, each row may teach another one: all are walked.
        """
        for index, row in enumerate(rows.tolist()):
            self._step(walk, row, slot, int(number[index]), int(time_us[index]))
            if self._first_stride and self._last[slot] == number[index]:
                if index + 1 < len(rows):
                    others = number[index + 1 :]
                    self._remember(np.full(len(others), slot), others, time_us[index + 1 :])
                return

    def _step(self, walk: _Walk, row: int, slot: int, number: int, time_us: int) -> None:
        last, last_time_us = int(self._last[slot]), int(self._last_time_us[slot])
        device, stream = self._table.keys[slot]
        cell = number % MEMORY
        if last == _NONE:
            pass
        elif last < number <= last + 1 + MAX_GAP:
            missing = self._missing(slot, number - last)
            if missing:
                reason = GapReason.RESTART if self._resumed[slot] else GapReason.TRANSPORT
                gap = Gap(device, stream, self._product, last, number, missing, last_time_us, time_us, reason)
                walk.gaps.append(gap)
        elif self._seen[slot, cell] == number and self._seen_time_us[slot, cell] == time_us:
            walk.duplicates.append(row)
            return
        elif self._seen[slot, cell] != number and Position(number, time_us).is_behind(Position(last, last_time_us)):
            walk.late[device, stream] = walk.late.get((device, stream), 0) + 1
            self._seen[slot, cell], self._seen_time_us[slot, cell] = number, time_us
            return
        else:
            walk.resets[device] = walk.resets.get(device, 0) + 1
            self._seen[slot] = _NONE
        self._remember(slot, number, time_us)

    def _missing(self, slot: int, growth: int) -> int:
        """How many rows lie within a growth of the sequence; learns the stride where it is not given."""
        stride = int(self._stride[slot])
        if self._first_stride == 0 and (stride == 0 or growth < stride):
            self._stride[slot] = stride = growth
        return -(-growth // stride) - 1

    def _remember(self, slot: _Numbers, number: _Numbers, time_us: _Numbers) -> None:
        """Move the positions forward, by one row or by many; for equal slots the last row counts."""
        self._last[slot], self._last_time_us[slot] = number, time_us
        self._resumed[slot] = False
        place = slot * MEMORY + number % MEMORY
        self._seen.reshape(-1)[place] = number
        self._seen_time_us.reshape(-1)[place] = time_us

    def _grow(self) -> None:
        if len(self._table.keys) <= len(self._last):
            return
        extra = max(16, 2 * len(self._table.keys)) - len(self._last)
        self._last = np.append(self._last, np.full(extra, _NONE))
        self._last_time_us = np.append(self._last_time_us, np.zeros(extra, np.int64))
        self._stride = np.append(self._stride, np.full(extra, self._first_stride))
        self._resumed = np.append(self._resumed, np.zeros(extra, bool))
        self._seen = np.concatenate((self._seen, np.full((extra, MEMORY), _NONE)))
        self._seen_time_us = np.concatenate((self._seen_time_us, np.zeros((extra, MEMORY), np.int64)))


class _Walk:
    """What accumulates while broken keys are walked."""

    def __init__(self) -> None:
        self.duplicates: list[int] = []
        self.gaps: list[Gap] = []
        self.late: dict[Key, int] = {}
        self.resets: dict[str, int] = {}
