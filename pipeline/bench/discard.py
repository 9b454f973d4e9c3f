"""Stands where the writer of the database does, and only counts: to measure what comes before storage."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa

from actors import topology
from pipeline.core.delays import Counts, Delays
from pipeline.core.delivery import Inbox
from pipeline.core.envelope import unpack
from pipeline.core.intake import Opening
from pipeline.core.model import Account, Tally, total


class DiscardActor:
    """Answers as `TimescaleWriterActor` does."""

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._accounts: dict[Account, Tally] = {}
        self._received = Delays()

    def open(self, producer: str, devices: list[str]) -> Opening:
        """A new epoch for a producer."""
        epoch = time.time_ns() // 1000
        self._inbox.begin(producer, epoch)
        return Opening(epoch)

    def write(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Count a batch."""
        if self._inbox.accept(producer, epoch, number, oldest):
            batch = unpack(data)
            account = (producer, epoch)
            self._accounts[account] = self._accounts.get(account, Tally()) + total(batch.tallies.values())
            received, sent = (batch.cycles.column(name).view(pa.int64()).to_numpy() for name in ("received", "time"))
            self._received.add(np.asarray(received - sent))
        return self._inbox.expected(producer)

    def health(self) -> dict[str, int]:
        """Who answers."""
        return topology.identity()

    def stats(self) -> dict[str, Any]:
        """What was handed in."""
        return {"accounts": self._accounts, "spooled": {}}

    def stop(self) -> dict[str, Any]:
        """At the end."""
        return self.stats()

    def delays(self) -> dict[str, Counts]:
        """From a device's time to its arrival; nothing is committed here."""
        return {"received": self._received.counts, "committed": Delays().counts}
