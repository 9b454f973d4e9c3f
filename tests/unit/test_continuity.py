"""The rules of continuity one by one, at their edges; how streams resume, begin anew and are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.core.continuity import MAX_GAP, MEMORY, Continuity, Position
from pipeline.core.model import STREAMS, Gap, GapReason
from tests.rows import PERIOD_US, START_US, cycles, spectra

KEY = ("pdu1", STREAMS[0])
GREATEST = 2**63 - 1


def time_of(number: int) -> int:
    return START_US + number * PERIOD_US


def rows(numbers: Sequence[int | tuple[int, int]]) -> list[dict[str, Any]]:
    """Rows of one stream: sequence numbers with the times that belong to them, or with times of their own."""
    pairs = [number if isinstance(number, tuple) else (number, time_of(number)) for number in numbers]
    return [{"sequence": sequence, "time": time_us} for sequence, time_us in pairs]


def gap(after: int, before: int, missing: int, reason: str = GapReason.TRANSPORT, product: str = "cycle") -> Gap:
    return Gap(*KEY, product, after, before, missing, time_of(after), time_of(before), reason)


@pytest.mark.parametrize(
    ("numbers", "kept", "missing", "late", "resets"),
    [
        ([5, 6, 7], [1, 1, 1], [], 0, 0),
        ([5, 8, 9], [1, 1, 1], [2], 0, 0),
        ([5, 8, 6, 7, 6], [1, 1, 1, 1, 0], [2], 2, 0),
        ([5, 6, 6, 5, 7], [1, 1, 0, 0, 1], [], 0, 0),
        ([5, (8, time_of(8)), (6, time_of(8)), 9], [1, 1, 1, 1], [2], 1, 0),  # at the same time: not later
        ([5, 6, (6, time_of(7)), 7], [1, 1, 1, 1], [], 0, 1),  # the number again, at another time: not a repetition
        ([5, 6, (0, time_of(7)), (1, time_of(8))], [1, 1, 1, 1], [], 0, 1),
        ([0, MEMORY, 1], [1, 1, 1], [MEMORY - 1], 1, 0),
        ([0, MEMORY + 1, 1], [1, 1, 1], [MEMORY], 0, 1),  # older than what is remembered
        ([0, 1 + MAX_GAP], [1, 1], [MAX_GAP], 0, 0),
        ([0, 2 + MAX_GAP, 3 + MAX_GAP], [1, 1, 1], [], 0, 1),
        ([(GREATEST - 2, 1), (GREATEST, 3), (GREATEST - 1, 2), (GREATEST, 3), (0, 4)], [1, 1, 1, 0, 1], [1], 1, 1),
    ],
)
def test_the_rules(
    numbers: list[int | tuple[int, int]], kept: list[int], missing: list[int], late: int, resets: int
) -> None:
    verdict = Continuity("cycle").observe(cycles(rows(numbers)))
    assert verdict.kept.tolist() == [bool(keep) for keep in kept]
    assert [gap.missing for gap in verdict.gaps] == missing
    assert verdict.late == ({KEY: late} if late else {})
    assert verdict.resets == ({"pdu1": resets} if resets else {})


def test_rows_without_a_sequence_are_kept_and_break_nothing() -> None:
    continuity = Continuity("cycle")
    unnumbered = {"sequence": None, "time": time_of(0)}
    for batch in ([unnumbered] * 2, [*rows([5]), unnumbered, *rows([6]), unnumbered], [unnumbered], rows([7])):
        verdict = continuity.observe(cycles(batch))
        assert verdict.kept.all()
        assert (verdict.gaps, verdict.late, verdict.resets) == ((), {}, {})
    assert continuity.positions() == {KEY: Position(7, time_of(7))}
    assert Continuity("cycle").observe(cycles([])).kept.shape == (0,)


def test_what_was_missed_since_the_positions_is_a_restart_and_only_that() -> None:
    first = Continuity("cycle")
    first.observe(cycles(rows([5, 6])))
    continuity = Continuity("cycle", first.positions())
    assert continuity.positions() == first.positions()
    assert continuity.observe(cycles(rows([6]))).kept.tolist() == [False]
    assert continuity.observe(cycles(rows([9, 11]))).gaps == (gap(6, 9, 2, GapReason.RESTART), gap(9, 11, 1))
    assert Continuity("cycle", first.positions()).observe(cycles(rows([7, 9]))).gaps == (gap(7, 9, 1),)


def test_the_row_of_a_position_stays_known() -> None:
    continuity = Continuity("cycle", {KEY: Position(6, time_of(6))})
    verdict = continuity.observe(cycles(rows([7, 6])))
    assert verdict.kept.tolist() == [True, False]
    assert verdict.late == {}


def test_a_spectrum_every_so_many_cycles_misses_nothing_in_between() -> None:
    continuity = Continuity("spectrum", stride=0)
    assert continuity.observe(spectra(rows([60]))).gaps == ()
    # The first growth hides a loss; the next one tells.
    assert continuity.observe(spectra(rows([80, 90, 100]))).gaps == ()
    assert continuity.observe(spectra(rows([130]))).gaps == (gap(100, 130, 2, product="spectrum"),)
    verdict = continuity.observe(spectra(rows([120, 130, 140])))
    assert (verdict.kept.tolist(), verdict.late, verdict.gaps) == ([True, False, True], {KEY: 1}, ())


def test_the_first_spectrum_repeated_is_a_duplicate() -> None:
    verdict = Continuity("spectrum", stride=0).observe(spectra(rows([60, 60])))
    assert verdict.kept.tolist() == [True, False]
