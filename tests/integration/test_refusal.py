"""What the database refuses for good goes to quarantine, row by row; the rest is stored, and nothing wedges."""

from __future__ import annotations

import psycopg
import pyarrow as pa
import pytest

from pipeline.adapters.timescale import accounts
from pipeline.adapters.timescale.store import Store
from pipeline.core.envelope import rows_from_bytes
from pipeline.core.model import Tally
from tests.integration.batches import batch, cycles


@pytest.fixture
def store(database: str):
    store = Store(database)
    yield store
    store.close()


def test_one_poisoned_message_goes_to_quarantine_and_the_rest_is_stored(store: Store, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE cycle ADD CONSTRAINT sane CHECK (sequence IS NULL OR sequence <> 13)")
        assert store.write([batch(0), batch(1, cycles(20, first=20)), batch(2, cycles(20, first=40))]) == 3
        stored = connection.execute("SELECT count(*), count(*) FILTER (WHERE sequence = 13) FROM cycle").fetchone()
        quarantined = connection.execute(
            "SELECT producer, number, product, row_count, error, rows FROM quarantine"
        ).fetchall()
    assert stored == (180 - 3, 0)
    assert sum(row[3] for row in quarantined) == 3
    assert {(row[0], row[1], row[2]) for row in quarantined} == {("ingest-0", 0, "cycle")}
    assert all("sane" in row[4] for row in quarantined)
    rows = pa.Table.from_batches([rows_from_bytes(row[5]) for row in quarantined]).to_pylist()
    assert [row["sequence"] for row in rows] == [13, 13, 13]
    account = accounts.accounts(store.connection, 0)[("ingest-0", 1000)]
    assert account == Tally(received=63, delivered=59, rows=177, missing=6, dropped={"malformed": 3, "refused": 1})
    assert store.write([batch(0)]) == 0


def test_a_missing_table_takes_the_whole_batch_to_quarantine(store: Store, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE cycle RENAME TO elsewhere")
        assert store.write([batch(0)]) == 1
        assert connection.execute("SELECT row_count FROM quarantine").fetchall() == [(60,)]
        connection.execute("ALTER TABLE elsewhere RENAME TO cycle")
        assert store.write([batch(1, cycles(20, first=20))]) == 1
        assert connection.execute("SELECT count(*) FROM cycle").fetchone() == (60,)


def test_the_ledger_is_pruned_into_sums_and_still_refuses_nothing_it_must_not(store: Store, database: str) -> None:
    store.write([batch(number, cycles(2, first=2 * number)) for number in range(10)])
    before = accounts.accounts(store.connection, 0)
    accounts.prune(store.connection, "ingest-0", 1000, 4)
    accounts.prune(store.connection, "ingest-0", 1000, 8)
    accounts.prune(store.connection, "ingest-0", 1000, 8)
    assert accounts.accounts(store.connection, 0) == before
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT number FROM ledger ORDER BY 1").fetchall() == [(8,), (9,)]
    assert accounts.last_epoch(store.connection, "ingest-0") == 1000
    assert store.write([batch(9), batch(10, cycles(2, first=20))]) == 1
