"""What a standby keeps, what follows a position, and what of it is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core.continuity import Position
from pipeline.core.intake import Arrival, Arrivals, Opening
from pipeline.core.model import STREAMS, Flag
from pipeline.core.retention import ARRIVAL_BYTES, SKEW_US, Border, Retention, last_heard, what_follows
from tests.rows import PERIOD_US, START_US, cycles
from tests.standby import decode, message

KEY = ("pdu1", STREAMS[0])


def time_of(number: int) -> int:
    return START_US + number * PERIOD_US


def rows(numbers: Sequence[Any], flags: int = 0) -> pa.RecordBatch:
    """Rows of one stream: numbers, or (number, time)."""
    pairs = [number if isinstance(number, tuple) else (number, time_of(number)) for number in numbers]
    return cycles({"sequence": sequence, "time": time_us, "flags": flags} for sequence, time_us in pairs)


def test_what_is_too_old_or_too_much_goes_oldest_first() -> None:
    retention = Retention(keep_s=10, limit_bytes=4 * (ARRIVAL_BYTES + 50))
    for second in range(12):
        retention.keep(Arrivals.of([Arrival(0, second, bytes(50))] if second % 4 else []), second)
    assert [arrival.received_us for arrival in retention.arrivals()] == [7, 9, 10, 11]
    retention.keep([], 17.5)
    assert [arrival.received_us for arrival in retention.arrivals()] == [9, 10, 11]
    retention.keep(Arrivals.of([Arrival(0, 20, None)]), 20)
    assert [arrival.received_us for arrival in retention.arrivals()] == [10, 11, 20]
    assert retention.nbytes == 3 * ARRIVAL_BYTES + 100
    retention.keep([], 40, ages=False)
    assert len(retention.arrivals()) == 3
    retention.keep([], 40)
    assert (retention.arrivals(), retention.nbytes) == ([], 0)


@pytest.mark.parametrize(
    ("position", "numbers", "following"),
    [
        (7, [5, 6, 7, 8, 9], [0, 0, 0, 1, 1]),
        (7, [8, 9], [1, 1]),  # the position is older than what was kept
        (9, [5, 6], [0, 0]),  # we are behind
        (7, [4, 6, 8, 5, 9], [0, 0, 1, 1, 1]),  # the row itself was not heard; 5 came after what follows
        (7, [4, 6, 7, 5, 8], [0, 0, 0, 1, 1]),
        (3, [998, 999, (3, time_of(1000)), (4, time_of(1001))], [1, 1, 1, 1]),  # at another time: not the same row
        ((1, time_of(1001)), [998, 999, (0, time_of(1000)), (1, time_of(1001)), (2, time_of(1002))], [0, 0, 0, 0, 1]),
        ((999, time_of(1)), [(997, time_of(99)), (999, time_of(1)), (1000, time_of(2))], [0, 0, 1]),  # clock set back
        ((5, time_of(5)), [(5, time_of(5)), 6, (5, time_of(5)), 7], [0, 1, 1, 1]),  # whoever repeats is judged later
    ],
)
def test_rows_follow_from_behind_the_position(position: Any, numbers: list[Any], following: list[int]) -> None:
    place = Position(*position) if isinstance(position, tuple) else Position(position, time_of(position))
    assert Border({KEY: place}).following(rows(numbers)).tolist() == [bool(follows) for follows in following]
    border = Border({KEY: place})  # the same in parts, unless the position's row came after a row of a later time
    if position != (999, time_of(1)):
        assert [bool(border.following(rows([number]))[0]) for number in numbers] == [bool(f) for f in following]


def test_rows_that_carry_their_arrival_are_compared_by_number() -> None:
    here = [(number, time_of(number) + 40_000) for number in range(5, 9)]  # we heard them 40 ms later
    assert Border({KEY: Position(6, time_of(6))}).following(rows(here, Flag.TIME_ABSENT)).tolist() == [0, 0, 1, 1]
    missed = [here[0], *here[2:]]
    assert Border({KEY: Position(6, time_of(6))}).following(rows(missed, Flag.TIME_ABSENT)).tolist() == [0, 1, 1]
    begun_anew = [(998, time_of(0)), (999, time_of(1)), (0, time_of(200)), (1, time_of(201)), (2, time_of(202))]
    later = Position(1, time_of(201) - SKEW_US // 2)
    assert Border({KEY: later}).following(rows(begun_anew, Flag.TIME_IMPLAUSIBLE)).tolist() == [0, 0, 0, 0, 1]
    before = Position(999, time_of(1))
    assert Border({KEY: before}).following(rows(begun_anew[2:], Flag.TIME_ABSENT)).tolist() == [1, 1, 1]


def test_streams_without_a_position_and_rows_without_a_number_follow() -> None:
    border = Border({KEY: Position(7, time_of(7))})
    other = cycles([{"sequence": 1, "stream": "x"}, {"sequence": 7, "time": time_of(7)}, {"device": "pdu9"}])
    assert border.following(other).tolist() == [True, False, True]
    assert border.following(rows([(None, time_of(3))])).all()
    assert Border({}).following(cycles([])).tolist() == []


def sent(arrivals: Sequence[Arrival], opening: Opening, since_us: int = 0) -> list[int]:
    chosen = what_follows(arrivals, decode, ["pdu1", "pdu2"], opening, since_us)
    return [arrival.received_us for arrival in chosen]


def at(number: int, device: str = "pdu1") -> dict[tuple[str, str], Position]:
    return {(device, stream): Position(number, time_of(number)) for stream in STREAMS}


def test_each_device_follows_from_its_own_position_and_what_cannot_be_used_with_it() -> None:
    arrivals = [
        Arrival(0, 1, message(1)),
        Arrival(1, 2, message(7)),
        Arrival(0, 3, b""),
        Arrival(0, 4, message(2)),
        Arrival(0, 5, None),
        Arrival(1, 6, message(8)),
        Arrival(0, 7, message(3)),
    ]
    assert sent(arrivals, Opening(1, {"cycle": at(2) | at(7, "pdu2")})) == [5, 6, 7]
    assert sent(arrivals, Opening(1, {"cycle": at(0) | at(8, "pdu2")})) == [1, 3, 4, 5, 7]
    assert sent(arrivals, Opening(1)) == [1, 2, 3, 4, 5, 6, 7]
    assert sent([], Opening(1)) == []


def test_a_message_of_which_the_store_has_a_part_is_not_sent_again() -> None:
    arrivals = [Arrival(0, number, message(number)) for number in range(1, 6)]
    behind = at(4) | {("pdu1", STREAMS[1]): Position(2, time_of(2))}  # two of its rows were refused
    assert sent(arrivals, Opening(1, {"cycle": behind})) == [5]


def test_where_nothing_tells_what_is_stored_only_the_time_since_then_is_sent() -> None:
    unnumbered = [Arrival(0, number, message(number, numbered=False)) for number in range(1, 6)]
    assert sent(unnumbered, Opening(1), since_us=4) == [4, 5]
    numbered = [Arrival(0, number, message(number)) for number in range(1, 6)]
    assert sent(numbered, Opening(1, complete=False), since_us=4) == [4, 5]
    assert sent(numbered, Opening(1, {"cycle": at(2)}, complete=False), since_us=4) == [3, 4, 5]


def test_spectra_have_positions_of_their_own() -> None:
    arrivals = [Arrival(0, number, message(number, spectrum=number % 2 == 0)) for number in range(1, 8)]
    positions = {"cycle": at(3), "spectrum": {KEY: Position(4, time_of(4))}}
    assert sent(arrivals, Opening(1, positions)) == [5, 6, 7]
    assert sent(arrivals, Opening(1, {"spectrum": {KEY: Position(2, time_of(2))}})) == [3, 4, 5, 6, 7]


def test_a_device_that_is_silent_was_heard_when_its_last_row_came() -> None:
    positions = {"cycle": {("pdu1", "karman1"): Position(7, 500), ("pdu2", "karman1"): Position(7, 2000)}}
    arrivals = [Arrival(1, 700, None), Arrival(2, 650, b""), Arrival(2, 640, b"")]
    heard = last_heard(arrivals, ["pdu1", "pdu2", "pdu3", "pdu4"], Opening(1, positions), since_us=900)
    assert heard == {"pdu1": 500, "pdu2": 900, "pdu3": 650}


def test_a_row_at_the_time_of_the_position_is_none_of_a_later_time() -> None:
    border = Border({KEY: Position(7, time_of(7))})
    assert border.following(rows([(6, time_of(7)), (8, time_of(7)), 9])).tolist() == [False, False, True]
