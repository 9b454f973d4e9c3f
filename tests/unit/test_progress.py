"""What was counted of a device, as it is shown."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from pipeline.core.continuity import Position
from pipeline.core.model import Batch, Tally
from pipeline.core.progress import Progress, held
from tests.rows import START_US, cycles, spectra


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


def stands(*places: tuple[int, int]) -> Position:
    """Where a stream stands after rows of these numbers and times, in one batch, and in one each."""
    rows = cycles({"sequence": number, "time": START_US + time_us} for number, time_us in places)
    together, apart = Progress(), Progress()
    together.note(whole := batch(rows))
    for row in range(rows.num_rows):
        apart.note(replace(whole, cycles=rows.slice(row, 1)))
    assert together.positions == apart.positions
    (position,) = together.positions["cycle"].values()
    return replace(position, time_us=position.time_us - START_US)


def batch(rows: pa.RecordBatch) -> Batch:
    return Batch("ingest-0", 1, 0, {}, rows, spectra([]))


def test_a_stream_stands_at_its_last_row_that_did_not_come_late() -> None:
    assert stands((7, 5), (8, 9)) == Position(8, 9)
    assert stands((7, 5), (9, 9), (8, 7)) == Position(9, 9)
    assert stands((7, 50), (8, 9)) == Position(8, 9), "its clock was set back"
    assert stands((1199, 5000), (0, 20), (1, 37)) == Position(1, 37), "it began anew, with its clock behind"
    assert stands((1199, 5000), (0, 6000), (1, 6017), (1198, 4990)) == Position(1198, 4990)
