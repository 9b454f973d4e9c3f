"""What was counted of a device, as it is shown."""

from __future__ import annotations

from pipeline.core.continuity import Position
from pipeline.core.model import STREAMS, Tally
from pipeline.core.progress import ends, held
from tests.rows import START_US, cycles


def test_counts_that_died_with_an_ingest_are_not_taken_back() -> None:
    shown = Tally(1000, 880, 2640, missing=5, reordered=2, resets=1, dropped={"malformed": 120})
    successor = Tally(1010, 905, 2715, missing=6, dropped={"malformed": 100, "duplicate": 5})
    after = held(shown, successor)
    assert (after.received, after.delivered) == (1010, 905)
    assert after.dropped == {"malformed": 120, "duplicate": 5}
    assert (after.reordered, after.resets) == (2, 1)
    assert after.missing + after.reordered == 7
    assert held(after, Tally(2000, 1700, missing=20, reordered=4, resets=2, dropped={"malformed": 300})) == Tally(
        2000, 1700, missing=20, reordered=4, resets=2, dropped={"malformed": 300, "duplicate": 5}
    )


def test_a_stream_stands_at_its_row_of_the_latest_time_and_then_at_its_last() -> None:
    numbers = [(7, START_US + 5), (8, START_US + 9), (2, START_US + 9), (9, START_US + 8)]
    rows = cycles({"sequence": number, "time": time_us} for number, time_us in numbers)
    assert [found["pdu1", STREAMS[0]] for found in ends(rows)] == [Position(*numbers[2]), Position(*numbers[3])]
