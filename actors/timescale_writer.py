"""The writer of the database: a call of `write` ends when its batch is committed, and so acknowledges it.

Calls wait together and are committed together by one thread. While the database is away they go on waiting: the
senders keep at most their window of calls here, and the rest in their own bounded outboxes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from actors import topology
from pipeline.adapters.timescale import Store
from pipeline.core.config import PipelineConfig
from pipeline.core.continuity import Position
from pipeline.core.delivery import Inbox
from pipeline.core.envelope import unpack
from pipeline.core.errors import StorageError
from pipeline.core.keys import Key
from pipeline.core.model import Account, Batch, Tally, total

log = logging.getLogger(__name__)

LARGEST_TRANSACTION: Final = 64  # batches: more would only hold back the first ones' acknowledgement
RETRY_S: Final = (0.2, 0.5, 1.0, 2.0)
OPEN_PATIENCE_S: Final = 3.0  # a restarted ingest must receive again within seconds, database or not

Waiting = tuple[Batch, asyncio.Future[None]]


class TimescaleWriterActor:
    """Stores batches exactly once; an async actor, so that many calls can wait for one commit."""

    def __init__(self, config: PipelineConfig) -> None:
        self._dsn = config.dsn
        self._run_us = config.run_us
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox = Inbox()
        self._last_call: dict[str, asyncio.Future[None]] = {}
        self._queue: deque[Waiting] = deque()
        self._wake = threading.Condition()
        self._store: Store | None = None
        self._database = threading.RLock()  # the store is used by the writing thread and by `open`
        self._accounts: dict[Account, Tally] | None = None  # None until the ledger was read
        self._stale = True  # `_accounts` must be read from the ledger
        self._error: str | None = None
        self._last_commit_s = 0.0
        self._transactions = 0
        threading.Thread(target=self._run, name="store", daemon=True).start()

    async def open(self, producer: str, devices: Sequence[str]) -> dict[str, Any]:
        """A new epoch for a producer, and where the streams of its devices stand in the database."""
        self._inbox.begin(producer, time.time_ns() // 1000)  # from now on the predecessor's calls are refused
        if producer in self._last_call:  # what it had handed over counts: wait for it, or positions would be too old
            await asyncio.wait([self._last_call[producer]], timeout=OPEN_PATIENCE_S)
        opening = await asyncio.to_thread(self._open, producer, list(devices))
        self._inbox.begin(producer, opening["epoch"])
        return opening

    async def write(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Store a batch; answers, once it is committed, the number expected next."""
        self._loop = asyncio.get_running_loop()
        if self._inbox.accept(producer, epoch, number, oldest):
            future: asyncio.Future[None] = self._loop.create_future()
            self._last_call[producer] = future
            with self._wake:
                self._queue.append((unpack(data), future))
                self._wake.notify()
        expected = self._inbox.expected(producer)
        if producer in self._last_call:
            await asyncio.shield(self._last_call[producer])  # an answer acknowledges everything before `expected`
        return expected

    async def health(self) -> dict[str, int]:
        """Who answers."""
        return topology.identity()

    async def stats(self) -> dict[str, Any]:
        """What this run has stored, and how the database is."""
        return {
            "accounts": dict(self._accounts) if self._accounts is not None else None,
            "waiting": len(self._queue),
            "transactions": self._transactions,
            "last_commit_s": self._last_commit_s,
            "error": self._error,
        }

    def _open(self, producer: str, devices: list[str]) -> dict[str, Any]:
        now_us = time.time_ns() // 1000
        positions: dict[str, dict[Key, Position]] = {}
        epoch = now_us
        deadline_s = time.monotonic() + OPEN_PATIENCE_S
        while True:
            try:
                with self._database:
                    store = self._connected()
                    epoch = max(now_us, store.last_epoch(producer) + 1)
                    positions = store.positions(devices)
                break
            except StorageError as error:
                self._fail(error)
                if time.monotonic() > deadline_s:
                    break  # the database is away: go on with the clock's epoch, and without a past
                time.sleep(RETRY_S[0])
        return {"epoch": epoch, "positions": positions}

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue:
                    self._wake.wait()
                work = [self._queue.popleft() for _ in range(min(len(self._queue), LARGEST_TRANSACTION))]
            self._commit([batch for batch, _ in work])
            if self._loop is not None:
                self._loop.call_soon_threadsafe(_answer, [future for _, future in work])

    def _commit(self, batches: list[Batch]) -> None:
        attempt = 0
        while True:
            try:
                with self._database:
                    store = self._connected()
                    self._account(store)
                    fresh = store.write(batches)
                    self._transactions += 1
                    if fresh == len(batches):
                        self._enter(batches)
                    else:
                        self._stale = True  # some were there already: only the ledger knows
                        self._account(store)
                self._recover()
                return
            except StorageError as error:
                self._fail(error)
                time.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
                attempt += 1

    def _account(self, store: Store) -> None:
        if self._stale:
            self._accounts = store.accounts(self._run_us)
            self._stale = False

    def _enter(self, batches: list[Batch]) -> None:
        accounts = dict(self._accounts or {})  # a copy: `stats` reads in another thread
        for batch in batches:
            account = (batch.producer, batch.epoch)
            accounts[account] = accounts.get(account, Tally()) + total(batch.tallies.values())
        self._accounts = accounts

    def _connected(self) -> Store:
        if self._store is None:
            self._store = Store(self._dsn)
        return self._store

    def _fail(self, error: StorageError) -> None:
        if self._error is None:
            log.warning("%s (process %d keeps trying)", error, os.getpid())
        self._error = str(error)
        self._stale = True
        with self._database:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _recover(self) -> None:
        if self._error is not None:
            log.warning("the database is back")
        self._error = None
        self._last_commit_s = time.time()


def _answer(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
