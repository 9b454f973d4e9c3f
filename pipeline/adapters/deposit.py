"""Where batches are handed in: to the database, or to the spool while it is away. The heart of the writer actor.

A batch's future is fulfilled when the batch is committed, or flushed to disk. One thread does all of it, in turn: what
was just handed in, then the oldest segment of the spool; so the spool drains in order while live data keeps flowing.

Must not know: Ray.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pipeline.adapters.beginnings import Beginnings
from pipeline.adapters.committed import Committed
from pipeline.adapters.fleet_deposit import FleetDeposit
from pipeline.adapters.spool import Spool
from pipeline.adapters.timescale import accounts, upkeep, writers
from pipeline.adapters.timescale.jobs import JobKeeper
from pipeline.adapters.timescale.positions import positions
from pipeline.adapters.timescale.schema import Flavour, migrate
from pipeline.adapters.timescale.series import SeriesKeeper
from pipeline.adapters.timescale.store import Store
from pipeline.adapters.timescale.writers import Turn
from pipeline.core.config import Storage
from pipeline.core.continuity import Position
from pipeline.core.delays import Counts
from pipeline.core.errors import InputError, KarmanError, RefusedError, SpoolError, StorageError
from pipeline.core.intake import Opening
from pipeline.core.keys import Key
from pipeline.core.model import Account, Batch, Drop, Tally, total, without_rows
from pipeline.core.progress import Progress, advance, furthest

log = logging.getLogger(__name__)

LARGEST_TRANSACTION: Final = 64  # batches: more would only hold back the first ones' acknowledgement
FIRST_RETRY_S: Final = 0.25
LONGEST_RETRY_S: Final = 10.0
IDLE_S: Final = 0.5
ODD_TRIES: Final = 5  # of a batch that fails and the database is not to blame: want of memory may pass


class Deposit:
    """Takes batches and keeps them.

    Args:
        run_us: accounts are kept of epochs from here on.
        devices: how many devices the pipeline has, for the chunk interval.
        spool_dir: None keeps batches waiting in memory while the database is away.
        shard: which of several deposits into the same database this is.
    """

    def __init__(
        self, dsn: str, settings: Storage, run_us: int, devices: int, spool_dir: Path | None, shard: int = 0
    ) -> None:
        self._dsn = dsn
        self._settings = settings
        self._run_us = run_us
        self._devices = devices
        self._shard = shard
        self._spool = None
        if spool_dir is not None:
            account = (f"spool-{shard}", run_us)
            self._spool = Spool(spool_dir, account, settings.spool_bytes, self._note_tally)
        self._queue: deque[tuple[Batch, Future[None]]] = deque()
        self._wake = threading.Condition()
        self.fleet = FleetDeposit(self._wake)
        self._store: Store | None = None
        self._jobs: JobKeeper | None = None
        self._series: SeriesKeeper | None = None
        self._database = threading.RLock()  # the store is used by the depositing thread and by `opening`
        self._oldest: dict[Account, int] = {}  # the oldest number that each producer may still send
        self._handed = Progress()  # by what this process was given
        self._left = Progress()  # by what an earlier one left in the spool
        self._spooled_tallies: dict[Account, Tally] = {}
        self._beginnings = Beginnings()
        self._odd: Counter[tuple[str, int, int]] = Counter()  # failures of a batch that are not the database's doing
        self._accounts: dict[Account, Tally] | None = None  # None until the ledger was read
        self._migrated = False
        self._turn: Turn | None = None
        self._stale = True  # `_accounts` must be read from the ledger anew
        self._outage: str | None = None
        self._retry_at_s = 0.0
        self._failures = 0
        self._tidy_at_s = 0.0
        self._committed = Committed()
        self._random = random.Random()  # noqa: S311 - no secret
        self._closing = threading.Event()
        if self._spool is not None:
            self._read_digests(self._spool)
        self._thread = threading.Thread(target=self._run, name="deposit", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Keep no more: what was handed in and is not acknowledged yet is not kept."""
        self._closing.set()
        with self._wake:
            self._wake.notify()
        self._thread.join()
        self._disconnect()
        for keeper in (self._jobs, self._series):
            if keeper is not None:
                keeper.close()

    def finish(self) -> None:
        """At the end: roll up the minute that is not over, too. What cannot be now is done by the next pipeline."""
        try:
            if self._series is not None:
                self._series.finish()
        except KarmanError as error:
            log.warning("the last minute is not rolled up: %s", error)

    def hand_in(self, batch: Batch, oldest: int) -> Future[None]:
        """Keep a batch. `oldest`: the oldest number that its producer may still send again."""
        future: Future[None] = Future()
        with self._wake:
            self._oldest[batch.producer, batch.epoch] = oldest
            self._queue.append((batch, future))
            self._beginnings.note(batch)
            self._wake.notify()
        self._handed.note(batch)
        return future

    def opening(self, producer: str, devices: Sequence[str], patience_s: float, after: int = 0) -> Opening:
        """A new epoch for a producer, later than `after`, and how far the streams of its devices have come.

        That is told by the database, the spool, and by what was handed in, which may be on its way to either.
        """
        handed = [epoch for name, epoch in [*self._oldest, *self._spooled_tallies] if name == producer]
        epoch = max(time.time_ns() // 1000, self._run_us, after + 1, *(before + 1 for before in handed))
        known: dict[str, dict[Key, Position]] = {"cycle": {}, "spectrum": {}}
        totals: dict[str, Tally] = {}
        deadline_s = time.monotonic() + patience_s
        complete = False
        while not complete:
            if self._database.acquire(timeout=max(0.0, deadline_s - time.monotonic())):  # who stores may hang in it
                try:
                    just_tried = self._outage is not None and time.monotonic() < self._retry_at_s
                    if not just_tried:  # by who waited before us
                        store = self._connected()
                        epoch = max(epoch, accounts.last_epoch(store.connection, producer) + 1)
                        known = positions(store.connection, devices, datetime.now(UTC))
                        totals = accounts.totals(store.connection, self._run_us, devices)
                        complete = True
                except StorageError as error:
                    self._fail(error)
                finally:
                    self._database.release()
            if not complete:
                if time.monotonic() > deadline_s:
                    break  # go on with the clock's epoch, and with what is known without the database
                time.sleep(FIRST_RETRY_S)
        for progress in (self._left, self._handed):
            further, counted = progress.of(devices)
            for product, newer in further.items():
                advance(known[product], newer)
            furthest(totals, counted)
        if not complete:
            self._beginnings.add(producer, epoch, devices, known["cycle"].keys())
        return Opening(epoch, known, totals, complete)

    def stats(self) -> dict[str, Any]:
        """How things stand."""
        return {
            "accounts": self._accounts,
            "spooled": {account: t for account, t in list(self._spooled_tallies.items()) if account[1] >= self._run_us},
            "waiting": len(self._queue),
            "transactions": self._committed.transactions,
            "batches": self._committed.batches,
            "busy_s": self._committed.busy_s,
            "newest_us": self._committed.newest_us,
            "up": self._store is not None and self._outage is None,
            "spool_bytes": self._spool.nbytes if self._spool else 0,
            "spool_limit_bytes": self._settings.spool_bytes if self._spool else 0,
            "spool_segments": self._spool.segments if self._spool else 0,
            "spool_damaged": self._spool.damaged if self._spool else 0,
            "failing_jobs": self._jobs.failing if self._jobs else 0,
            "fleet_refused_s": self.fleet.refused_s,
            "error": self._outage,
        }

    def delays(self) -> dict[str, Counts]:
        """From a row's time to its arrival, and until it was committed."""
        return {
            "received": self._committed.until_received.counts,
            "committed": self._committed.until_committed.counts,
        }

    def _run(self) -> None:
        while not self._closing.is_set():
            with self._wake:
                if not self._queue and not self._drainable() and not (self.fleet.due and not self._outage):
                    self._wake.wait(IDLE_S)
                work = [self._queue.popleft() for _ in range(min(len(self._queue), LARGEST_TRANSACTION))]
            try:
                self._recover_if_due()
                if work and self._keep([batch for batch, _ in work]):
                    for _, future in work:
                        future.set_result(None)
                if self._drainable():
                    self._drain_one()
                self._write_fleet()
                self._tidy_if_due()
            except Exception as error:
                log.exception("the deposit goes on")
                for _, future in work:
                    if not future.done():
                        future.set_exception(error)
                time.sleep(FIRST_RETRY_S)

    def _drainable(self) -> bool:
        return self._outage is None and self._spool is not None and self._spool.segments > 0

    def _keep(self, batches: list[Batch]) -> bool:
        """Return when the batches are committed, or in the spool; False if we are closed before."""
        while not self._closing.is_set():
            if self._outage is None and self._try_store(batches):
                return True
            if self._spool is not None:
                try:
                    self._spool.append(batches)
                except SpoolError as error:
                    self._say(str(error))
                else:
                    for batch in batches:
                        self._note_tally(batch.account, total(batch.tallies.values()))
                    return True
            self._closing.wait(max(0.01, min(FIRST_RETRY_S, self._retry_at_s - time.monotonic())))
            self._recover_if_due()
        return False

    def _try_store(self, batches: Sequence[Batch]) -> bool:
        """Store batches; after a failure once more on a new connection, for a restart or a cut takes a moment only."""
        for attempt in (0, 1):
            began_s = time.monotonic()
            try:
                with self._database:
                    store = self._connected()
                    self._stale |= self._beginnings.judge(store, self._left)
                    fresh = store.write(batches)
                    self._count(store, batches, fresh)
            except (StorageError, RefusedError) as error:  # refused are not these rows, which the store would salvage
                if attempt:
                    self._fail(error)
                else:
                    self._disconnect()
            except Exception:  # not of the database: rows that we cannot handle, say, or no memory for them
                self._disconnect()
                if len(batches) > 1:
                    stored = [self._try_store([batch]) for batch in batches]  # each, for one is to blame
                    return all(stored)
                (batch,) = batches
                name = (batch.producer, batch.epoch, batch.number)
                self._odd[name] += 1
                if self._odd[name] < ODD_TRIES or not batch.cycles.num_rows + batch.spectra.num_rows:
                    raise
                log.exception("batch %s cannot be stored: its rows are dropped, and counted", name)
                return self._try_store([without_rows(batch, Drop.REFUSED)])
            else:
                self._failures = 0  # not before: it may answer, and take no rows
                self._committed.add(batches, time.monotonic() - began_s)
                return True
        return False

    def _write_fleet(self) -> None:
        try:
            while self.fleet.due and self._outage is None:
                with self._database:
                    self.fleet.write_next(self._connected())
        except StorageError as error:
            self._fail(error)

    def _drain_one(self) -> None:
        if self._spool is None:
            return
        number = self._spool.numbers()[0]
        reading = self._spool.read(number)
        if reading.batches and not self._try_store(reading.batches):
            return
        if reading.damaged:
            log.error("segment %d of the spool was damaged and is set aside: some of its messages are lost", number)
        for batch in reading.batches:  # before the segment goes: who sees none any more sees nothing on disk
            self._note_tally(batch.account, Tally() - total(batch.tallies.values()))
        self._spool.remove(number)
        if self._spool.segments == 0:
            log.warning("the spool is drained")
            self._spooled_tallies = {}

    def _connected(self) -> Store:
        if self._store is None:
            try:
                for name in [] if self._migrated else migrate(self._dsn):
                    log.warning("applied migration %s", name)
                store = Store(self._dsn)
                if not self._migrated:
                    self._begin(store)
            except (InputError, RefusedError) as error:  # it is another one's: no use until somebody mends that
                raise StorageError(str(error)) from error
            self._migrated = True
            store.turn = self._turn  # taken once: who was replaced does not take it back
            self._store = store
        return self._store

    def _begin(self, store: Store) -> None:
        """The first time that the database is there."""
        try:
            self._turn = writers.begin(store.connection, self._run_us, self._shard, time.time_ns() // 1000)
            upkeep.index_cycles(store.connection, self._settings, self._devices)
            if store.flavour is Flavour.TIMESCALE:
                upkeep.apply_policies(store.connection, self._settings, self._devices)
                self._jobs = JobKeeper(self._dsn)
            self._series = SeriesKeeper(self._dsn, store.flavour, self._settings)
        except KarmanError:
            store.close()
            raise

    def _disconnect(self) -> None:
        with self._database:
            self._stale = True
            if self._store is not None:
                self._store.close()
                self._store = None

    def _count(self, store: Store, batches: Sequence[Batch], fresh: int) -> None:
        if not self._stale and fresh == len(batches) and self._accounts is not None and not store.salvaged:
            known = dict(self._accounts)  # a copy: `stats` reads in another thread
            for batch in batches:
                account = batch.account
                known[account] = known.get(account, Tally()) + total(batch.tallies.values())
            self._accounts = known
        else:
            self._accounts = accounts.accounts(store.connection, self._run_us)
            self._stale = store.salvaged = False

    def _fail(self, error: KarmanError) -> None:
        self._disconnect()
        self._failures += 1
        # Full jitter: pipelines that lost the same database do not come back in step.
        longest_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures, 10))
        self._retry_at_s = time.monotonic() + self._random.uniform(FIRST_RETRY_S, longest_s)
        self._say(f"{error}; batches wait {'on disk' if self._spool else 'in memory'}")

    def _say(self, outage: str) -> None:
        if self._outage is None:
            log.warning("%s", outage)  # a line per change of state, not per attempt
        self._outage = outage

    def _recover_if_due(self) -> None:
        if self._outage is None or time.monotonic() < self._retry_at_s:
            return
        try:
            with self._database:
                self._connected().check_writable()
        except StorageError as error:
            self._fail(error)
        else:
            log.warning("the database takes writes again")
            self._outage = None

    def _tidy_if_due(self) -> None:
        if self._outage is not None or time.monotonic() < self._tidy_at_s or self._store is None:
            return
        self._tidy_at_s = time.monotonic() + self._settings.tidy_s
        try:
            with self._database:
                store = self._connected()
                now_us = time.time_ns() // 1000
                settings = self._settings
                upkeep.tidy(store.connection, store.flavour, store.partitions, settings, self._devices, now_us)
                if self._spool is None or self._spool.segments == 0:
                    for over in accounts.tidy(store.connection, dict(self._oldest), now_us):
                        del self._oldest[over]
        except StorageError as error:
            self._fail(error)

    def _note_tally(self, account: Account, tally: Tally) -> None:
        self._spooled_tallies[account] = self._spooled_tallies.get(account, Tally()) + tally

    def _read_digests(self, spool: Spool) -> None:
        """What an earlier process left in the spool counts as seen: a gap begins behind it."""
        for digest in map(spool.digest, spool.numbers()):
            for account, tally in digest.tallies.items():
                self._note_tally(account, tally)
            self._left.take(digest.positions, {})
            for epoch, totals in digest.totals.items():
                if epoch >= self._run_us:
                    self._left.take({}, totals)
