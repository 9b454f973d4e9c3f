"""A hundred devices get the shortest waits; all ingests keep one beat."""

from __future__ import annotations

import pytest

from pipeline.core.config import Fleet, Limits
from pipeline.core.rhythm import Rhythm, rhythm, until_beat_s


def test_a_hundred_devices_get_the_shortest_waits_and_fewer_and_more_bounded_ones() -> None:
    limits = Limits()
    after_s = 0.05 + 3 * 0.0002
    assert rhythm(100, limits) == Rhythm(0.0002, after_s, limits.aggregator_flush_s, limits.store_flush_s, False, 1.0)
    assert rhythm(1, limits) == rhythm(0, limits) == Rhythm(0.0002, after_s, 0.5, 2.0, False, 1.0)
    assert (rhythm(10, limits).hand_in_s, rhythm(11, limits).hand_in_s) == (2.0, 1.0)
    assert rhythm(1, limits, adds_up=False) == Rhythm(0.0002, after_s, 1.0, 2.0, False, 1.0)
    assert (rhythm(25, limits).push_s, rhythm(25, limits).hand_in_s) == pytest.approx((1 / 13, 0.5))
    assert rhythm(600, limits).rest_s == pytest.approx(0.0752)
    assert (rhythm(600, limits).push_s, rhythm(600, limits).report_s) == (0.25, 1.2)
    assert rhythm(1_000_000, limits) == Rhythm(0.15, 0.05 + 3 * 0.15, 0.5, 1.0, True, 2.0)


def test_more_than_a_hundred_devices_hand_in_whole_seconds_once_their_last_messages_are_in() -> None:
    for devices in (101, 150, 300, 600, 700, 1000):
        pace = rhythm(devices, Limits())
        assert (pace.hand_in_s, pace.whole_seconds) == (1.0, True)
        assert 3 * pace.rest_s < pace.after_s < 0.5  # gathered, and two looks


def test_a_push_stands_at_every_second_and_the_sums_of_a_fleet_wait_for_the_slowest() -> None:
    fleet = Fleet()
    for devices in range(1, 1000):
        pace = rhythm(devices, Limits())
        assert pace.push_s >= Limits().aggregator_flush_s
        assert 1 / pace.push_s == pytest.approx(round(1 / pace.push_s))
        assert pace.hand_in_s == 2.0 or 1 / pace.hand_in_s == pytest.approx(round(1 / pace.hand_in_s))
        assert pace.push_s + fleet.flush_s <= fleet.wait_s - 0.2  # for the network, and for clocks


def test_a_longer_wait_that_is_configured_holds() -> None:
    configured = Limits(aggregator_flush_s=2.0, store_flush_s=3.0)
    assert (rhythm(1, configured).push_s, rhythm(1, configured).hand_in_s) == (2.0, 3.0)
    assert rhythm(100, Limits(aggregator_flush_s=0.3)).push_s == 0.3


@pytest.mark.parametrize("after_s", [0.05, 0.35])
@pytest.mark.parametrize("period_s", [0.05, 0.15, 0.5, 1.0])
def test_turns_stand_behind_multiples_of_their_period_whenever_one_asks(period_s: float, after_s: float) -> None:
    for now_s in (1_800_000_000.0, 1_800_000_000.049, 1_800_000_000.051, 1_800_000_123.456):
        wait_s = until_beat_s(period_s, after_s, now_s)
        assert 0 < wait_s <= period_s
        turns = (now_s + wait_s - after_s) / period_s
        assert turns == pytest.approx(round(turns), abs=1e-4)
