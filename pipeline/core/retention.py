"""What an ingest that is not sending keeps of what it hears, and what of it follows once it takes over.

A standby hears the same messages as the ingest that it stands by for, in the same order per device. When it takes
over, the receivers say where each stream stands; what it heard after that is sent, so that nothing is missing and
nothing comes twice.

Must not know: protobuf (a decode function is handed in), sockets, clocks, why it takes over.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.continuity import Position
from pipeline.core.intake import Arrival, Arrivals, Decode, Opening
from pipeline.core.keys import Key, KeyTable
from pipeline.core.model import ARRIVAL_TIME

SKEW_US: Final = 1_000_000  # arrival at two hosts: their clocks, and the ways there, differ by less
ARRIVAL_BYTES: Final = 150  # what an arrival takes in memory beside its payload
_NONE: Final = -1


class Retention:
    """The arrivals of the last seconds, in order. `keep` is its only mutator.

    Args:
        keep_s: how long an arrival is kept.
        limit_bytes: what all of them may take; beyond it the oldest go.
    """

    def __init__(self, keep_s: float, limit_bytes: int) -> None:
        self._keep_s = keep_s
        self._limit_bytes = limit_bytes
        self._kept: deque[tuple[float, int, Arrivals]] = deque()
        self.nbytes = 0

    def keep(self, arrivals: Arrivals, now_s: float, ages: bool = True) -> None:
        """Add what came in, let go of what is too old or too much. Whoever is about to send it lets nothing age."""
        if arrivals:
            size = arrivals.nbytes + ARRIVAL_BYTES * len(arrivals)
            self._kept.append((now_s, size, arrivals))
            self.nbytes += size
        oldest_s = now_s - self._keep_s if ages else -math.inf
        while self._kept and (self._kept[0][0] < oldest_s or self.nbytes > self._limit_bytes):
            self.nbytes -= self._kept.popleft()[1]

    def arrivals(self) -> list[Arrival]:
        """Everything kept, oldest first."""
        return [arrival for _, _, arrivals in self._kept for arrival in arrivals]


class Border:
    """Tells rows that follow given positions from those at or before them. `following` is its only mutator.

    In the order of arrival a stream's rows follow from behind the row that stands at its position, or, where that row
    is not among them, from the first one of a later time. A device's own time only grows; a row that carries its
    arrival's instead is compared by sequence, within the second by which two hosts' arrivals may differ. Rows of
    streams without a position follow.
    """

    def __init__(self, positions: Mapping[Key, Position]) -> None:
        self._table = KeyTable()
        for key in positions:
            self._table.slot(key)
        self._last = np.array([position.sequence for position in positions.values()], np.int64)
        self._last_us = np.array([position.time_us for position in positions.values()], np.int64)
        self._behind = np.ones(len(positions), bool)

    def following(self, rows: pa.RecordBatch) -> NDArray[np.bool_]:
        """Which of these rows follow, shape (rows,). Rows may come in parts, each stream's in order."""
        slot = self._table.slots(rows) if rows.num_rows else np.empty(0, np.int64)
        extra = len(self._table.keys) - len(self._behind)
        if extra > 0:
            self._last, self._last_us, self._behind = (
                np.pad(column, (0, extra)) for column in (self._last, self._last_us, self._behind)
            )
        behind = self._behind[slot]
        if not behind.any():
            return ~behind
        index = np.arange(rows.num_rows)
        sequence = rows.column("sequence").fill_null(_NONE).to_numpy()
        later_us = rows.column("time").view(pa.int64()).to_numpy() - self._last_us[slot]
        arrival = rows.column("flags").to_numpy() & ARRIVAL_TIME != 0
        same = (sequence == self._last[slot]) & np.where(arrival, np.abs(later_us) <= SKEW_US, later_us == 0)
        later = np.where(
            arrival, (later_us > SKEW_US) | ((sequence > self._last[slot]) & (later_us > -SKEW_US)), later_us > 0
        )
        first, at = (np.full(len(self._behind), rows.num_rows) for _ in range(2))
        np.minimum.at(first, slot[later], index[later])
        np.minimum.at(at, slot[same], index[same])
        first = np.where(at < rows.num_rows, at + 1, first)
        self._behind &= (first == rows.num_rows) & (at == rows.num_rows)
        return ~behind | (index >= first[slot])


def what_follows(
    arrivals: Sequence[Arrival], decode: Decode, devices: Sequence[str], opening: Opening, since_us: int
) -> list[Arrival]:
    """The arrivals that come after what the store has, in order.

    A device's arrivals follow from behind the last one of which the store has anything: whole messages, and with them
    what cannot be used, so that it is counted once.

    Args:
        devices: the names behind the arrivals' device indices.
        since_us: where nothing tells what the store has (a device that sends no sequence numbers, or a store that
            could not read its positions), what arrived from then on follows.
    """
    usable = [index for index, arrival in enumerate(arrivals) if arrival.payload is not None]
    device = np.array([arrivals[index].device for index in usable], np.int32)
    received_us = np.array([arrivals[index].received_us for index in usable], np.int64)
    decoded = decode([arrivals[index].payload or b"" for index in usable], device, received_us, 0)
    message = np.array(usable, np.int64)
    start = np.zeros(len(devices), np.int64)  # by device: the arrival from which on its arrivals follow
    numbered = np.zeros(len(devices), bool)
    for product, rows in (("cycle", decoded.cycles), ("spectrum", decoded.spectra)):
        of = rows.column("message").to_numpy()
        known = message[of[~Border(opening.positions.get(product, {})).following(rows)]]
        at = np.array([arrivals[index].device for index in known.tolist()], np.int64)
        np.maximum.at(start, at, known + 1)
        numbered[device[of[rows.column("sequence").is_valid().to_numpy(zero_copy_only=False)]]] = True
    placed = {name for positions in opening.positions.values() for name, _ in positions}
    told = numbered & np.array([opening.complete or name in placed for name in devices])
    return [
        arrival
        for index, arrival in enumerate(arrivals)
        if (index >= start[arrival.device] if told[arrival.device] else arrival.received_us >= since_us)
    ]


def last_heard(arrivals: Sequence[Arrival], devices: Sequence[str], opening: Opening, since_us: int) -> dict[str, int]:
    """When each device was heard last before its ingest began anew: a silent one keeps its counters.

    By what was retained and by the time of the last row that is stored, whichever is later. That time a device's own
    clock may tell: so it counts as `since_us`, when the store was asked, at most.
    """
    told = [
        (name, min(position.time_us, since_us))
        for positions in opening.positions.values()
        for (name, _), position in positions.items()
    ]
    told += [(devices[arrival.device], arrival.received_us) for arrival in arrivals]
    heard: dict[str, int] = {}
    for name, at_us in told:
        heard[name] = max(at_us, heard.get(name, 0))
    return heard


_MARK: Final = {b"karman": b"retained"}


def as_retained(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows, marked as heard before their sender took over: a receiver may have them already."""
    return rows.replace_schema_metadata(_MARK)


def is_retained(rows: pa.RecordBatch) -> bool:
    """Whether rows are so marked."""
    return rows.schema.metadata == _MARK
