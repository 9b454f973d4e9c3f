"""When an ended job is started again."""

from __future__ import annotations

from pipeline.core.keeping import HEALTHY_S, LONGEST_S, SHORTEST_S, Patience


def test_what_fails_at_once_is_tried_ever_more_rarely() -> None:
    patience, now_s, waits_s = Patience(), 0.0, []
    for _ in range(8):
        patience.started(now_s)
        now_s += 1
        waits_s.append(patience.ended(now_s))
        now_s += waits_s[-1]
    assert waits_s == [2, 4, 8, 16, 32, 60, 60, 60]
    assert waits_s[0] == SHORTEST_S
    assert waits_s[-1] == LONGEST_S


def test_after_a_long_run_it_is_started_at_once() -> None:
    patience = Patience()
    for _ in range(5):
        patience.started(0.0)
        patience.ended(1.0)
    patience.started(100.0)
    assert patience.ended(100.0 + HEALTHY_S) == SHORTEST_S


def test_a_job_that_somebody_else_started_is_started_again_soon() -> None:
    assert Patience().ended(5.0) == SHORTEST_S
