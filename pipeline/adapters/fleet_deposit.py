"""Seconds of a fleet's sums that wait to be written. They are not spooled: their sender keeps them meanwhile.

Must not know: when to try.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Final

import pyarrow as pa

from pipeline.adapters.timescale import fleet
from pipeline.adapters.timescale.store import Store
from pipeline.core.errors import RefusedError, StorageError

log = logging.getLogger(__name__)

PUT_OFF_S: Final = 10.0  # their sender keeps half an hour; to try may take as long as a statement may


class FleetDeposit:
    """Mutators: `hand_in` and, in one other thread, `write_next`.

    Args:
        wake: notified when something was handed in.
    """

    def __init__(self, wake: threading.Condition) -> None:
        self._wake = wake
        self._waiting: deque[tuple[pa.RecordBatch, Future[None]]] = deque()  # as many as the sender's window
        self._again_s = 0.0
        self.refused_s = 0  # seconds that the database would not take

    @property
    def due(self) -> bool:
        """Whether anything waits that should be written now."""
        return bool(self._waiting) and time.monotonic() >= self._again_s

    def hand_in(self, rows: pa.RecordBatch) -> Future[None]:
        """Keep rows of `table.SCHEMA`; fulfilled when they are committed, or refused for good."""
        future: Future[None] = Future()
        with self._wake:
            self._waiting.append((rows, future))
            self._wake.notify()
        return future

    def write_next(self, store: Store) -> None:
        """Write the oldest that waits. Where the database does not take these rows for now, they are put off.

        Raises:
            StorageError: the connection is broken; they wait still.
        """
        rows, future = self._waiting[0]
        try:
            fleet.write(store.connection, store.flavour, store.partitions, rows)
        except StorageError as error:
            if store.connection.broken:
                raise
            log.warning("%s: seconds of the fleet wait", error)  # cycles do not
            self._again_s = time.monotonic() + PUT_OFF_S
            return
        except RefusedError as error:
            if not self.refused_s:
                log.error("%s: seconds of the fleet are dropped", error)
            self.refused_s += len(rows.column("time").unique())
        self._waiting.popleft()
        future.set_result(None)
