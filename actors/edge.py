"""One edge of the graph: hands packed batches to a receiving actor, in order, and sends again what failed.

`pump` is called from the owner's loop and never waits; answers arrive by callback.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import ray

from actors import topology
from pipeline.core.delivery import FENCED, Entry, Outbox
from pipeline.core.envelope import rows_to_bytes
from pipeline.core.intake import concatenate
from pipeline.core.metrics import Queue
from pipeline.core.retention import is_retained


class Edge:
    """Calls `method(producer, epoch, number, oldest, data)` of the actor `target`.

    It answers what it expects next; see `Inbox.accept`. Rows become bytes when they are sent, each time anew: so what
    waits, or is kept, takes no memory beside that of whoever else has the same rows.

    Args:
        producer: the sender's name; with `epoch` it tells the receiver which numbering this is.
        window: calls in flight at a time.
        retain_s: how long acknowledged batches are kept for a receiver that lost its state.
    """

    def __init__(
        self, target: str, method: str, producer: str, epoch: int, limit_bytes: int, window: int, retain_s: float = 0.0
    ) -> None:
        self.target = target
        self._method = method
        self._producer = producer
        self._epoch = epoch
        self._handle: Any = None
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.outbox: Outbox[bytes | pa.RecordBatch] = Outbox(limit_bytes, window, retain_s)
        self.calls = 0
        self.failures = 0
        self.dropped = 0
        self.fenced = False  # another has taken the producer's place: nothing of ours is taken any more

    def offer(self, batch: bytes | pa.RecordBatch) -> bool:
        """Take a batch; False: there is no room, and it is dropped."""
        size = len(batch) if isinstance(batch, bytes) else batch.nbytes
        taken = self.outbox.offer(batch, size, time.monotonic())
        self.dropped += not taken
        return taken

    def queue(self, actor: str) -> Queue:
        """What waits here, and what became of the rest; `actor`: whose edge this is."""
        outbox = self.outbox
        return Queue(actor, self.target, outbox.nbytes, outbox.limit_bytes, self.calls, self.failures, self.dropped)

    def pump(self) -> None:
        """Take in answers, send what is due."""
        now_s = time.monotonic()
        while not self._answers.empty():  # nobody else takes from it
            future = self._answers.get_nowait()
            if future.exception() is None and future.result() == FENCED:
                self.fenced = True
            elif future.exception() is None:
                self.outbox.answered(future.result(), now_s)
            else:
                if isinstance(future.exception(), ray.exceptions.ActorDiedError):
                    self._handle = None  # for good: the supervisor makes another one
                self.failures += 1
                self.outbox.failed(now_s)
        for entry in [] if self.fenced else self.outbox.due(now_s):
            self._send(entry)

    @property
    def settled(self) -> bool:
        """Whether everything offered was acknowledged."""
        return self.outbox.settled

    def settle(self, seconds: float) -> None:
        """Wait until everything offered was acknowledged, but so long at most."""
        deadline_s = time.monotonic() + seconds
        while not (self.settled or self.fenced) and time.monotonic() < deadline_s:
            self.pump()
            time.sleep(0.005)

    def _send(self, entry: Entry[bytes | pa.RecordBatch]) -> None:
        self.calls += 1
        data = entry.item if isinstance(entry.item, bytes) else rows_to_bytes(entry.item)
        try:
            if self._handle is None:
                self._handle = topology.find(self.target)
            method = getattr(self._handle, self._method)
            reference = method.remote(self._producer, self._epoch, entry.number, self.outbox.oldest, data)
        except Exception:  # whatever Ray raises here, the batch was not sent: it stays in the outbox
            self._handle = None
            self.failures += 1
            self.outbox.failed(time.monotonic())
            return
        reference.future().add_done_callback(self._answers.put)


class GatheringEdge(Edge):
    """Gathers rows, and hands them on together so often: a call costs the same whatever it carries.

    Args:
        columns: those that the receiver needs.
        every_s: how often they are handed on.
    """

    def __init__(self, *edge: Any, columns: Sequence[str], every_s: float, **more: Any) -> None:
        super().__init__(*edge, **more)
        self._columns = list(columns)
        self._every_s = every_s
        self._next_s = time.monotonic()
        self._rows: list[pa.RecordBatch] = []

    def gather(self, rows: pa.RecordBatch) -> None:
        """Take rows for the next batch. Those that are marked as retained are one of their own."""
        chosen = rows.select([name for name in self._columns if rows.column(name).null_count < rows.num_rows])
        alone = is_retained(rows)
        if alone or (self._rows and self._rows[0].schema != chosen.schema):
            self.flush()
        self._rows.append(chosen)
        if alone:
            self.flush()

    def flush(self) -> None:
        """Hand on what was gathered."""
        if self._rows:
            self.offer(concatenate(self._rows, self._rows[0].schema))
            self._rows = []

    @property
    def settled(self) -> bool:
        """Whether everything gathered was handed on and acknowledged."""
        return not self._rows and super().settled

    def pump(self) -> None:
        """Take in answers, send what is due."""
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + self._every_s
            self.flush()
        super().pump()
