"""The writer of the database: a call of `write` ends when its batch is committed or spooled, and so acknowledges it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from actors import board, topology
from pipeline.adapters.acknowledging import Acknowledging
from pipeline.adapters.deposit import Deposit
from pipeline.adapters.spool import hold, shard_folder
from pipeline.adapters.timescale.inventory import Inventory
from pipeline.core.config import PipelineConfig
from pipeline.core.delays import Counts
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
            self._held = hold(spool_dir)  # as long as this process lives
        self._deposit = Deposit(config.dsn, config.storage, config.run_us, len(config.devices), spool_dir, shard)
        if shard == 0:  # one is enough
            self._inventory = Inventory(config.dsn, lambda: board.current(config).config.devices)
        self._batches = Acknowledging()
        self._seconds = Acknowledging()  # of the fleet

    async def open(self, producer: str, devices: Sequence[str]) -> Opening:
        """A new epoch for a producer, and how far its devices have come. Whoever had the name before is fenced."""
        after = self._batches.refuse(producer, time.time_ns() // 1000)
        # What it had handed over counts: wait for it, or positions would be too old.
        await self._batches.settle(producer, OPEN_PATIENCE_S)
        opening = await asyncio.to_thread(self._deposit.opening, producer, list(devices), OPEN_PATIENCE_S, after)
        self._batches.begin(producer, opening.epoch)
        return opening

    async def write(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Keep a batch; answers, once it is safe, the number expected next, or that the sender was replaced."""
        return await self._batches.keep(
            producer, epoch, number, oldest, lambda: self._deposit.hand_in(unpack(data), oldest)
        )

    async def write_fleet(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Keep seconds of a fleet; answers, once they are committed, the number expected next."""
        return await self._seconds.keep(
            producer, epoch, number, oldest, lambda: self._deposit.fleet.hand_in(rows_from_bytes(data))
        )

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
