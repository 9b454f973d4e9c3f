"""Numbers the (device, stream) pairs that state is kept for, so that state can live in arrays.

Must not know: what the state is.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Key = tuple[str, str]  # (device, stream)
DICTIONARIES: Final = 64  # those of so many senders are remembered; of more, all are looked up anew now and then


class KeyTable:
    """Slots 0, 1, 2 ... in the order in which keys were first met."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self._slots: dict[Key, int] = {}
        # By the dictionaries of a batch: the slot of each of their pairs, -1 while it has none.
        self._of: dict[tuple[tuple[str, ...], tuple[str, ...]], NDArray[np.int64]] = {}

    def slot(self, key: Key) -> int:
        """The slot of one key."""
        if key not in self._slots:
            self._slots[key] = len(self.keys)
            self.keys.append(key)
        return self._slots[key]

    def slots(self, batch: pa.RecordBatch) -> NDArray[np.int64]:
        """The slot of each row of a batch with dictionary columns `device` and `stream`, shape (rows,)."""
        device, stream = batch.column("device"), batch.column("stream")
        devices, streams = tuple(device.dictionary.to_pylist()), tuple(stream.dictionary.to_pylist())
        known = self._of.get((devices, streams))
        if known is None:
            if len(self._of) >= DICTIONARIES:
                self._of.clear()
            known = np.array([self._slots.get((name, of), -1) for name in devices for of in streams], np.int64)
            self._of[devices, streams] = known
        code = device.indices.to_numpy().astype(np.int64) * len(streams) + stream.indices.to_numpy()
        slots = known[code]
        if slots.min(initial=0) < 0:
            for value in np.unique(code[slots < 0]).tolist():
                known[value] = self.slot((devices[value // len(streams)], streams[value % len(streams)]))
            slots = known[code]
        return slots


def by_series(series: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order that brings rows together by series (0 or more), those of one in the order in which they stand.

    Of 16-bit integers NumPy's stable sort is a radix sort, an order of magnitude faster; nearly always they fit.
    """
    return np.argsort(series.astype(np.uint16) if series.max(initial=0) < 1 << 16 else series, kind="stable")


def starts_of(series: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each series begins in rows that stand by series, of at least one row: shape (series,)."""
    begins = np.empty(len(series), bool)
    begins[0] = True
    np.not_equal(series[1:], series[:-1], out=begins[1:])
    return begins.nonzero()[0]


def sizes_of(starts: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """How many of so many rows each series has."""
    return np.append(starts[1:], rows) - starts
