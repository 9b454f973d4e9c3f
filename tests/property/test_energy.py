"""The energy meter against one that follows its rules a row at a time, and against the sum over a whole recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters import recordings
from pipeline.core.energy import (
    EXPORTED,
    GAP,
    IMPORTED,
    INTEGRATED,
    LAGGING,
    LARGEST_W,
    LEADING,
    LONGEST_STEP_US,
    UNKNOWN,
    EnergyMeter,
    Rows,
)
from pipeline.core.keys import by_series
from pipeline.core.model import STREAMS
from pipeline.core.pacing import Pace
from tests.rows import PERIOD_US, START_US

thorough = settings(max_examples=300, deadline=None)

NOMINAL_HZ = 60.0
SERIES = 3
NAN, INFINITE = float("nan"), float("inf")
Event = tuple[int, int | None, int, bool, float, float]
"""(series, growth of its sequence or None without one, step of its time, whether that is its own, power, reactive)."""


@dataclass(frozen=True)
class Row:
    series: int
    time_us: int
    sequence: int | None
    own_time: bool
    real_w: float
    reactive_var: float


@dataclass
class Meter:
    """One series, by the rules in the docstring of `pipeline.core.energy`."""

    totals: list[float] = field(default_factory=lambda: [0.0] * 6)
    newest: Row | None = None

    def add(self, row: Row) -> None:
        seconds, gap_s, late = self.judge(row)
        if abs(row.real_w) <= LARGEST_W:
            self.totals[IMPORTED if row.real_w > 0 else EXPORTED] += abs(row.real_w) * seconds
            self.totals[INTEGRATED] += seconds
        else:
            gap_s += seconds
        if abs(row.reactive_var) <= LARGEST_W:
            self.totals[LAGGING if row.reactive_var > 0 else LEADING] += abs(row.reactive_var) * seconds
        self.totals[GAP] += gap_s
        if not late:
            self.newest = row

    def judge(self, row: Row) -> tuple[float, float, bool]:
        """(seconds that it lasts, seconds of the hole before it, whether it came late)."""
        period_s = 1 / NOMINAL_HZ
        before = self.newest
        if before is None:
            return period_s, 0.0, False
        step_us = row.time_us - before.time_us
        timed = row.own_time and before.own_time
        if before.sequence is None or row.sequence is None:
            if timed and period_s / 2 <= step_us / 1e6 <= period_s * 1.5:
                return step_us / 1e6, 0.0, False
            return period_s, max(0.0, step_us / 1e6 - period_s) if timed else 0.0, False
        ahead = row.sequence - before.sequence
        if ahead == 1:
            counts = timed and 0 < step_us <= LONGEST_STEP_US
            return step_us / 1e6 if counts else period_s, 0.0, False
        if ahead < 0 and step_us <= 0:
            return period_s, 0.0, True
        passed_s = step_us / 1e6 if timed else ahead * period_s
        return period_s, max(0.0, passed_s - period_s), False


def by_the_rules(rows: Sequence[Row]) -> list[list[float]]:
    meters = [Meter() for _ in range(SERIES)]
    for row in rows:
        meters[row.series].add(row)
    return [meter.totals for meter in meters]


def columns(rows: Sequence[Row]) -> Rows:
    return Rows(
        np.array([row.series for row in rows], np.int64),
        np.array([row.time_us for row in rows], np.int64),
        np.array([UNKNOWN if row.sequence is None else row.sequence for row in rows], np.int64),
        np.array([row.own_time for row in rows], bool),
        np.array([row.real_w for row in rows], np.float32),
        np.array([row.reactive_var for row in rows], np.float32),
    )


def batches(rows: Sequence[Row], cuts: Sequence[int]) -> Iterator[Rows]:
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    return (columns(sorted(rows[first:last], key=attrgetter("series"))) for first, last in pairwise(bounds))


def metered(rows: Sequence[Row], cuts: Sequence[int] = ()) -> EnergyMeter:
    """A meter after these rows, which has only grown."""
    meter = EnergyMeter(NOMINAL_HZ)
    meter.widen(SERIES)
    for batch in batches(rows, cuts):
        before = meter.totals.copy()
        meter.push(batch)
        assert (meter.totals >= before).all()
    return meter


def arrivals(events: Sequence[Event]) -> list[Row]:
    """Rows of devices that lose, reorder and restart, and whose clocks are set; steps are from the row before."""
    sequences, times_us = [1_000] * SERIES, [START_US] * SERIES
    rows = []
    for series, ahead, step_us, own_time, real_w, reactive_var in events:
        times_us[series] += step_us
        sequences[series] = max(0, sequences[series] + (1 if ahead is None else ahead))
        number = None if ahead is None else sequences[series]
        rows.append(Row(series, times_us[series], number, own_time, real_w, reactive_var))
    return rows


def mostly(usual: int, *odd: int | None) -> st.SearchStrategy[int | None]:
    return st.sampled_from([usual] * 2 * len(odd) + list(odd))


DAY_US = 24 * 3600 * 10**6
aheads = mostly(1, 2, 3, 250, 0, -1, -2, -5, -5_000, 5_000, None)
steps_us = st.integers(1, 3 * PERIOD_US) | mostly(
    PERIOD_US, 0, 1, -1, -PERIOD_US, -5 * PERIOD_US, 10**6, 10**6 + 1, 10**9, DAY_US, -DAY_US
)
own_times = st.sampled_from([True] * 5 + [False])
powers = st.sampled_from([900.0, -250.5, 0.0, -0.0, NAN, INFINITE, -INFINITE, 2.0**-149, 2.0**127]) | st.floats(
    width=32
)
arrived = st.lists(st.tuples(st.integers(0, SERIES - 1), aheads, steps_us, own_times, powers, powers), max_size=50).map(
    arrivals
)
cuts = st.lists(st.integers(0, 50), max_size=8)


@thorough
@given(arrived, cuts)
def test_it_follows_the_rules_however_the_rows_are_batched(rows: list[Row], cuts: list[int]) -> None:
    wanted = pytest.approx(np.array(by_the_rules(rows)), rel=1e-12, abs=0.0)
    whole = metered(rows)
    assert whole.totals == wanted
    for split in (metered(rows, cuts), metered(rows, range(len(rows)))):
        assert split.totals == wanted
        np.testing.assert_array_equal(split.last, whole.last)


@thorough
@given(arrived, cuts)
def test_a_restored_meter_goes_on_identically(rows: list[Row], cuts: list[int]) -> None:
    restored = EnergyMeter(NOMINAL_HZ)
    restored.widen(SERIES)
    for batch in batches(rows, cuts):
        before = restored
        totals, last = before.totals.copy(), before.last.copy()
        restored = EnergyMeter(NOMINAL_HZ, before.totals, before.last)
        restored.push(batch)
        np.testing.assert_array_equal(before.totals, totals)  # a checkpoint does not change with its successor
        np.testing.assert_array_equal(before.last, last)
    uninterrupted = metered(rows, cuts)
    np.testing.assert_array_equal(restored.totals, uninterrupted.totals)
    np.testing.assert_array_equal(restored.last, uninterrupted.last)


contiguous = st.tuples(st.just(1), st.integers(1, LONGEST_STEP_US) | st.just(LONGEST_STEP_US))
interrupted = st.tuples(st.sampled_from([2, 10, 5_000, 0, -1, -5_000]), st.integers(PERIOD_US, DAY_US))  # or renumbered


def test_without_numbers_time_tells_of_holes() -> None:
    steps_us = [PERIOD_US, PERIOD_US + 40, 10 * PERIOD_US, PERIOD_US]
    totals = metered(arrivals([(0, None, step_us, True, 600.0, 0.0) for step_us in steps_us])).totals[0]
    assert totals[GAP] == pytest.approx((10 * PERIOD_US) / 1e6 - 1 / NOMINAL_HZ)
    assert totals[INTEGRATED] == pytest.approx((2 * PERIOD_US + 40) / 1e6 + 2 / NOMINAL_HZ)
    assert totals[IMPORTED] == pytest.approx(600.0 * totals[INTEGRATED])


@thorough
@given(st.lists(st.tuples(contiguous | contiguous | interrupted, powers), min_size=1, max_size=50), cuts)
def test_integrated_and_gap_are_the_time_that_has_passed(
    passed: list[tuple[tuple[int, int], float]], cuts: list[int]
) -> None:
    rows = arrivals([(0, ahead, step_us, True, real_w, NAN) for (ahead, step_us), real_w in passed])
    totals = metered(rows, cuts).totals[0]
    elapsed_s = (rows[-1].time_us - rows[0].time_us) / 1e6
    assert totals[INTEGRATED] + totals[GAP] == pytest.approx(elapsed_s + 1 / NOMINAL_HZ, rel=1e-12)


def test_a_replayed_recording_has_the_energy_of_its_cycles() -> None:
    cycles = recordings.load("sample1").cycles
    stream = np.array([STREAMS.index(name) for name in cycles.column("stream").to_pylist()])
    time_us = Pace(START_US, NOMINAL_HZ).time_us(cycles.column("frame").to_numpy())
    sequence = cycles.column("sequence").to_numpy()
    real_w, reactive_var = (cycles.column(f"a_{name}").to_numpy() for name in ("real_power_w", "reactive_power_var"))
    rows = Rows(stream, time_us, sequence, np.ones(len(stream), bool), real_w, reactive_var)
    meter = EnergyMeter(NOMINAL_HZ)
    for first in range(0, len(stream), 1_000):
        part = np.arange(first, min(first + 1_000, len(stream)))
        meter.push(rows.at(part[by_series(stream[part])]))

    for index in range(len(STREAMS)):
        own = stream == index
        assert set(np.diff(sequence[own])) == {1}
        seconds = np.append(1 / NOMINAL_HZ, np.diff(time_us[own]) / 1e6)
        real_j, reactive_vars = (values[own].astype(np.float64) * seconds for values in (real_w, reactive_var))
        wanted = {
            IMPORTED: real_j[real_j > 0].sum(),
            EXPORTED: -real_j[real_j < 0].sum(),
            LAGGING: reactive_vars[reactive_vars > 0].sum(),
            LEADING: -reactive_vars[reactive_vars < 0].sum(),
            INTEGRATED: seconds.sum(),
            GAP: 0.0,
        }
        assert wanted[IMPORTED] > 1e5
        assert meter.totals[index] == pytest.approx(np.array([wanted[column] for column in range(6)]), rel=1e-9, abs=0)


def test_a_row_at_the_time_of_the_one_before_it_lasts_a_period() -> None:
    meter = EnergyMeter(NOMINAL_HZ)
    one = np.ones(2, np.int64)
    power_w = np.full(2, 600.0, np.float32)
    meter.push(Rows(0 * one, START_US * one, np.array([7, 8]), one == 1, power_w, power_w))
    assert meter.totals[0, [IMPORTED, INTEGRATED, GAP]].tolist() == pytest.approx([20.0, 2 / NOMINAL_HZ, 0.0])
