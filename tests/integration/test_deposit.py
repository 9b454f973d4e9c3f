"""Outages: cuts at any moment, a database that is away or read-only, a spool that is full or damaged."""

from __future__ import annotations

import random
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest

from pipeline.adapters import deposit as module
from pipeline.adapters import spool as spool_module
from pipeline.adapters.deposit import Deposit
from pipeline.adapters.spool import Spool, hold, shard_folder
from pipeline.adapters.timescale import beside
from pipeline.adapters.timescale import connection as connection_module
from pipeline.adapters.timescale import store as store_module
from pipeline.adapters.timescale.connection import Connection
from pipeline.adapters.timescale.schema import Flavour, flavour_of
from pipeline.adapters.timescale.store import Store
from pipeline.core.balance import balance
from pipeline.core.config import Storage
from pipeline.core.continuity import Position
from pipeline.core.digest import Digest
from pipeline.core.envelope import pack
from pipeline.core.errors import SpoolError, StorageError
from pipeline.core.model import CYCLE_SCHEMA, TIMESTAMP, Account, Batch, Tally, total
from tests.integration.batches import START_US, batch, cycles
from tests.integration.proxy import Proxy

SPOOL = ("spool-0", 5)
KEY = ("rack1-pdu2", "threephase/karman1")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.02)
    monkeypatch.setattr(module, "LONGEST_RETRY_S", 0.1)
    monkeypatch.setattr(module, "IDLE_S", 0.02)


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    proxy = Proxy(database)
    yield proxy
    proxy.close()


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Callable[..., Deposit]]:
    """Deposits with a spool in a place of the test's, closed at its end."""
    made: list[Deposit] = []

    def make(dsn: str, settings: Storage | None = None) -> Deposit:
        made.append(Deposit(dsn, settings or Storage(), 0, 1, tmp_path / "spool"))
        return made[-1]

    yield make
    for deposit in made:
        deposit.close()


def small(number: int, count: int = 4) -> Batch:
    rows = cycles(count, first=count * number)
    return replace(batch(number, rows), tallies={"rack1-pdu2": Tally(count, count, rows.num_rows)})


def nobody(account: Account, change: Tally) -> None:
    """Does not keep the counts of a spool."""


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s"
        time.sleep(0.02)


def rows_of(dsn: str) -> tuple[int, int, int]:
    """Rows, distinct rows, cycles in the seconds' sums."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT (device_id, stream_id, time)),"
            " (SELECT coalesce(sum(row_count), 0)::bigint FROM power_1s) FROM cycle"
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def test_a_thousand_batches_through_two_hundred_cuts_are_stored_once(
    database: str, proxy: Proxy, keeper: Callable[..., Deposit]
) -> None:
    rng = random.Random(11)
    deposit = keeper(proxy.dsn)
    deposit.hand_in(small(0), 0).result(20)
    proxy.cut = lambda: rng.choice(["before", "after"]) if rng.random() < 0.2 else None
    proxy.data_cut = lambda: rng.random() < 0.05
    number = 1
    while proxy.cuts < 200 or number < 1000:
        until(lambda: not deposit.stats()["error"])  # else most batches would go to disk, past the cuts
        futures = [deposit.hand_in(small(number + index), number) for index in range(rng.choice([1, 1, 4]))]
        number += len(futures)
        for future in futures:
            future.result(30)
        assert number < 5000, f"only {proxy.cuts} cuts"
    proxy.cut, proxy.data_cut = (lambda: None), (lambda: False)
    futures[-1].result(30)
    until(
        lambda: (
            deposit.stats()["spool_segments"] == 0 and deposit.stats()["waiting"] == 0 and not deposit.stats()["error"]
        )
    )
    assert rows_of(database) == (12 * number, 12 * number, 12 * number)
    assert total(deposit.stats()["accounts"].values()).delivered == 4 * number


def test_the_minute_that_goes_on_is_rolled_up_at_the_end(database: str, keeper: Callable[..., Deposit]) -> None:
    deposit = keeper(database, replace(Storage(), roll_up_s=0.01))
    now = small(0)
    recent = pa.array([time.time_ns() // 1000] * now.cycles.num_rows).view(TIMESTAMP)
    deposit.hand_in(replace(now, cycles=now.cycles.set_column(0, CYCLE_SCHEMA.field("time"), recent)), 0).result(20)
    deposit.hand_in(small(1), 0).result(20)  # it has had its turn since
    with psycopg.connect(database, autocommit=True) as connection:
        if flavour_of(connection) is not Flavour.PLAIN:
            pytest.skip("TimescaleDB's aggregates do it")
        deposit.finish()
        left = "SELECT (SELECT count(*) FROM rollup_due), (SELECT count(*) FROM power_1m)"
        assert connection.execute(left).fetchone() == (0, 6)


def test_an_outage_goes_to_disk_survives_a_restart_and_drains_beside_live_data(
    database: str, proxy: Proxy, keeper: Callable[..., Deposit]
) -> None:
    first = keeper(proxy.dsn)
    first.hand_in(small(0), 0).result(20)
    proxy.open = False
    proxy.sever()
    for number in range(1, 40):
        first.hand_in(small(number), number).result(20)
    stats = first.stats()
    assert stats["error"]
    assert stats["spool_bytes"] > 0
    counts = balance({("ingest-0", 1000): Tally(160, 160)}, stats["accounts"], stats["spooled"])
    assert (counts.received, counts.stored, counts.spooled, counts.in_flight, counts.dropped) == (160, 4, 156, 0, {})
    # The process dies here: a new one finds the segments, and knows from them where the streams stand.
    second = keeper(proxy.dsn)
    opening = second.opening("ingest-0", ["rack1-pdu2"], patience_s=0.1)
    assert opening.epoch > 1000
    assert opening.positions["cycle"][KEY] == Position(159, START_US + 159 * 16_667)
    proxy.open = True
    second.hand_in(small(40), 40).result(20)
    until(lambda: second.stats()["spool_segments"] == 0)
    assert rows_of(database) == (12 * 41, 12 * 41, 12 * 41)
    assert second.stats()["error"] is None
    # `first` is still alive in this process; what it would store again is in the ledger.


def test_a_read_only_database_is_an_outage(database: str, keeper: Callable[..., Deposit]) -> None:
    deposit = keeper(database)
    deposit.hand_in(small(0), 0).result(20)
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            [name],
        )
        deposit.hand_in(small(1), 1).result(20)
        until(lambda: "read-only" in (deposit.stats()["error"] or ""))
        assert deposit.stats()["spool_segments"] == 1
        connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    until(lambda: deposit.stats()["spool_segments"] == 0)
    assert rows_of(database) == (24, 24, 24)


def test_a_full_spool_drops_the_oldest_and_counts_it(
    database: str, proxy: Proxy, keeper: Callable[..., Deposit]
) -> None:
    deposit = keeper(proxy.dsn, replace(Storage(), spool_bytes=60_000))
    deposit.hand_in(small(0), 0).result(20)
    proxy.open = False
    proxy.sever()
    for number in range(1, 40):
        deposit.hand_in(small(number), number).result(20)
    assert deposit.stats()["spool_bytes"] < 80_000
    proxy.open = True
    until(lambda: deposit.stats()["spool_segments"] == 0 and not deposit.stats()["error"])
    stats = deposit.stats()
    counts = balance({("ingest-0", 1000): Tally(160, 160)}, stats["accounts"], stats["spooled"])
    assert counts.in_flight == counts.spooled == 0
    assert counts.dropped["spool_full"] > 0
    assert counts.received == counts.stored + counts.dropped["spool_full"] == 160
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT max(sequence) FROM cycle").fetchone() == (159,)


def test_a_damaged_segment_is_set_aside_and_the_others_are_stored(
    database: str, proxy: Proxy, keeper: Callable[..., Deposit], tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    deposit = keeper(proxy.dsn)
    deposit.hand_in(small(0), 0).result(20)
    proxy.open = False
    proxy.sever()
    for number in range(1, 5):
        deposit.hand_in(small(number), number).result(20)
    segments = sorted(spool.glob("*.segment"))
    assert len(segments) == 4
    data = bytearray(segments[1].read_bytes())
    data[-100] ^= 0xFF
    segments[1].write_bytes(data)
    segments[2].write_bytes(b"")
    proxy.open = True
    until(lambda: deposit.stats()["spool_segments"] == 0 and not deposit.stats()["error"])
    assert rows_of(database) == (36, 36, 36)
    assert deposit.stats()["spool_damaged"] == 2
    assert len(list(spool.glob("*.damaged"))) == 2
    assert total(deposit.stats()["accounts"].values()).dropped == {"spool_damaged": 4}


def test_a_disk_that_takes_nothing_keeps_batches_waiting_and_acknowledges_none(
    database: str, proxy: Proxy, keeper: Callable[..., Deposit], monkeypatch: pytest.MonkeyPatch
) -> None:
    deposit = keeper(proxy.dsn)
    deposit.hand_in(small(0), 0).result(20)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    proxy.open = False
    proxy.sever()
    future = deposit.hand_in(small(1), 1)
    until(lambda: deposit.stats()["error"])
    time.sleep(0.3)
    assert not future.done()
    proxy.open = True
    future.result(20)
    assert rows_of(database) == (24, 24, 24)


def test_a_server_that_freezes_is_an_outage(
    database: str, proxy: Proxy, keeper: Callable[..., Deposit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "patience_s", 0.5)
    monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT_S", 2)
    deposit = keeper(proxy.dsn)
    deposit.hand_in(small(0), 0).result(20)
    proxy.frozen = True
    for number in range(1, 4):
        deposit.hand_in(small(number), number).result(30)
    told = deposit.stats()
    assert not told["up"]
    assert told["spool_segments"] > 0
    proxy.frozen = False
    until(lambda: deposit.stats()["spool_segments"] == 0 and not deposit.stats()["error"])
    assert rows_of(database) == (48, 48, 48)


def test_the_spool_gives_back_what_was_written_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "s", SPOOL, 1 << 20, nobody)
    for number in range(3):
        spool.append([small(2 * number), small(2 * number + 1)])
    (tmp_path / "s" / "000000000009.tmp").write_bytes(b"half")
    again = Spool(tmp_path / "s", SPOOL, 1 << 20, nobody)
    assert again.nbytes == spool.nbytes
    read = [again.read(number) for number in again.numbers()]
    assert [[batch.number for batch in reading.batches] for reading in read] == [[0, 1], [2, 3], [4, 5]]
    assert pack(read[0].batches[0]) == pack(small(0))
    assert not list((tmp_path / "s").glob("*.tmp"))
    again.append([small(9)])
    assert len(again.numbers()) == 4


def test_a_spool_has_one_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "PREDECESSOR_S", 0.3)
    with hold(tmp_path / "s"), pytest.raises(SpoolError, match="give this one a --spool-dir of its own"):
        hold(tmp_path / "s")
    hold(tmp_path / "s").close()
    assert Spool(tmp_path / "s", SPOOL, 1 << 20, nobody).numbers() == []


def test_what_is_damaged_in_a_segment_that_has_to_go_is_counted_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SPOOL, 1 << 20, nobody)
    spool.append([small(0), small(1)])
    (segment,) = tmp_path.glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[-100] ^= 0xFF
    segment.write_bytes(data)
    full = Spool(tmp_path, SPOOL, 1, nobody)
    full.append([small(2)])
    kept = [batch for number in full.numbers() for batch in full.read(number).batches]
    assert total(t for batch in kept for t in batch.tallies.values()) == Tally(
        8, 4, 12, dropped={"spool_full": 4, "spool_damaged": 4}
    )


def test_a_segment_tells_what_it_holds_without_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, SPOOL, 1 << 20, nobody)
    told = {"rack1-pdu2": Tally(40, 40, 120, missing=2, dropped={"malformed": 1})}
    batches = [small(0), replace(small(1), totals=told), replace(small(7), producer="ingest-1", epoch=9)]
    spool.append(batches)
    whole = Digest.of(batches)
    assert (set(whole.tallies), whole.totals[small(0).epoch]) == ({("ingest-0", small(0).epoch), ("ingest-1", 9)}, told)
    with monkeypatch.context() as patched:
        patched.setattr(Spool, "read", None)
        assert spool.digest(1) == whole
    (segment,) = tmp_path.glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[12 + 3 * 12 + 8] ^= 0xFF  # the first letter of the digest
    segment.write_bytes(data)
    assert spool.digest(1) == whole  # from the rows
    data[4] ^= 0xFF
    segment.write_bytes(data)
    assert spool.digest(1) == Digest.of([])
    assert spool.damaged == 1


def test_no_number_comes_again_whose_segment_was_damaged(tmp_path: Path) -> None:
    first = Spool(tmp_path, SPOOL, 1 << 20, nobody)
    first.append([small(0)])
    (segment,) = tmp_path.glob("*.segment")
    data = bytearray(segment.read_bytes())
    data[-100] ^= 0xFF
    segment.write_bytes(data)
    assert first.read(1).damaged
    first.remove(1)
    again = Spool(tmp_path, SPOOL, 1 << 20, nobody)
    again.append([small(1)])
    assert again.numbers() == [2]


def test_a_device_that_rebooted_with_its_clock_behind_stands_where_it_counts_now(
    database: str, keeper: Callable[..., Deposit]
) -> None:
    """Else its ingest's successor would take what is stored for lost, or what was lost for stored."""
    deposit = keeper(database)
    before = replace(small(0), cycles=cycles(4, first=5_000))
    deposit.hand_in(before, 0).result(20)
    deposit.hand_in(replace(small(1), cycles=cycles(4)), 0).result(
        20
    )  # its numbers begin anew, and its time is earlier
    opening = deposit.opening("ingest-1", ["rack1-pdu2"], 5.0)
    assert opening.complete
    assert opening.positions["cycle"][KEY].sequence == 3


def test_who_begins_waits_no_longer_for_who_stores_than_for_the_database(
    database: str, keeper: Callable[..., Deposit]
) -> None:
    deposit = keeper(database)
    deposit.hand_in(small(0), 0).result(20)
    with ThreadPoolExecutor(1) as pool, deposit._database:  # as long as a frozen server is waited for
        began_s = time.monotonic()
        opening = pool.submit(deposit.opening, "ingest-1", ["rack1-pdu2"], 0.3).result(20)
        assert time.monotonic() - began_s < 5
    assert not opening.complete
    assert opening.positions["cycle"][KEY].sequence == 3, "by what was handed in"
    assert deposit.stats()["error"] is None


def test_segments_of_the_version_before_are_read(tmp_path: Path) -> None:
    packed = [pack(small(0)), pack(small(1))]
    entries = b"".join(struct.pack("<III", len(data), zlib.crc32(data), 4) for data in packed)
    head = struct.pack("<4sII", b"KSP1", 2, zlib.crc32(entries))
    (tmp_path / f"{1:012d}.segment").write_bytes(head + entries + b"".join(packed))
    spool = Spool(tmp_path, SPOOL, 1 << 20, nobody)
    assert [batch.number for batch in spool.read(1).batches] == [0, 1]
    assert spool.digest(1) == Digest.of([small(0), small(1)])


def test_where_no_room_can_be_made_nothing_is_left_and_nothing_counted(tmp_path: Path) -> None:
    changes: list[tuple[Account, Tally]] = []
    spool = Spool(tmp_path, SPOOL, 1, lambda *change: changes.append(change))
    spool.append([small(0)])
    before = sorted(tmp_path.iterdir())
    with pytest.MonkeyPatch.context() as patched:

        def too_many(_: Path) -> bytes:
            raise OSError(24, "Too many open files")

        patched.setattr(Path, "read_bytes", too_many)
        for _ in range(3):
            with pytest.raises(SpoolError, match="Too many open files"):
                spool.append([small(1)])
    assert sorted(tmp_path.iterdir()) == before
    assert changes == []
    spool.append([small(1)])
    assert [account for account, _ in changes] == [("ingest-0", small(0).epoch)]


def test_a_segment_that_cannot_be_opened_now_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, SPOOL, 1 << 20, nobody)
    spool.append([small(0)])
    with monkeypatch.context() as patched:

        def too_many(_: Path) -> bytes:
            raise OSError(24, "Too many open files")

        patched.setattr(Path, "read_bytes", too_many)
        with pytest.raises(SpoolError, match="Too many open files"):
            spool.read(1)
    assert spool.damaged == 0
    assert [batch.number for batch in spool.read(1).batches] == [0]


def test_who_opens_waits_for_one_attempt_not_for_those_of_others(
    keeper: Callable[..., Deposit], monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[float] = []

    def hangs(_: Deposit) -> Store:
        attempts.append(time.monotonic())
        time.sleep(1.0)
        raise StorageError("nobody answers")

    monkeypatch.setattr(Deposit, "_connected", hangs)
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.5)
    monkeypatch.setattr(module, "LONGEST_RETRY_S", 1.0)
    deposit = keeper("postgresql://127.0.0.1:1/x")
    with ThreadPoolExecutor(8) as pool:
        opened = [pool.submit(deposit.opening, f"ingest-{n}", [f"pdu-{n}"], 0.5) for n in range(8)]
        assert not any(each.result(30).complete for each in opened)
    assert len(attempts) <= 4


def test_a_database_that_is_another_ones_is_an_outage(database: str, keeper: Callable[..., Deposit]) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE writer RENAME TO of_another")
        deposit = keeper(database)
        for number in range(5):
            deposit.hand_in(small(number), number).result(20)
        assert not deposit.opening("ingest-0", ["rack1-pdu2"], 0.1).complete
        connection.execute("ALTER TABLE of_another RENAME TO writer")
    until(lambda: deposit.stats()["spool_segments"] == 0 and not deposit.stats()["error"])
    assert rows_of(database) == (60, 60, 60)


def test_of_two_writers_only_the_newer_one_stores(database: str, keeper: Callable[..., Deposit]) -> None:
    """One that was cut off from the others may go on for a while, beside the one that was made in its place."""
    older = keeper(database)
    older.hand_in(small(0), 0).result(20)
    newer = keeper(database)
    newer.hand_in(small(1), 1).result(20)
    older.hand_in(small(2), 2).result(20)  # it goes to disk
    newer.hand_in(small(3), 3).result(20)
    assert "another process writes" in str(older.stats()["error"])
    assert rows_of(database) == (36, 36, 36)


def test_an_epoch_is_later_than_those_before_whatever_the_clock_says(
    database: str, keeper: Callable[..., Deposit]
) -> None:
    deposit = keeper(database)
    ahead = time.time_ns() // 1000 + 3_600_000_000
    opened = deposit.opening("ingest-0", ["rack1-pdu2"], 1.0, after=ahead)
    assert opened.epoch == ahead + 1
    deposit.hand_in(replace(small(0), epoch=opened.epoch), 0).result(20)
    assert deposit.opening("ingest-0", ["rack1-pdu2"], 1.0).epoch > opened.epoch
    assert keeper(database).opening("ingest-0", ["rack1-pdu2"], 1.0).epoch > opened.epoch


@pytest.mark.parametrize("away", [False, True])
def test_what_was_missed_between_two_runs_is_told_also_where_the_database_came_later(
    database: str, proxy: Proxy, keeper: Callable[..., Deposit], away: bool
) -> None:
    first = keeper(proxy.dsn)
    first.hand_in(small(0), 0).result(20)  # cycles 0 to 3
    first.close()
    if away:
        proxy.open = False
        proxy.sever()
    second = keeper(proxy.dsn)
    opening = second.opening("ingest-0", ["rack1-pdu2", "new"], patience_s=0.05)
    assert opening.complete is not away
    if away:
        other = cycles(2, "new", first=500)
        for number, rows in enumerate((cycles(4, first=40), cycles(4, first=44), other)):
            second.hand_in(replace(batch(number, rows), epoch=opening.epoch, tallies={}), 0).result(20)
        assert second.stats()["spool_segments"]
        proxy.open = True
        second.hand_in(replace(batch(3, cycles(4, first=48)), epoch=opening.epoch, tallies={}), 0).result(20)
        until(lambda: second.stats()["spool_segments"] == 0 and not second.stats()["error"])
        with psycopg.connect(database) as connection:
            gaps = connection.execute(
                "SELECT s.name, after_sequence, before_sequence, missing, reason FROM gap"
                " JOIN stream s ON s.id = stream_id ORDER BY 1"
            ).fetchall()
        assert gaps == [(f"threephase/karman{n}", 3, 40, 36, "restart") for n in (1, 2, 3)]
        told = {account: tally.missing for account, tally in second.stats()["accounts"].items() if tally.missing}
        assert told["beginning-of-ingest-0", opening.epoch] == 36


def test_each_ingest_and_device_that_began_without_the_database_is_judged_when_its_rows_come(
    database: str, proxy: Proxy, keeper: Callable[..., Deposit]
) -> None:
    first = keeper(proxy.dsn)
    for number, device in enumerate(("rack1-pdu2", "second", "third")):
        first.hand_in(batch(number, cycles(4, device)), 0).result(20)
    first.close()
    proxy.open = False
    proxy.sever()
    second = keeper(proxy.dsn)
    one = second.opening("ingest-0", ["rack1-pdu2", "second"], patience_s=0.05)
    two = second.opening("ingest-1", ["third"], patience_s=0.05)

    def hand_in(number: int, device: str, first: int, producer: str, epoch: int) -> None:
        rows = replace(batch(number, cycles(4, device, first)), producer=producer, epoch=epoch, tallies={})
        second.hand_in(rows, 0).result(20)

    hand_in(0, "rack1-pdu2", 40, "ingest-0", one.epoch)
    again = second.opening("ingest-0", ["rack1-pdu2", "second"], patience_s=0.05)  # its devices have changed
    hand_in(0, "rack1-pdu2", 44, "ingest-0", again.epoch)
    proxy.open = True
    hand_in(1, "rack1-pdu2", 48, "ingest-0", again.epoch)
    until(lambda: second.stats()["spool_segments"] == 0 and not second.stats()["error"])
    hand_in(2, "second", 70, "ingest-0", again.epoch)
    hand_in(0, "third", 100, "ingest-1", two.epoch)
    with psycopg.connect(database) as connection:
        gaps = connection.execute(
            "SELECT d.name, before_sequence, missing FROM gap JOIN device d ON d.id = device_id"
            " WHERE stream_id = (SELECT min(id) FROM stream) ORDER BY 2"
        ).fetchall()
    assert gaps == [("rack1-pdu2", 40, 36), ("second", 70, 66), ("third", 100, 96)]


def test_a_batch_that_always_fails_stops_no_other_and_is_counted(
    database: str, keeper: Callable[..., Deposit], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = store_module.one_second

    def failing(rows: pa.RecordBatch) -> Sequence[pa.RecordBatch]:
        if 8 in rows.column("sequence").to_pylist():
            raise MemoryError("no room for these")
        return whole(rows)

    monkeypatch.setattr(store_module, "one_second", failing)
    deposit = keeper(database)
    waiting = {number: small(number) for number in range(4)}  # the third has cycles 8 to 11
    for _ in range(module.ODD_TRIES):
        futures = {number: deposit.hand_in(each, 0) for number, each in waiting.items()}
        waiting = {number: waiting[number] for number, future in futures.items() if future.exception(20)}
        if not waiting:
            break
    assert not waiting
    assert rows_of(database) == (36, 36, 36)
    assert total(deposit.stats()["accounts"].values()).dropped == {"refused": 4}


def test_a_table_that_is_missing_costs_no_rows_however_often_it_is_tried(
    database: str, keeper: Callable[..., Deposit]
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE account RENAME TO elsewhere")
        deposit = keeper(database)
        for number in range(2 * module.ODD_TRIES):
            deposit.hand_in(small(number), 0).result(20)
        assert deposit.stats()["error"]
        connection.execute("ALTER TABLE elsewhere RENAME TO account")
    until(lambda: deposit.stats()["spool_segments"] == 0 and not deposit.stats()["error"])
    rows = 12 * 2 * module.ODD_TRIES
    assert rows_of(database) == (rows, rows, rows)
    assert total(deposit.stats()["accounts"].values()).dropped == {}


def test_what_is_stored_leaves_the_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SPOOL, 1 << 20, nobody)
    spool.append([small(0)])
    spool.append([small(1)])
    spool.remove(1)
    assert Spool(tmp_path, SPOOL, 1 << 20, nobody).numbers() == spool.numbers() == [2]


def test_each_shard_has_a_spool_and_none_with_batches_is_left_behind(tmp_path: Path) -> None:
    assert [shard_folder(tmp_path, shard, 3) for shard in range(2)] == [tmp_path, tmp_path / "shard-1"]
    spool = Spool(shard_folder(tmp_path, 2, 3), SPOOL, 1 << 20, nobody)
    spool.append([small(0)])
    (tmp_path / "shard-old").mkdir()
    with pytest.raises(SpoolError, match="shard-2: run with 3 store shards"):
        shard_folder(tmp_path, 0, 2)
    spool.remove(1)
    assert shard_folder(tmp_path, 0, 2) == tmp_path


def test_to_close_gives_a_frozen_server_up(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "CLOSE_S", 0.5)
    looked = threading.Event()

    def look(connection: psycopg.Connection) -> None:
        proxy.frozen = True
        looked.set()
        connection.execute("SELECT 1")

    kept = beside.Beside(proxy.dsn, "tests", 0.01, look)
    assert looked.wait(10)
    kept.close()
    assert kept.closing
    proxy.frozen = False
