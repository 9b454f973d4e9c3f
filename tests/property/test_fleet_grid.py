"""Cycles on the grid: energy is conserved to the last unit, and nothing depends on how rows are batched or split."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.fleet.concentrator import HEAT_SPLIT, SLOT, Cells, Concentrator, Rows

START_S = 1_800_000_000


@st.composite
def streams_of_cycles(draw: st.DrawFn) -> tuple[list[int], int, list[tuple[int, int, int, int]]]:
    """Nominal period of each series, slots a second, and rows (series, time, power, current), regular and not."""
    slots = draw(st.sampled_from([1, 4, 50, 60]))
    periods = draw(st.lists(st.sampled_from([20_000, 16_667, 250_000]), min_size=1, max_size=3))
    rows = []
    for series, period in enumerate(periods):
        time_us = START_S * 1_000_000 + draw(st.integers(0, 2_000_000))
        for step in draw(st.lists(st.sampled_from(["on", "early", "hole", "back", "same", "far"]), max_size=12)):
            power, current = draw(st.integers(-(10**10), 10**10)), draw(st.integers(-1, 10**8))
            rows.append((series, time_us, power, current))
            jitter = draw(st.integers(-period // 3, period // 3))
            time_us += {
                "on": period + jitter, "early": period // 4, "hole": 2 * period, "back": -period // 2, "same": 0,
                "far": 1_500_000,
            }[step]  # fmt: skip
    return periods, slots, rows


def concentrator(periods: list[int], slots: int) -> Concentrator:
    return Concentrator(np.array(periods, np.float64), slots, 60, START_S - 3)


def rows_of(rows: list[tuple[int, int, int, int]]) -> Rows:
    series, time_us, power, current = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return Rows(series, time_us, np.zeros(len(rows), np.int64), power, current)


def closed(grid: Concentrator, until: int = START_S + 30) -> list[Cells]:
    return [grid.close(second) for second in range(START_S - 2, until)]


def same(first: list[Cells], second: list[Cells]) -> bool:
    names = ("covered", "energy", "heat", "dark")
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) for a, b in zip(first, second, strict=True) for name in names
    )


def durations(
    periods: list[int], slots: int, rows: list[tuple[int, int, int, int]]
) -> dict[int, list[tuple[Fraction, int]]]:
    """By the definition, one cycle at a time: (duration in units of 1/slots microseconds, power) of each series."""
    found: dict[int, list[tuple[Fraction, int]]] = {}
    for series, period in enumerate(periods):
        nominal = Fraction(round(period * slots))
        once = {row[1]: row for row in reversed(rows) if row[0] == series}  # of repeats the first one counts
        mine = [once[time_us] for time_us in sorted(once)]
        for index, (_, time_us, power, _) in enumerate(mine):
            step = Fraction((mine[index + 1][1] - time_us) * slots) if index + 1 < len(mine) else Fraction(0)
            regular = index + 1 < len(mine) and nominal / 2 <= step <= nominal * 3 / 2
            found.setdefault(series, []).append((step if regular else nominal, power))
    return found


@settings(max_examples=200)
@given(streams_of_cycles())
def test_what_the_slots_hold_is_the_sum_of_power_times_duration(
    case: tuple[list[int], int, list[tuple[int, int, int, int]]],
) -> None:
    periods, slots, rows = case
    if not rows:
        return
    grid = concentrator(periods, slots)
    late, ahead = grid.push(rows_of(rows))
    assert not late.any()
    assert not ahead.any()
    cells = closed(grid)
    for series, expected in durations(periods, slots, rows).items():
        assert sum(int(cell.covered[series].sum()) for cell in cells) == sum(duration for duration, _ in expected)
        energy = sum(int(value) for cell in cells for value in cell.energy[series])
        assert energy == sum(duration * power for duration, power in expected)


@settings(max_examples=100)
@given(streams_of_cycles(), st.data())
def test_it_does_not_matter_in_which_batches_rows_come(
    case: tuple[list[int], int, list[tuple[int, int, int, int]]], data: st.DataObject
) -> None:
    periods, slots, rows = case
    rows = list({(series, time_us): (series, time_us, *values) for series, time_us, *values in rows}.values())
    if not rows:
        return
    whole, parts = concentrator(periods, slots), concentrator(periods, slots)
    whole.push(rows_of(rows))
    shuffled = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    for first, last in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        if last > first:
            parts.push(rows_of(shuffled[first:last]))
    assert same(closed(whole), closed(parts))


@given(st.integers(0, 3), st.integers(1, 119))
def test_a_second_closed_between_two_rows_changes_nothing_that_came_in_time(wait: int, cut: int) -> None:
    """Closing lags the rows by more than a period: what is told is as if all had come at once."""
    period = 1_000_000 // 60
    rows = [(0, START_S * 1_000_000 + n * period, 1000 + n, n) for n in range(120)]
    whole = concentrator([period], 60)
    whole.push(rows_of(rows))
    grid = concentrator([period], 60)
    grid.push(rows_of(rows[:cut]))
    newest_s = rows[cut - 1][1] // 1_000_000
    early = [grid.close(second) for second in range(START_S - 2, newest_s - wait)]
    grid.push(rows_of(rows[cut:]))
    rest = [grid.close(second) for second in range(START_S - 2 + len(early), START_S + 30)]
    assert same([*early, *rest], closed(whole))


def test_a_cycle_is_divided_by_overlap() -> None:
    """Four slots a second; a cycle from 0.125 s to 0.375 s at 8 W gives half of its energy to each of two slots."""
    grid = concentrator([250_000], 4)
    grid.push(rows_of([(0, START_S * 1_000_000 + 125_000, 8_000, 3_000)]))
    cells = closed(grid)[2]
    assert cells.covered.tolist() == [[SLOT // 2, SLOT // 2, 0, 0]]
    assert cells.energy.tolist() == [[8_000 * SLOT // 2, 8_000 * SLOT // 2, 0, 0]]
    whole, rest = cells.heat[0].tolist()
    assert whole * HEAT_SPLIT + rest == 3_000**2 * SLOT
    assert cells.dark.tolist() == [0]


def test_what_comes_after_its_second_was_told_is_late_and_what_is_far_ahead_is_turned_away() -> None:
    grid = concentrator([16_667], 60)
    grid.push(rows_of([(0, START_S * 1_000_000, 5, 5)]))
    closed(grid, START_S + 1)
    late, ahead = grid.push(
        rows_of([(0, (START_S + 1) * 1_000_000 + at, 5, -1) for at in (-1, 0, 59_999_999, 60_000_000)])
    )
    assert late.tolist() == [True, False, False, False]
    assert ahead.tolist() == [False, False, False, True]
    cells = grid.close(START_S + 1)
    assert cells.covered.sum() == 16_667 * 60
    assert cells.dark.tolist() == [16_667 * 60]


def test_what_waits_of_a_series_that_goes_is_nobody_elses() -> None:
    grid = concentrator([16_667] * 3, 60)
    grid.push(rows_of([(series, START_S * 1_000_000, 5 + series, 0) for series in range(3)]))
    grid.carry(np.array([2, 1]), np.array([16_667.0] * 2))
    energy = sum(cell.energy.sum(axis=1) for cell in closed(grid))
    assert energy.tolist() == [7 * 16_667 * 60, 6 * 16_667 * 60]
