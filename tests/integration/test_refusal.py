"""What the database refuses for good goes to quarantine, row by row; the rest is stored, and nothing wedges."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pyarrow as pa
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from pipeline.adapters import wire
from pipeline.adapters.timescale import accounts
from pipeline.adapters.timescale.store import Store
from pipeline.core.envelope import rows_from_bytes
from pipeline.core.intake import Arrivals, Intake
from pipeline.core.model import STREAMS, Drop, Flag, Tally
from tests.integration.batches import START_US, batch, cycles
from utilidata.karman.bibimbap.v1 import bibimbap_pb2 as pb


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


def test_the_ledger_forgets_epochs_that_are_over(store: Store, database: str) -> None:
    now_us = 10 * accounts.OVER_AFTER_US
    begun = [1000, 2000, now_us - 5]
    for epoch in begun:
        store.write([replace(batch(number, cycles(2)), epoch=epoch) for number in range(3)])
    store.write([replace(batch(0), producer="ingest-1", epoch=1000)])
    before = accounts.accounts(store.connection, 0)
    oldest = {("ingest-0", epoch): 2 for epoch in begun}

    def left() -> dict[tuple[str, int], int]:
        with psycopg.connect(database) as connection:
            counts = connection.execute("SELECT producer, epoch, count(*) FROM ledger GROUP BY 1, 2").fetchall()
        return {(producer, epoch): count for producer, epoch, count in counts}

    assert accounts.tidy(store.connection, oldest, now_us) == [("ingest-0", 1000)]  # 2000's successor is too young
    assert left() == {("ingest-0", 2000): 1, ("ingest-0", now_us - 5): 1, ("ingest-1", 1000): 1}
    later_us = now_us + accounts.OVER_AFTER_US
    assert accounts.tidy(store.connection, oldest, later_us) == [("ingest-0", 2000)]
    assert left() == {("ingest-0", now_us - 5): 1, ("ingest-1", 1000): 1}
    assert accounts.accounts(store.connection, 0) == before
    assert accounts.totals(store.connection, 0, ["rack1-pdu2"]) == {}


def test_impossible_values_in_one_message_cost_that_message_at_most(store: Store, database: str) -> None:
    def payload(sequence: int, time: Timestamp | None, power_w: float = 700.0) -> bytes:
        message = pb.CompositeJoinedCalculations()
        for name in STREAMS:
            wrapper = message.calculations.add(calculation_name=name)
            phase = wrapper.calculations.phase_a
            phase.provenance.generic_sequence_number = sequence
            if time is not None:
                phase.provenance.utc_time.CopyFrom(time)
            phase.power_calculations.real_power_w = power_w
        return message.SerializeToString()

    now_us = START_US + 500_000

    def at(offset_us: int) -> Timestamp:
        seconds, rest = divmod(START_US + offset_us, 1_000_000)
        return Timestamp(seconds=seconds, nanos=rest * 1000)

    payloads = [
        payload(1, at(0)),
        payload(2, Timestamp(seconds=2**62)),
        payload(3, None),
        payload(4, at(50_000), float("nan")),
        payload(2**64 - 1, at(66_667)),
        payload(5, at(83_333), float("inf")),
        payload(6, Timestamp(seconds=-(2**63), nanos=-(2**31))),
        payload(7, at(116_667)),
    ]
    decoder = wire.Decoder(["rack1-pdu2"], [b"cycle-aligned"], 300_000_000, 256)
    intake = Intake(["rack1-pdu2"], decoder.decode, {})
    arrivals = Arrivals()
    arrivals.add(0, now_us, payloads)
    intake.take(arrivals)
    cut = intake.cut("ingest-0", 1000, 0)
    assert cut is not None
    assert store.write([cut]) == 1
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT c.sequence, c.flags, extract(epoch FROM c.time - to_timestamp(%s))::float8, a_real_power_w"
            " FROM cycle c JOIN stream s ON s.id = stream_id WHERE s.name = %s ORDER BY sequence",
            [START_US / 1e6, STREAMS[0]],
        ).fetchall()
        assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
    arrival = pytest.approx(0.5, abs=1e-5)
    assert rows == [
        (1, 0, pytest.approx(0.0, abs=1e-5), 700.0),
        (2, Flag.TIME_IMPLAUSIBLE, arrival, 700.0),
        (3, Flag.TIME_ABSENT, arrival, 700.0),
        (4, 0, pytest.approx(0.05, abs=1e-5), pytest.approx(float("nan"), nan_ok=True)),
        (5, 0, pytest.approx(0.083333, abs=1e-5), float("inf")),
        (6, Flag.TIME_IMPLAUSIBLE, arrival, 700.0),
        (7, 0, pytest.approx(0.116667, abs=1e-5), 700.0),
    ]
    assert cut.tallies["rack1-pdu2"] == Tally(8, 7, 21, dropped={Drop.SEQUENCE_RANGE: 1})
