"""What was counted of a device, as it is shown."""

from __future__ import annotations

from pipeline.core.model import Tally
from pipeline.core.progress import held


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
