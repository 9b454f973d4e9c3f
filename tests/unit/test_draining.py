"""The end of receiving: quiet that was looked for, bounded where devices go on sending."""

from __future__ import annotations

from pipeline.core.draining import LONGEST_BEHIND_S, LONGEST_S, QUIET_S, Draining


def test_it_is_over_when_looks_have_found_nothing_for_long_enough() -> None:
    draining = Draining(100.0)
    assert not draining.over(100.0, arrived=True, behind=False)
    assert not draining.over(100.0 + 4 * QUIET_S, arrived=False, behind=False)  # between the looks nobody looked
    assert not draining.over(100.0 + 5 * QUIET_S, arrived=False, behind=False)
    assert draining.over(100.1 + 5 * QUIET_S, arrived=False, behind=False)


def test_what_arrives_begins_the_quiet_anew() -> None:
    draining = Draining(100.0)
    assert not draining.over(100.0, arrived=False, behind=False)
    assert not draining.over(100.4, arrived=True, behind=False)
    assert not draining.over(100.0 + 1.5 * QUIET_S, arrived=False, behind=False)
    assert draining.over(100.1 + 2.5 * QUIET_S, arrived=False, behind=False)


def test_a_device_that_goes_on_sending_is_left_and_a_backlog_is_taken_for_longer() -> None:
    draining = Draining(100.0)
    assert not draining.over(99.9 + LONGEST_S, arrived=True, behind=False)
    assert not draining.over(100.1 + LONGEST_S, arrived=True, behind=True)
    assert draining.over(100.1 + LONGEST_S, arrived=True, behind=False)
    assert draining.over(100.1 + LONGEST_BEHIND_S, arrived=True, behind=True)
