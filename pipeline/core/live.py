"""The cycles of the last seconds, kept by each ingest for whoever looks on.

Rows are kept as they came, and picked by device only when somebody asks: keeping costs the stream nothing.

Must not know: clocks, who looks on.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import pyarrow as pa

from pipeline.core.intake import concatenate
from pipeline.core.model import CYCLE_SCHEMA

Mark = tuple[int, int]  # whose, and the number of what comes next


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    at_us: int
    nbytes: int
    rows: pa.RecordBatch


class RecentRows:
    """The rows of the last seconds. `push` is its only mutator; one thread may push while others ask.

    Args:
        keep_us: for how long rows are kept after their arrival.
        limit_bytes: how much is kept at most, whatever arrives.
        origin: whose marks these are. One who comes with another's mark, a predecessor's or a standby's, gets all.
    """

    def __init__(self, keep_us: int, limit_bytes: int, origin: int) -> None:
        self._keep_us = keep_us
        self._limit_bytes = limit_bytes
        self._origin = origin
        self._next = 0
        self._parts: deque[_Part] = deque()
        self._nbytes = 0
        self._lock = threading.Lock()

    def push(self, rows: pa.RecordBatch, now_us: int) -> None:
        """Keep rows of `CYCLE_SCHEMA` that arrived at `now_us`; the oldest go."""
        with self._lock:
            if rows.num_rows:
                self._parts.append(_Part(self._next, now_us, rows.nbytes, rows))
                self._nbytes += rows.nbytes
                self._next += 1
            while self._parts and (self._parts[0].at_us < now_us - self._keep_us or self._nbytes > self._limit_bytes):
                self._nbytes -= self._parts.popleft().nbytes

    def since(self, device: str, mark: Mark | None) -> tuple[Mark, pa.RecordBatch]:
        """The rows of a device that came after `mark`, or all that are kept, and the mark to ask with next time."""
        first = mark[1] if mark is not None and mark[0] == self._origin else 0
        with self._lock:
            following = (self._origin, self._next)
            parts = [part.rows for part in self._parts if part.number >= first]
        return following, concatenate([_of(device, rows) for rows in parts], CYCLE_SCHEMA)


def _of(device: str, rows: pa.RecordBatch) -> pa.RecordBatch:
    column = rows.column("device")
    names = column.dictionary.to_pylist()
    code = names.index(device) if device in names else -1
    chosen = column.indices.to_numpy() == code
    return rows if chosen.all() else rows.filter(pa.array(chosen))
