"""What is counted of messages that hold cycles and, now and then, a spectrum."""

from __future__ import annotations

import pytest

from pipeline.core.intake import Arrival, Arrivals, Intake
from pipeline.core.model import Tally
from tests.rows import START_US
from tests.standby import DEVICES, decode, message

EVERY = 10  # cycles from spectrum to spectrum


def heard(numbers: list[int]) -> Arrivals:
    payloads = (message(number, spectrum=number % EVERY == 0) for number in numbers)
    return Arrivals.of([Arrival(0, START_US, payload) for payload in payloads])


@pytest.mark.parametrize("together", [True, False])
def test_a_lost_message_is_missing_once_whatever_it_held(together: bool) -> None:
    sent = [*range(100)]
    came = [number for number in sent if number not in {30, 31, 45, 50}]
    intake = Intake(DEVICES, decode, {})
    for numbers in [came] if together else [[number] for number in came]:
        intake.take(heard(numbers))
    batch = intake.cut("ingest-0", 1, 0)
    assert batch is not None
    assert batch.tallies[DEVICES[0]].missing == 4
    assert {gap.product: gap.missing for gap in batch.gaps if gap.stream.endswith("karman1")} == {
        "cycle": 1,  # the last one
        "spectrum": 1,
    }
    assert intake.totals[DEVICES[0]] == Tally(96, 96, 96 * 3 + 8, missing=4)


def test_one_that_comes_late_is_reordered_once() -> None:
    intake = Intake(DEVICES, decode, {})
    intake.take(heard([*range(30), *range(31, 45), 30]))
    assert intake.totals[DEVICES[0]] == Tally(45, 45, 45 * 3 + 5, missing=0, reordered=1)
