"""Energy of many series, integrated cycle by cycle: counters that only grow.

A row adds P x dt. dt is the step of event time from the row before it where its sequence number follows that row's;
else the nominal period, and the hole between them counts as gap seconds: nothing is made up for it. So a counter is
exact at any scrape interval, and `integrated + gap` is the time that has passed.

- Where a row or the one before it has no sequence number, its time tells: half to one and a half nominal periods later
  it follows, later still there is a hole.
- Steps count only between times of the device's own, and only up to `LONGEST_STEP_US`: a clock that was set is no
  energy.
- A row that comes late and fills a hole adds a nominal period; the hole stays counted.
- A row whose real power is unknown, or beyond all measure, adds its time to the gap.

Must not know: clocks, sockets, what a series is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.keys import sizes_of, starts_of

LONGEST_STEP_US: Final = 1_000_000  # a cycle lasts 20 ms at most; replays slower than a fiftieth of real time are rare
# Columns of `EnergyMeter.totals`: joules, joules, var-seconds, var-seconds, seconds, seconds.
IMPORTED, EXPORTED, LAGGING, LEADING, INTEGRATED, GAP = range(6)
LARGEST_W: Final = 1e7  # of a phase: beyond it is no measurement, and one would hide all others for good
UNKNOWN: Final = -1  # a row without a sequence number


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to integrate, each array of shape (n,): by series, those of one in the order of their arrival.

    `sequence`: `UNKNOWN` where the device sent none. `own_time`: whether `time_us` is the device's own.
    """

    series: NDArray[np.int64]
    time_us: NDArray[np.int64]
    sequence: NDArray[np.int64]
    own_time: NDArray[np.bool_]
    real_w: NDArray[np.float32]
    reactive_var: NDArray[np.float32]

    def at(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        return Rows(
            self.series[index],
            self.time_us[index],
            self.sequence[index],
            self.own_time[index],
            self.real_w[index],
            self.reactive_var[index],
        )


class EnergyMeter:
    """The energy of each series. `push` is its only mutator.

    Args:
        nominal_hz: cycles a second where two rows do not tell; of a series that has other ones, see `rate`.
        totals: shape (series, 6), from an earlier meter's `totals`.
        last: shape (series, 3), from an earlier meter's `last`.
    """

    def __init__(
        self, nominal_hz: float, totals: NDArray[np.float64] | None = None, last: NDArray[np.int64] | None = None
    ) -> None:
        self._nominal_hz = nominal_hz
        self.totals = np.empty((0, 6)) if totals is None else totals.copy()
        # Sequence, time in us, and whether that time is the device's own, of the newest row of each series.
        self.last = np.empty((0, 3), np.int64) if last is None else last.copy()
        self._period_s = np.full(len(self.totals), 1.0 / nominal_hz)

    def push(self, rows: Rows) -> None:
        """Add rows."""
        if len(rows.series) == 0:
            return
        self.widen(int(rows.series[-1]) + 1)
        while len(rows.series):
            before = self._before(rows)
            backwards = (rows.sequence != UNKNOWN) & (before[0] != UNKNOWN) & (rows.sequence <= before[0])
            if not backwards.any():
                self._integrate(rows, before)
                return
            straight = _straight(rows.series, backwards)
            self._integrate(rows.at(straight), before[:, straight])
            rows = rows.at(~straight)

    def widen(self, size: int) -> None:
        """Make room for so many series."""
        extra = size - len(self.totals)
        if extra > 0:
            self.totals = np.pad(self.totals, ((0, extra), (0, 0)))
            self.last = np.concatenate([self.last, np.full((extra, 3), UNKNOWN, np.int64)])
            self._period_s = np.append(self._period_s, np.full(extra, 1.0 / self._nominal_hz))

    def rate(self, series: int, nominal_hz: float) -> None:
        """A series has other cycles a second."""
        self.widen(series + 1)
        self._period_s[series] = 1.0 / nominal_hz

    def _before(self, rows: Rows) -> NDArray[np.int64]:
        """(sequence, time, own time) of the row before each, which is the series' newest for its first: (3, n)."""
        before = np.empty((3, len(rows.series)), np.int64)
        for own, figures in zip(before, (rows.sequence, rows.time_us, rows.own_time), strict=True):
            own[1:] = figures[:-1]
        starts = starts_of(rows.series)
        before[:, starts] = self.last.take(rows.series[starts], axis=0).T
        return before

    def _integrate(self, rows: Rows, before: NDArray[np.int64]) -> None:
        """Add rows; where one stands at or before its series' newest, it is the only one of its series."""
        before_sequence, before_us, before_own = before
        period_s = self._period_s[rows.series]
        known = (before_sequence != UNKNOWN) & (rows.sequence != UNKNOWN)
        ahead = np.where(known, rows.sequence - before_sequence, 1)
        timed = rows.own_time & (before_own == 1)
        step_us = rows.time_us - before_us
        late = known & (ahead < 0) & (step_us <= 0)
        nearly = (2e-6 * step_us >= period_s) & (2e-6 * step_us <= 3 * period_s)  # a nominal period
        follows = timed & np.where(known, (ahead == 1) & (step_us > 0) & (step_us <= LONGEST_STEP_US), nearly)
        seconds = np.where(follows, step_us / 1e6, period_s)
        hole = np.where(timed, step_us / 1e6, np.maximum(ahead, 0) * period_s) - period_s
        lacks = np.where(known, (ahead != 1) & ~late, timed & ~nearly)
        gap = np.where(lacks, np.maximum(hole, 0.0), 0.0)

        measured = np.abs(rows.real_w) <= LARGEST_W  # also False for NaN
        real_j = np.where(measured, rows.real_w, 0.0).astype(np.float64) * seconds
        reactive_vars = (
            np.where(np.abs(rows.reactive_var) <= LARGEST_W, rows.reactive_var, 0.0).astype(np.float64) * seconds
        )
        added = np.empty((6, len(seconds)))
        added[IMPORTED], added[EXPORTED] = np.maximum(real_j, 0.0), np.maximum(-real_j, 0.0)
        added[LAGGING], added[LEADING] = np.maximum(reactive_vars, 0.0), np.maximum(-reactive_vars, 0.0)
        added[INTEGRATED] = np.where(measured, seconds, 0.0)
        added[GAP] = gap + np.where(measured, 0.0, seconds)
        starts = starts_of(rows.series)
        self.totals[rows.series[starts]] += np.add.reduceat(added, starts, axis=1).T

        newest = np.append(starts[1:], len(rows.series)) - 1
        newest = newest[~late[newest]]
        self.last[rows.series[newest]] = np.stack(
            [rows.sequence[newest], rows.time_us[newest], rows.own_time[newest].astype(np.int64)], axis=1
        )


def _straight(series: NDArray[np.int64], backwards: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of each series the rows up to one that goes back, or such a row alone: what follows it depends on what it is."""
    starts = starts_of(series)
    group = np.arange(len(starts)).repeat(sizes_of(starts, len(series)))
    place = np.arange(len(series)) - starts[group]
    first = np.full(len(starts), len(series))
    np.minimum.at(first, group[backwards], place[backwards])
    return place < np.maximum(first, 1)[group]
