"""What is counted of messages that hold cycles and, now and then, a spectrum."""

from __future__ import annotations

import pytest

from pipeline.core.intake import Arrival, Arrivals, Intake
from pipeline.core.model import STREAMS, Drop, Tally
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


@pytest.mark.parametrize("together", [True, False])
def test_a_stream_that_messages_leave_out_is_no_lost_message(together: bool) -> None:
    """The third is left out of two in four seconds; of the first two messages are lost, one while it is left out."""
    intake = Intake(DEVICES, decode, {})
    sent = {
        number: message(number, streams=STREAMS if number // 120 % 2 == 0 else STREAMS[:2])
        for number in range(600)
        if number not in {30, 150}
    }
    runs = [list(sent)] if together else [list(range(first, first + 60)) for first in range(0, 600, 60)]
    for numbers in runs:
        intake.take(Arrivals.of([Arrival(0, START_US, sent[number]) for number in numbers if number in sent]))
    batch = intake.cut("ingest-0", 1, 0)
    assert batch is not None
    assert (batch.tallies[DEVICES[0]].received, batch.tallies[DEVICES[0]].missing) == (598, 2)
    assert sorted((gap.stream[-1], gap.missing, gap.reason) for gap in batch.gaps) == [
        *(("1", 1, "transport"), ("1", 1, "transport"), ("2", 1, "transport"), ("2", 1, "transport")),
        *(("3", 1, "transport"), ("3", 120, "absent"), ("3", 120, "absent")),
    ]


@pytest.mark.parametrize("late", [False, True])
def test_of_a_frame_in_two_messages_each_kind_is_counted(late: bool) -> None:
    sent = {
        (number, kind): message(number, streams=STREAMS[:2] if kind == 0 else STREAMS[2:])
        for number in range(60)
        for kind in (0, 1)
    }
    gone = [(number, 1) for number in ((20,) if late else range(20, 30))]
    came = [sent[key] for key in sent if key not in gone] + [sent[key] for key in gone if late]
    intake = Intake(DEVICES, decode, {})
    intake.take(Arrivals.of([Arrival(0, START_US, payload) for payload in came]))
    totals = intake.totals[DEVICES[0]]
    assert (totals.missing, totals.reordered) == ((0, 1) if late else (10, 0))


def test_a_stream_of_every_other_message_and_one_that_is_lost() -> None:
    sent = {number: message(number, streams=STREAMS[: 1 + (number % 2 == 0)]) for number in range(60)}
    intake = Intake(DEVICES, decode, {})
    intake.take(Arrivals.of([Arrival(0, START_US, payload) for number, payload in sent.items() if number != 31]))
    assert (intake.totals[DEVICES[0]].received, intake.totals[DEVICES[0]].missing) == (59, 1)


@pytest.mark.parametrize("lost", [[5], [5, 6, 7]])
def test_where_each_stream_has_a_message_one_that_is_lost_is_missing(lost: list[int]) -> None:
    payloads = [
        message(number, streams=[stream])
        for number in range(20)
        for stream in STREAMS
        if number not in lost or stream != STREAMS[1]
    ]
    intake = Intake(DEVICES, decode, {})
    intake.take(Arrivals.of([Arrival(0, START_US, payload) for payload in payloads]))
    assert intake.totals[DEVICES[0]].missing == len(lost)


def test_one_that_comes_late_is_reordered_once() -> None:
    intake = Intake(DEVICES, decode, {})
    intake.take(heard([*range(30), *range(31, 45), 30]))
    assert intake.totals[DEVICES[0]] == Tally(45, 45, 45 * 3 + 5, missing=0, reordered=1)


def test_a_spectrum_that_is_late_with_its_message_is_late_once() -> None:
    intake = Intake(DEVICES, decode, {})
    intake.take(heard([0, 10, 30, 31]))
    intake.take(heard([20]))
    assert intake.totals[DEVICES[0]].reordered == 1


def test_what_there_was_no_room_for_is_told_as_dropped_with_the_next_batch() -> None:
    intake = Intake(DEVICES, decode, {})
    intake.take(heard([0, 1, 4]))
    refused = intake.cut("ingest-0", 1, 0)
    assert refused is not None
    intake.give_up(refused)
    intake.take(heard([5, 8]))
    batch = intake.cut("ingest-0", 1, 0)
    assert batch is not None
    assert batch.tallies == {DEVICES[0]: Tally(5, 2, 6, missing=4, dropped={Drop.OUTBOX_FULL: 3})}
    assert batch.cycles.column("sequence").to_pylist() == [5] * 3 + [8] * 3
    first_stream = [gap for gap in batch.gaps if gap.product == "cycle" and gap.stream == STREAMS[0]]
    assert [(gap.after, gap.before) for gap in first_stream] == [(1, 4), (5, 8)]
    assert intake.totals == batch.tallies | {DEVICES[1]: Tally()}
    assert intake.cut("ingest-0", 1, 1) is None


def test_arrivals_know_the_newest_of_them() -> None:
    arrivals = Arrivals.of([Arrival(0, START_US, message(0)), Arrival(1, START_US + 5, message(0))])
    assert arrivals.newest_us == START_US + 5
