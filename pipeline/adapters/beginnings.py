"""Ingests that began while the database was away: what they had missed is told once it is back.

Must not know: when that is.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from pipeline.adapters.timescale.positions import positions
from pipeline.adapters.timescale.store import Store
from pipeline.core.first_rows import FirstRows
from pipeline.core.keys import Key
from pipeline.core.model import Account, Batch
from pipeline.core.progress import Progress, advance


class Beginnings:
    """By producer and epoch. Batches are noted in one thread, and judged in another."""

    def __init__(self) -> None:
        self._waiting: dict[Account, FirstRows] = {}
        self._lock = threading.Lock()

    def add(self, producer: str, epoch: int, devices: Sequence[str], judged: Collection[Key]) -> None:
        """An epoch that began; `judged`: streams of which it was known where they stood."""
        with self._lock:
            self._waiting[producer, epoch] = FirstRows(producer, epoch, devices, judged)

    def note(self, batch: Batch) -> None:
        """A batch was handed in."""
        if self._waiting:
            with self._lock:
                if batch.account in self._waiting:
                    self._waiting[batch.producer, batch.epoch].note(batch.cycles)

    def judge(self, store: Store, left: Progress) -> bool:
        """Before anything of these epochs is stored: tell what they have missed; whether there was anything.

        Args:
            left: how far an earlier process had come that left it on disk.
        """
        with self._lock:
            waiting = list(self._waiting.values())
        if not waiting:  # nearly always
            return False
        if new := [first for first in waiting if not first.placed]:
            devices = [device for first in new for device in first.devices]
            stored = positions(store.connection, devices, datetime.now(UTC))["cycle"]
            advance(stored, left.of(devices)[0]["cycle"])
            for first in new:
                first.place(stored)
        with self._lock:
            entries = [entry for first in waiting if (entry := first.entry()) is not None]
        written = store.write(entries)
        with self._lock:
            for first in waiting:
                first.told()
            self._waiting = {account: first for account, first in self._waiting.items() if not first.done}
        return written > 0
