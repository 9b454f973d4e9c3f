"""Held extremes: everything of the last interval is in them, nothing older than two, and no spike goes unseen."""

from __future__ import annotations

from operator import itemgetter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.windows import HeldExtremes
from tests.rows import PERIOD_US, START_US

HOLD_US = 1_000_000
SERIES, COLUMNS = 3, 2
NAN = float("nan")

Event = tuple[int, int, tuple[float, ...]]  # (series, step of its time, values)
steps_us = st.integers(0, HOLD_US // 3) | st.sampled_from(
    [PERIOD_US, PERIOD_US, 0, -1, -PERIOD_US, HOLD_US - 1, HOLD_US, HOLD_US + 1, 2 * HOLD_US, 10**9, -HOLD_US, -(10**9)]
)
values = st.tuples(*[st.floats(width=32) | st.sampled_from([NAN, 1.0, -1.0, -0.0])] * COLUMNS)
batches = st.lists(st.lists(st.tuples(st.integers(0, SERIES - 1), steps_us, values), max_size=12), max_size=12)


def push(held: HeldExtremes, rows: list[tuple[int, int, tuple[float, ...]]]) -> None:
    ordered = sorted(rows, key=itemgetter(0))
    series, time_us, pushed = zip(*ordered, strict=True) if rows else ((), (), ())
    held.push(
        np.array(series, np.int64), np.array(time_us, np.int64), np.array(pushed, np.float32).reshape(-1, COLUMNS)
    )


@settings(max_examples=200, deadline=None)
@given(batches)
def test_extremes_hold_once_and_at_most_twice_the_time(batches: list[list[Event]]) -> None:
    held = HeldExtremes(HOLD_US, COLUMNS)
    clock_us, seen = [START_US] * SERIES, [[] for _ in range(SERIES)]
    for batch in batches:
        rows = []
        for series, step_us, row in batch:
            clock_us[series] += step_us
            rows.append((series, clock_us[series], row))
            seen[series].append((clock_us[series], row))
        push(held, rows)
        for series, (greatest, least) in enumerate(zip(*held.extremes(), strict=True)):
            newest_us = max((time_us for time_us, _ in seen[series]), default=0)
            for column in range(COLUMNS):
                recent, possible = (
                    [
                        row[column]
                        for time_us, row in seen[series]
                        if newest_us - time_us <= age_us and row[column] == row[column]
                    ]
                    for age_us in (HOLD_US, 2 * HOLD_US)
                )
                for extreme, best in ((greatest[column], max), (least[column], min)):
                    if recent:
                        assert best([extreme, *recent]) == extreme
                    assert extreme in possible or (np.isnan(extreme) and not recent)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, HOLD_US - PERIOD_US), st.sampled_from([100.0, -100.0]), st.data())
def test_who_looks_as_often_as_it_holds_sees_a_spike_of_one_cycle(
    offset_us: int, scrape_us: int, spike: float, data: st.DataObject
) -> None:
    """One row a batch, a look every `scrape_us` of event time at any phase; the spike lies anywhere between looks.

    A look falls on a row, so it may be nearly a period late.
    """
    held = HeldExtremes(HOLD_US, COLUMNS)
    count = 3 * HOLD_US // PERIOD_US
    spiked = data.draw(st.integers(0, count - HOLD_US // PERIOD_US - 1))
    next_look_us = START_US + offset_us + data.draw(st.integers(0, scrape_us))
    visible = False
    for cycle in range(count):
        time_us = START_US + offset_us + cycle * PERIOD_US
        push(held, [(0, time_us, (spike if cycle == spiked else 1.0, NAN))])
        if time_us >= next_look_us:
            next_look_us += scrape_us
            greatest, least = held.extremes()
            visible |= bool(spike in (greatest[0, 0], least[0, 0]))
            assert {greatest[0, 0], least[0, 0]} <= {spike, 1.0}
    assert visible


def test_what_was_held_before_a_clock_was_set_back_is_held_for_one_more_interval() -> None:
    held = HeldExtremes(10, 1)
    series = np.array([0])
    held.push(series, np.array([100]), np.array([[9.0]], np.float32))
    held.begin_anew(series, np.array([50]))
    held.push(series, np.array([51]), np.array([[1.0]], np.float32))
    assert held.extremes()[0].tolist() == [[9.0]]
    held.push(series, np.array([61]), np.array([[2.0]], np.float32))
    assert held.extremes()[0].tolist() == [[2.0]]
