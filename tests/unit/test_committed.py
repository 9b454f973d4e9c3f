"""What is said of committed batches: how many, how long they took, how new they are."""

from __future__ import annotations

import time

import pytest

from pipeline.adapters.committed import Committed
from pipeline.core.intake import concatenate, only_counts
from pipeline.core.model import SPECTRUM_SCHEMA, Batch
from tests.rows import cycles


def batch(*times_us: tuple[int, int]) -> Batch:
    """Rows by their own time and their arrival."""
    rows = cycles({"time": time_us, "received": received_us} for time_us, received_us in times_us)
    return Batch("p", 1, 0, {}, rows, concatenate([], SPECTRUM_SCHEMA))


def test_transactions_add_up_and_the_newest_arrival_stays() -> None:
    committed = Committed()
    committed.add([batch((1_000, 5_000), (2_000, 9_000)), only_counts("p", 1, 1, {})], 0.25)
    committed.add([batch((500, 700))], 0.5)
    committed.add([only_counts("p", 1, 2, {})], 0.25)
    assert (committed.transactions, committed.batches, committed.busy_s) == (3, 4, 1.0)
    assert committed.newest_us == 9_000


def test_delays_are_from_a_rows_time_to_its_arrival_and_to_its_commit() -> None:
    now_us = time.time_ns() // 1000
    committed = Committed()
    committed.add([batch((now_us - 60_000_000, now_us - 59_960_000))], 0.1)
    assert committed.until_received.quantile_ms(1.0) == pytest.approx(40, rel=0.05)
    assert committed.until_committed.quantile_ms(1.0) == pytest.approx(60_000, rel=0.1)
