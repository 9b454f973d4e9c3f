"""The writer of the database: a call of `write` ends when its batch is committed or spooled, and so acknowledges it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from actors import board, topology
from pipeline.adapters.deposit import Deposit
from pipeline.adapters.spool import shard_folder
from pipeline.adapters.timescale.inventory import Inventory
from pipeline.core.config import PipelineConfig
from pipeline.core.delays import Counts
from pipeline.core.delivery import FENCED, Inbox
from pipeline.core.envelope import rows_from_bytes, unpack
from pipeline.core.intake import Opening

OPEN_PATIENCE_S: Final = 3.0  # a restarted ingest must receive again within seconds, database or not


class TimescaleWriterActor:
    """Hosts a deposit; an async actor, so that many calls can wait for one commit.

    While the database is away and there is no spool, calls wait here: the senders keep at most their window of calls
    in flight, and the rest in their own bounded outboxes.
    """

    def __init__(self, shard: int, config: PipelineConfig) -> None:
        board.take_turn(topology.store_name(shard))
        logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO)
        spool_dir = None
        if config.spool_dir:
            spool_dir = shard_folder(Path(config.spool_dir), shard, config.store_shards)
        self._deposit = Deposit(config.dsn, config.storage, config.run_us, len(config.devices), spool_dir, shard)
        if shard == 0:  # one is enough
            self._inventory = Inventory(config.dsn, lambda: board.current(config).config.devices)
        self._inbox = Inbox()
        self._last: dict[str, Future[None]] = {}  # by producer
        self._fleet_inbox = Inbox()
        self._fleet_last: Future[None] | None = None

    async def open(self, producer: str, devices: Sequence[str]) -> Opening:
        """A new epoch for a producer, and how far its devices have come. Whoever had the name before is fenced."""
        self._inbox.begin(producer, time.time_ns() // 1000)  # from now on the predecessor's calls are refused
        if producer in self._last:  # what it had handed over counts: wait for it, or positions would be too old
            await asyncio.wait([asyncio.wrap_future(self._last[producer])], timeout=OPEN_PATIENCE_S)
        opening = await asyncio.to_thread(self._deposit.opening, producer, list(devices), OPEN_PATIENCE_S)
        self._inbox.begin(producer, opening.epoch)
        return opening

    async def write(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Keep a batch; answers, once it is safe, the number expected next, or that the sender was replaced."""
        if self._inbox.replaced(producer, epoch):
            return FENCED
        if self._inbox.accept(producer, epoch, number, oldest):
            self._last[producer] = self._deposit.hand_in(unpack(data), oldest)
        expected = self._inbox.expected(producer)
        if producer in self._last:  # the answer acknowledges everything before `expected`
            await asyncio.shield(asyncio.wrap_future(self._last[producer]))
        return expected

    async def write_fleet(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Keep seconds of a fleet; answers, once they are committed, the number expected next."""
        if self._fleet_inbox.accept(producer, epoch, number, oldest):
            self._fleet_last = self._deposit.fleet.hand_in(rows_from_bytes(data))
        if self._fleet_last is not None:
            await asyncio.shield(asyncio.wrap_future(self._fleet_last))
        return self._fleet_inbox.expected(producer)

    async def health(self) -> dict[str, Any]:
        """Who answers."""
        return topology.identity()

    async def stats(self) -> dict[str, Any]:
        """What is stored, spooled and waiting."""
        return self._deposit.stats()

    async def stop(self) -> dict[str, Any]:
        """At the end, when everything is handed in: roll up what is left; answers the final stats."""
        await asyncio.to_thread(self._deposit.finish)
        return self._deposit.stats()

    async def delays(self) -> dict[str, Counts]:
        """From a row's time to its arrival, and until it was committed."""
        return self._deposit.delays()
