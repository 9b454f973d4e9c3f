"""Rolling statistics against NumPy over the rows that are in the window."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.core.keys import by_series
from pipeline.core.windows import LARGEST_CAPACITY, RollingWindow
from tests.rows import START_US

WINDOW_US = 1_000_000
SERIES, COLUMNS = 3, 2


class Rows:
    """Rows of several series over a few windows of event time, late and early ones among them, times unique."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        count = int(rng.choice([5, 300, 6000]))
        span_us = int(rng.choice([WINDOW_US // 2, 4 * WINDOW_US]))
        time_us = START_US + np.sort(rng.choice(span_us, count, replace=False))
        order = np.argsort(time_us + rng.normal(0, rng.choice([0, 3_000, WINDOW_US]), count))
        self.time_us = time_us[order]
        self.series = rng.choice(SERIES, count, p=[0.1, 0.2, 0.7])
        self.series[0] = SERIES - 1  # all have a place from the first push on
        self.values = rng.normal(0, 1e3, (count, COLUMNS)).astype(np.float32)
        self.values[rng.random((count, COLUMNS)) < rng.choice([0, 0.2, 0.95])] = np.nan
        cuts = rng.choice(count, int(rng.choice([0, 1, 4])))
        self.pushes = np.split(np.arange(count), np.sort(cuts))

    def push(self, window: RollingWindow) -> None:
        for rows in self.pushes:
            ordered = rows[by_series(self.series[rows])]
            window.push(self.series[ordered], self.time_us[ordered], self.values[ordered])


def known(values: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """The known values of each column."""
    return [column[~np.isnan(column)].astype(np.float64) for column in values.T]


def over(columns: Sequence[NDArray[np.float64]], statistic: Callable[[NDArray[np.float64]], float]) -> list[float]:
    return [statistic(column) if len(column) else np.nan for column in columns]


@pytest.mark.parametrize("seed", range(40))
def test_statistics_are_those_of_the_last_window_of_event_time(seed: int) -> None:
    rows = Rows(seed)
    window = RollingWindow(WINDOW_US, COLUMNS)
    rows.push(window)
    statistics = window.statistics()
    assert window.overwritten == 0
    for series in range(SERIES):
        own = rows.series == series
        if not own.any():
            assert statistics.newest_us[series] == 0
            assert np.isnan(statistics.average[series]).all()
            continue
        newest_us = rows.time_us[own].max()
        inside = own & (rows.time_us > newest_us - WINDOW_US)
        columns = known(rows.values[inside])
        assert statistics.newest_us[series] == newest_us
        np.testing.assert_array_equal(statistics.latest[series], rows.values[rows.time_us == newest_us][0])
        np.testing.assert_array_equal(statistics.peak[series], over(columns, np.max))
        np.testing.assert_array_equal(statistics.trough[series], over(columns, np.min))
        np.testing.assert_allclose(statistics.average[series], over(columns, np.mean), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(statistics.mean_square[series], over([c * c for c in columns], np.mean), rtol=1e-12)


def one_a_microsecond(*pushes: int) -> RollingWindow:
    """A window of one series, whose values count its rows."""
    window = RollingWindow(WINDOW_US, 1)
    for first, count in zip(np.cumsum([0, *pushes]), pushes, strict=False):
        index = np.arange(first, first + count)
        window.push(np.zeros(count, np.int64), START_US + index, index[:, None].astype(np.float32))
    return window


@pytest.mark.parametrize("pushes", [[100] * 200, [1_000] * 20, [20_000]])
def test_a_series_too_fast_keeps_its_newest_samples_and_counts_the_others(pushes: list[int]) -> None:
    window = one_a_microsecond(*pushes)
    statistics = window.statistics()
    assert statistics.peak.item() == statistics.latest.item() == 19_999
    assert window.overwritten == statistics.trough.item() > 0


def test_a_series_too_fast_keeps_no_more_than_the_bound() -> None:
    assert 20_000 - one_a_microsecond(*[1_000] * 20).statistics().trough.item() <= LARGEST_CAPACITY


def test_a_row_as_old_as_the_window_is_outside() -> None:
    window = RollingWindow(WINDOW_US, 1)
    for time_us in (START_US, START_US + 1, START_US + WINDOW_US):
        window.push(np.array([0]), np.array([time_us]), np.array([[time_us - START_US]], np.float32))
    assert window.statistics().trough.item() == 1


def test_many_rows_at_once_take_no_more_room_than_a_window() -> None:
    second_us, series = WINDOW_US // 5, 50

    def room(together: int) -> int:
        """Bytes that a window holds which is given so many of sixty seconds at a time."""
        tracemalloc.start()
        window = RollingWindow(WINDOW_US, COLUMNS)
        for first in range(0, 60, together):
            time_us = START_US + second_us // 60 * np.arange(60 * first, 60 * (first + together))
            values = np.zeros((series * len(time_us), COLUMNS), np.float32)
            window.push(np.arange(series).repeat(len(time_us)), np.tile(time_us, series), values)
        del values, time_us
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert window.statistics().newest_us[0] == START_US + 3599 * (second_us // 60)
        return held

    assert room(60) < 1.1 * room(1)
