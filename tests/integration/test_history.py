"""Cycles read back for the live page are those that were stored, and reading stays away from what it must not do."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.adapters.timescale import history
from pipeline.adapters.timescale.store import Store
from pipeline.core.cycles import by_cycle
from pipeline.core.errors import StorageError
from pipeline.core.intake import concatenate
from pipeline.core.model import SPECTRUM_SCHEMA, STREAMS, Batch, Tally
from tests.integration import batches

PERIOD_US = 16_667
COUNT = 100


@pytest.fixture
def filled(database: str) -> str:
    store = Store(database)
    for number, device in enumerate(("rack1-pdu2", "other")):
        rows = batches.cycles(COUNT, device)
        tally = Tally(COUNT, COUNT, rows.num_rows)
        store.write([Batch("test", 1, number, {device: tally}, rows, concatenate([], SPECTRUM_SCHEMA))])
    store.close()
    return database


def test_cycles_come_back_bit_for_bit(filled: str) -> None:
    until_us = batches.START_US + COUNT * PERIOD_US
    found = by_cycle(history.cycles(filled, "rack1-pdu2", batches.START_US, until_us, 10_000), STREAMS)
    wanted = by_cycle(batches.cycles(COUNT), STREAMS)
    np.testing.assert_array_equal(found.time_us, wanted.time_us)
    np.testing.assert_array_equal(found.sequence, wanted.sequence)
    assert (found.streams, found.channels) == (wanted.streams, wanted.channels)
    np.testing.assert_array_equal(found.values, wanted.values)


def test_the_first_moment_is_inside_and_the_last_is_not_and_of_too_many_the_newest_come(filled: str) -> None:
    def numbers(from_number: int, to_number: int, limit: int = 10_000) -> list[int]:
        times = (batches.START_US + number * PERIOD_US for number in (from_number, to_number))
        rows = history.cycles(filled, "other", *times, limit)
        return sorted({(us - batches.START_US) // PERIOD_US for us in by_cycle(rows, STREAMS).time_us.tolist()})

    assert numbers(10, 13) == [10, 11, 12]
    assert numbers(10, 20, limit=6) == [18, 19]
    assert numbers(COUNT, COUNT + 10) == []


def test_cycles_that_arrived_together_stay_apart(database: str) -> None:
    store = Store(database)
    store.write([batches.batch(0, batches.arrived_together(batches.cycles(8)))])
    store.close()
    found = by_cycle(history.cycles(database, "rack1-pdu2", 0, 2 * batches.START_US, 10_000), STREAMS)
    assert sorted(found.sequence.tolist()) == list(range(8))


def test_nobodys_cycles_are_none(filled: str) -> None:
    rows = history.cycles(filled, "'; DROP TABLE cycle; --", 0, 2 * batches.START_US, 10)
    assert len(by_cycle(rows, STREAMS)) == 0


def test_a_database_that_is_away_is_an_error_of_ours() -> None:
    with pytest.raises(StorageError, match="cannot connect"):
        history.cycles("postgresql://nobody@127.0.0.1:1/x", "pdu1", 0, 1, 10)
