"""Brings the cycles of many devices onto one grid in time, so that they can be added up.

The grid divides each second of UTC into as many slots as the mains has cycles. A cycle covers the time from its start
to the start of its successor, or a nominal period where that is further off or did not come, and gives each slot its
power times their overlap: what the slots hold is exactly the sum of power times duration of the cycles. Of currents the
squares are added up, whose mean is that of an rms value. All is counted in whole milliwatts, milliamperes and fractions
of a microsecond, so that any order of adding gives the same. A cycle that comes twice counts once.

Must not know: devices, phases, topology, wall clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.fleet.membership import carried

Ints = NDArray[np.int64]
SLOT: Final = 1_000_000  # units of time in a slot: with n slots a second one is 1/n microseconds
HEAT_SPLIT: Final = 1_000_000
BEHIND_S: Final = 2  # before the first row: others may be so much older


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Cycles of many series, in any order; arrays of shape (rows,).

    `time_us` as the device's clock had it; `shift_us` is added to it on the grid. `current_ma` is negative where it is
    unknown.
    """

    series: Ints
    time_us: Ints
    shift_us: Ints
    power_mw: Ints
    current_ma: Ints

    def at(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """The chosen rows."""
        return Rows(*(getattr(self, name)[index] for name in self.__slots__))

    @staticmethod
    def joined(parts: list[Rows]) -> Rows:
        """The rows of all parts."""
        return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A second of all series.

    Of shape (series, slots): `covered`, the time of the slot that cycles cover, `SLOT` if all of it; `energy`,
    milliwatts times that. Of shape (series, 2): `heat`, the squares of milliamperes times the time covered, as (whole,
    rest) with whole * HEAT_SPLIT + rest, for an int64 would overflow at 400 A. Of shape (series,): `dark`, of the time
    covered that in which the current was unknown.
    """

    second: int
    covered: Ints
    energy: Ints
    heat: Ints
    dark: Ints


class Concentrator:
    """Holds the seconds that are still open. Mutators: `push`, `close` and `carry`.

    Args:
        period_us: the nominal duration of a cycle of each series, shape (series,).
        slots: of a second.
        ahead_s: seconds that may be open at a time; what is further ahead is turned away.
        closed: the last second that is closed already; None: the first row decides.
    """

    def __init__(self, period_us: NDArray[np.float64], slots: int, ahead_s: int, closed: int | None = None) -> None:
        self._slots = slots
        self._period = np.rint(period_us * slots).astype(np.int64)
        self._ahead_s = ahead_s
        self._waiting: list[Rows] = []  # of the seconds that are still open
        self._open: dict[int, Cells] = {}  # what cycles of earlier seconds reach into
        self.closed = closed

    def push(self, rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Take in cycles. Answers which came too late and which are too far ahead, and are left out."""
        start_us = rows.time_us + rows.shift_us
        if self.closed is None and len(start_us):
            # The median: one clock that is ahead must not close the door to all others.
            self.closed = int(np.sort(start_us)[len(start_us) // 2]) // 1_000_000 - 1 - BEHIND_S
        first_us = ((self.closed or 0) + 1) * 1_000_000
        late = start_us < first_us
        ahead = start_us >= first_us + self._ahead_s * 1_000_000
        kept = ~(late | ahead)
        self._waiting.append(rows if kept.all() else rows.at(kept))
        return late, ahead

    def close(self, second: int) -> Cells:
        """The next second, which takes no more rows from now on; empty if there were none.

        Raises:
            ValueError: it is closed already.
        """
        if self.closed is not None and second <= self.closed:
            raise ValueError(f"second {second} is closed")
        self._settle((second + 1) * 1_000_000)
        self.closed = second
        for old in [number for number in self._open if number < second]:
            del self._open[old]
        cells = self._open.pop(second, None)
        return self._cells(second) if cells is None else cells

    def carry(self, origin: Ints, period_us: NDArray[np.float64]) -> None:
        """From now on for other series: `origin` says where each was among those before. What waits goes with them."""
        target = np.full(len(self._period), -1, np.int64)
        target[origin[origin >= 0]] = np.flatnonzero(origin >= 0)
        self._period = np.rint(period_us * self._slots).astype(np.int64)
        for index, rows in enumerate(self._waiting):
            moved = replace(rows, series=target[rows.series])
            self._waiting[index] = moved.at(moved.series >= 0)
        for second, cells in self._open.items():
            arrays = (cells.covered, cells.energy, cells.heat, cells.dark)
            self._open[second] = Cells(second, *(carried(array.T, origin, 0).T.copy() for array in arrays))

    def _settle(self, until_us: int) -> None:
        """Lay the cycles onto the grid that began before `until_us`; the others wait, for more may come between."""
        if not self._waiting:
            return
        rows = Rows.joined(self._waiting)
        rows = _sorted(rows)
        period = self._period[rows.series]
        step = np.zeros(len(period), np.int64)
        step[:-1] = np.where(rows.series[1:] == rows.series[:-1], np.diff(rows.time_us), 0) * self._slots
        regular = (2 * step >= period) & (2 * step <= 3 * period)
        due = rows.time_us + rows.shift_us < until_us
        self._lay(rows.at(due), np.where(regular, step, period)[due])
        self._waiting = [rows.at(~due)]

    def _lay(self, rows: Rows, duration: Ints) -> None:
        if len(duration) == 0:
            return
        start = (rows.time_us + rows.shift_us) * self._slots
        end = start + duration
        for ahead in range(int(-(-duration.max() // SLOT)) + 1):
            slot = start // SLOT + ahead
            overlap = np.minimum(end, (slot + 1) * SLOT) - np.maximum(start, slot * SLOT)
            second = slot // self._slots
            for number in range(int(second.min()), int(second.max()) + 1):
                mine = np.flatnonzero((overlap > 0) & (second == number))
                if len(mine):
                    self._add(number, rows.at(mine), slot[mine] % self._slots, overlap[mine])

    def _add(self, second: int, rows: Rows, slot: Ints, overlap: Ints) -> None:
        cells = self._open.get(second)
        if cells is None:
            cells = self._open[second] = self._cells(second)
        cell = rows.series * self._slots + slot
        for values, of in ((overlap, cells.covered), (overlap * rows.power_mw, cells.energy)):
            np.add.at(of.reshape(-1), cell, values)
        square = np.maximum(rows.current_ma, 0) ** 2
        np.add.at(cells.heat[:, 0], rows.series, square // HEAT_SPLIT * overlap)
        np.add.at(cells.heat[:, 1], rows.series, square % HEAT_SPLIT * overlap)
        np.add.at(cells.dark, rows.series, overlap * (rows.current_ma < 0))

    def _cells(self, second: int) -> Cells:
        shape = (len(self._period), self._slots)
        covered, energy = np.zeros((2, *shape), np.int64)
        return Cells(second, covered, energy, np.zeros((shape[0], 2), np.int64), np.zeros(shape[0], np.int64))


def _sorted(rows: Rows) -> Rows:
    """By series and time, each time of a series once: of repeats the first one counts."""
    if len(rows.series) == 0:
        return rows
    since_us = rows.time_us - rows.time_us.min()
    if since_us.max() < 1 << 36 and rows.series.max() < 1 << 26:
        key = (rows.series << 36) + since_us
        order = np.argsort(key)  # ten times as fast as a stable sort of both, which only repeats need
        if (np.diff(key[order]) > 0).all():
            return rows.at(order)
    rows = rows.at(np.lexsort((rows.time_us, rows.series)))
    again = np.zeros(len(rows.series), bool)
    again[1:] = (rows.series[1:] == rows.series[:-1]) & (rows.time_us[1:] == rows.time_us[:-1])
    return rows.at(~again)
