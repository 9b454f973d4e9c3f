"""A replay's pace: frame n at start + n / rate, to the microsecond, after a year as in the first second."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pipeline.core.pacing import Pace

START_US = 1_800_000_000_000_000
YEAR = 365 * 24 * 3600
RATES = [50.0, 60.0, 59.97, 0.1, 6000.0, 599.7]


def exact_us(rate_hz: float, frame: int) -> Fraction:
    return START_US + frame * 1_000_000 / Fraction(rate_hz)


def frames_of(rate_hz: float) -> list[int]:
    """The first ones, one a second and a year later."""
    return [0, 1, 2, 3, 1000, *(round(rate_hz * seconds) + n for seconds in (3600, YEAR) for n in range(7))]


@pytest.mark.parametrize("rate_hz", RATES)
def test_no_drift(rate_hz: float) -> None:
    frames = frames_of(rate_hz)
    times_us = Pace(START_US, rate_hz).time_us(np.array(frames)).tolist()
    assert all(
        abs(time_us - exact_us(rate_hz, n)) <= Fraction(51, 100) for n, time_us in zip(frames, times_us, strict=True)
    )


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_frame_is_due_at_its_time_and_not_before(rate_hz: float) -> None:
    pace = Pace(START_US, rate_hz)
    for frame in frames_of(rate_hz)[1:]:
        at_us = exact_us(rate_hz, frame)
        after_us, before_us = int(at_us) + 2, int(at_us) - 1
        assert pace.due(after_us) > frame
        assert pace.wait_s(frame, after_us) == 0.0
        assert pace.due(before_us) <= frame
        assert pace.wait_s(frame, before_us) == pytest.approx(float(at_us - before_us) / 1e6, abs=1e-6)
    assert [pace.due(START_US), pace.wait_s(0, START_US)] == [1, 0.0]


def test_whole_seconds_are_exact() -> None:
    pace = Pace(START_US, 60.0)
    assert [pace.due(START_US + 1_000_000 * second) for second in (0, 1, 3600, YEAR)] == [1, 61, 216_001, 60 * YEAR + 1]
    assert pace.time_us(np.array([0, 60, 60 * YEAR])).tolist() == [START_US + 1_000_000 * s for s in (0, 1, YEAR)]


@pytest.mark.parametrize("before_us", [1, 16_000, 17_000])
def test_before_the_start_nothing_is_due(before_us: int) -> None:
    assert Pace(START_US, 60.0).due(START_US - before_us) == 0


@pytest.mark.parametrize("rate_hz", RATES)
def test_a_resumed_replay_goes_on_in_step(rate_hz: float) -> None:
    frames = np.array(frames_of(rate_hz))
    times_us = Pace(START_US, rate_hz).time_us(frames)
    for frame, time_us in zip(frames.tolist(), times_us.tolist(), strict=True):
        resumed = Pace.resumed(frame, time_us, rate_hz)
        assert resumed.time_us(np.array([frame])).tolist() == [time_us]
        assert np.abs(resumed.time_us(frames) - times_us).max() <= 1  # what was stored had been rounded


@pytest.mark.parametrize("rate_hz", RATES)
def test_the_frame_of_a_time_is_the_one_that_carried_it(rate_hz: float) -> None:
    pace, frames = Pace(START_US, rate_hz), frames_of(rate_hz)
    assert [pace.frame_at(time_us) for time_us in pace.time_us(np.array(frames)).tolist()] == frames
