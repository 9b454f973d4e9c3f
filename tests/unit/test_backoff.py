"""Waits of a process that dies at once, over and over."""

from __future__ import annotations

from pipeline.core.backoff import FREE, LONGEST_WAIT_S, WINDOW_S, recent, wait_s


def test_the_first_starts_are_free_then_waits_double_up_to_the_longest() -> None:
    starts_s: list[float] = []
    now_s, waits = 1000.0, []
    for _ in range(FREE + 7):
        starts_s.append(now_s)
        waits.append(wait_s(starts_s, now_s))
        now_s += 0.5
    assert waits == [0.0] * FREE + [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_WAIT_S, LONGEST_WAIT_S]


def test_what_dies_at_its_longest_wait_goes_on_waiting() -> None:
    starts_s, now_s, waits = [], 0.0, []
    for _ in range(40):
        starts_s = [*recent(starts_s, now_s), now_s]
        waits.append(wait_s(starts_s, now_s))
        now_s += waits[-1] + 0.5
    assert len(starts_s) < 15
    assert min(waits[FREE + 3 :]) > 0


def test_old_starts_are_forgiven() -> None:
    assert wait_s([0.0] * 10 + [WINDOW_S + 1], WINDOW_S + 1) == 0.0
    assert recent([0.0, 50.0], WINDOW_S) == (50.0,)
