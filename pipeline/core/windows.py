"""Rolling statistics over the last seconds of event time, for many series at once.

A window ends at the newest time that its own series has accepted, or later, where it is told so. Nothing is assumed of
the rate, of gaps, or of the order of arrival, and the result does not depend on how the rows were batched; but where a
clock is set back a window begins anew.

Must not know: clocks, what a series or a column means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.keys import sizes_of, starts_of

FIRST_CAPACITY: Final = 320  # 5 s at 60 Hz and some: the usual window fits without growing
TOGETHER: Final = 64  # series whose statistics are taken at a time: 640 KiB of values stay in a core's cache
SET_BACK_US: Final = 10_000_000  # rows that lie further behind than any that come late: the clock was set back
LARGEST_CAPACITY: Final = 8192  # samples kept of a series: 5 s at 1.6 kHz. 8192 x 8 x 4 B = 256 KiB a series at most


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of each series and column over its window; NaN where no value is known.

    `latest`, `peak`, `trough`, `average`, `mean_square`: shape (series, columns), float32 but for the last two.
    `newest_us`: newest event time, shape (series,); 0 where the series has had no row.
    """

    newest_us: NDArray[np.int64]
    latest: NDArray[np.float32]
    peak: NDArray[np.float32]
    trough: NDArray[np.float32]
    average: NDArray[np.float64]
    mean_square: NDArray[np.float64]


class RollingWindow:
    """The last `window_us` of each series. `push` is its only mutator.

    Args:
        window_us: length of the window in event time; a row exactly that old is outside.
        columns: values a row.
    """

    def __init__(self, window_us: int, columns: int) -> None:
        self._window_us = window_us
        self._columns = columns
        self._time_us = np.empty((0, FIRST_CAPACITY), np.int64)
        self._values = np.empty((0, FIRST_CAPACITY, columns), np.float32)
        self._next = np.empty(0, np.int64)  # the cell that each series writes next
        self.newest_us = np.empty(0, np.int64)  # of each series
        self.overwritten = 0  # samples lost from a window because a series is faster than LARGEST_CAPACITY allows

    def push(self, series: NDArray[np.int64], time_us: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Add rows that stand by series: its index (n,), event time (n,), values (n, columns), NaN for unknown ones."""
        if len(series) == 0:
            return
        self.widen(int(series[-1]) + 1)
        starts = starts_of(series)
        counts = sizes_of(starts, len(series))
        rank = np.arange(len(series)) - starts.repeat(counts)
        owners = series[starts]
        self.newest_us[owners] = np.maximum(self.newest_us[owners], np.maximum.reduceat(time_us, starts))
        if counts.max() > self._time_us.shape[1]:  # of so many at once the window has left most behind already
            inside = self._inside(series, time_us)
            if not inside.all():
                self.push(series[inside], time_us[inside], values[inside])
                return
        if counts.max() > LARGEST_CAPACITY:  # of more than can be kept, the last
            kept = rank >= np.repeat(counts, counts) - LARGEST_CAPACITY
            self.overwritten += int((~kept & self._inside(series, time_us)).sum())
            series, time_us, values, rank = series[kept], time_us[kept], values[kept], rank[kept]
        place = self._places(series, rank, min(int(counts.max()), LARGEST_CAPACITY))
        self._time_us.reshape(-1)[place] = time_us
        _whole(self._values)[place] = _whole(values)
        self._next[owners] = (self._next[owners] + counts) % self._time_us.shape[1]

    def statistics(self, until_us: NDArray[np.int64] | None = None) -> Statistics:
        """The statistics as they stand.

        Args:
            until_us: where the window of each series ends, if after its newest row. One that lies `SET_BACK_US` ahead
                of it is of the past.
        """
        until_us = (
            self.newest_us
            if until_us is None
            else np.where(
                self.newest_us > until_us + SET_BACK_US,
                self.newest_us + self._window_us,
                np.maximum(until_us, self.newest_us),
            )
        )
        parts = [self._of(slice(at, at + TOGETHER), until_us) for at in range(0, max(1, len(self._next)), TOGETHER)]
        return Statistics(*(np.concatenate(figures) for figures in zip(*parts, strict=True)))

    def _of(self, part: slice, until_us: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """The statistics of some of the series, in the order of their fields."""
        times_us, kept, newest_us = self._time_us[part], self._values[part], self.newest_us[part]
        outside = times_us <= (until_us[part] - self._window_us)[:, None]
        # Time last: statistics run along it, and are ten times as fast where it is contiguous.
        values = np.empty((len(kept), self._columns, kept.shape[1]), np.float32)
        np.add(kept.transpose(0, 2, 1), np.where(outside, np.float32(np.nan), np.float32(0.0))[:, None, :], out=values)
        known = values == values  # all but NaN
        count = np.add.reduce(known, axis=2, dtype=np.int64)
        peak, trough = np.fmax.reduce(values, axis=2), np.fmin.reduce(values, axis=2)
        values[~known] = 0.0
        exact = values.astype(np.float64)
        newest = (np.arange(len(kept)), np.argmax(times_us, axis=1))
        return (
            newest_us,
            np.where(outside[newest][:, None], np.float32(np.nan), kept[newest]),
            peak,
            trough,
            _over(exact.sum(axis=2), count),
            _over(np.vecdot(exact, exact), count),
        )

    def begin_anew(self, series: NDArray[np.int64]) -> None:
        """Let go of all rows of these series."""
        self.newest_us[series], self._time_us[series], self._values[series] = 0, 0, np.nan

    def widen(self, size: int) -> None:
        """Make room for so many series."""
        extra = size - len(self._next)
        if extra > 0:
            self._next = np.pad(self._next, (0, extra))
            self.newest_us = np.pad(self.newest_us, (0, extra))
            self._time_us = np.pad(self._time_us, ((0, extra), (0, 0)))
            self._values = np.pad(self._values, ((0, extra), (0, 0), (0, 0)), constant_values=np.nan)

    def _places(self, series: NDArray[np.int64], rank: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        """Where each row goes among all cells, after growing as long as a sample inside its window would go for it."""
        while True:
            capacity = self._time_us.shape[1]
            place = series * capacity + (self._next[series] + rank) % capacity
            standing = self._inside(series, self._time_us.reshape(-1)[place])
            if longest <= capacity and not standing.any():
                return place
            if capacity >= LARGEST_CAPACITY:
                self.overwritten += int(standing.sum())
                return place
            extra = min(capacity, LARGEST_CAPACITY - capacity)
            self._next[:] = capacity  # go on behind what is there; order does not matter, times decide
            self._time_us = np.pad(self._time_us, ((0, 0), (0, extra)))
            self._values = np.pad(self._values, ((0, 0), (0, extra), (0, 0)), constant_values=np.nan)

    def _inside(self, series: NDArray[np.int64], time_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        return time_us > self.newest_us[series] - self._window_us


class HeldExtremes:
    """The greatest and least value of each series and column, held for at least `hold_us` of event time.

    A value shows until its own interval of `hold_us` and the one after it have passed, so between once and twice
    `hold_us`: who looks at least that often sees every spike, however many look.
    """

    def __init__(self, hold_us: int, columns: int) -> None:
        self._hold_us = hold_us
        self._interval = np.empty(0, np.int64)  # the newest of each series
        # (greatest, least) x (this interval, the one before) x series x columns; the least are kept negated
        self._held = np.empty((2, 2, 0, columns), np.float32)

    def push(self, series: NDArray[np.int64], time_us: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Add rows that stand by series: its index (n,), event time (n,), values (n, columns), NaN for unknown ones."""
        if len(series) == 0:
            return
        self.widen(int(series[-1]) + 1)
        starts = starts_of(series)
        owners = series[starts]
        newest = np.maximum(self._interval[owners], np.maximum.reduceat(time_us, starts) // self._hold_us)
        moved = newest - self._interval[owners]
        if moved.any():
            self._interval[owners] = newest
            self._held[:, 1, owners[moved == 1]] = self._held[:, 0, owners[moved == 1]]
            self._held[:, 1, owners[moved > 1]] = np.nan
            self._held[:, 0, owners[moved > 0]] = np.nan
        if (np.minimum.reduceat(time_us, starts) // self._hold_us == newest).all():  # nearly always
            self._hold(0, owners, values, starts)
            return
        age = newest.repeat(sizes_of(starts, len(series))) - time_us // self._hold_us
        for back in (0, 1):
            self._hold(back, owners, np.where((age == back)[:, None], values, np.float32(np.nan)), starts)

    def _hold(
        self, back: int, owners: NDArray[np.int64], values: NDArray[np.float32], starts: NDArray[np.int64]
    ) -> None:
        # Where all values are known the simpler functions find the same in half the time.
        some = bool(np.isnan(values.min(initial=np.inf)))
        greatest, least = (np.fmax, np.fmin) if some else (np.maximum, np.minimum)
        best = greatest.reduceat(values, starts, axis=0), -least.reduceat(values, starts, axis=0)
        for held, extreme in zip(self._held[:, back], best, strict=True):
            held[owners] = np.fmax(held.take(owners, axis=0), extreme)

    def widen(self, size: int) -> None:
        """Make room for so many series."""
        extra = size - len(self._interval)
        if extra > 0:
            self._interval = np.pad(self._interval, (0, extra))
            self._held = np.pad(self._held, ((0, 0), (0, 0), (0, extra), (0, 0)), constant_values=np.nan)

    def begin_anew(self, series: NDArray[np.int64], time_us: NDArray[np.int64]) -> None:
        """Go on at these times, which lie before; what was held until now is held for another interval."""
        self._interval[series] = time_us // self._hold_us
        self._held[:, 1, series] = np.fmax(self._held[:, 0, series], self._held[:, 1, series])
        self._held[:, 0, series] = np.nan

    def extremes(self, until_us: NDArray[np.int64] | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(greatest, least), each of shape (series, columns); NaN where no value is known.

        Args:
            until_us: how far time has come for each series, if further than its newest row.
        """
        this, before = self._held[:, 0], self._held[:, 1]
        if until_us is not None and len(until_us):
            passed = (until_us // self._hold_us - self._interval)[:, None]
            this = np.where((passed > 1) | (passed < -1), np.float32(np.nan), this)
            before = np.where((passed > 0) | (passed < -1), np.float32(np.nan), before)
        greatest, negated = np.fmax(this, before)
        return greatest, -negated


class Rolling:
    """The window and the held extremes of many series. `push` is its only mutator.

    A clock that is set back, or a single time that is ahead of all others, does not freeze them: a series begins anew
    once all of its rows in a push lie `SET_BACK_US` behind its newest.
    """

    def __init__(self, window_us: int, hold_us: int, columns: int) -> None:
        self._window = RollingWindow(window_us, columns)
        self._held = HeldExtremes(hold_us, columns)

    def push(self, series: NDArray[np.int64], time_us: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        """Add rows that stand by series: its index (n,), event time (n,), values (n, columns), NaN for unknown ones."""
        if len(series) == 0:
            return
        self.widen(int(series[-1]) + 1)
        starts = starts_of(series)
        owners, newest_us = series[starts], np.maximum.reduceat(time_us, starts)
        back = newest_us < self._window.newest_us[owners] - SET_BACK_US
        if back.any():
            self._window.begin_anew(owners[back])
            self._held.begin_anew(owners[back], newest_us[back])
        self._window.push(series, time_us, values)
        self._held.push(series, time_us, values)

    def widen(self, size: int) -> None:
        """Make room for so many series."""
        self._window.widen(size)
        self._held.widen(size)

    def statistics(self, until_us: NDArray[np.int64]) -> Statistics:
        """Of the window of each series that ends there, or with its newest row if that is later."""
        return self._window.statistics(until_us)

    def extremes(self, until_us: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(greatest, least) of each series that are still held at that time."""
        return self._held.extremes(until_us)


def _whole(rows: NDArray[np.float32]) -> NDArray[np.void]:
    """The rows along the last axis, each as one item: NumPy moves it in a third of the time of its parts."""
    return np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * rows.shape[-1]))).reshape(-1)


def _over(sums: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)
