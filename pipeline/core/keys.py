"""Numbers the (device, stream) pairs that state is kept for, so that state can live in arrays.

Must not know: what the state is.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Key = tuple[str, str]  # (device, stream)


class KeyTable:
    """Slots 0, 1, 2 ... in the order in which keys were first met."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self._slots: dict[Key, int] = {}

    def slot(self, key: Key) -> int:
        """The slot of one key."""
        if key not in self._slots:
            self._slots[key] = len(self.keys)
            self.keys.append(key)
        return self._slots[key]

    def slots(self, batch: pa.RecordBatch) -> NDArray[np.int64]:
        """The slot of each row of a batch with dictionary columns `device` and `stream`, shape (rows,)."""
        device, stream = batch.column("device"), batch.column("stream")
        devices, streams = device.dictionary.to_pylist(), stream.dictionary.to_pylist()
        code = device.indices.to_numpy().astype(np.int64) * max(len(streams), 1) + stream.indices.to_numpy()
        present, inverse = np.unique(code, return_inverse=True)
        keys = [(devices[value // len(streams)], streams[value % len(streams)]) for value in present.tolist()]
        return np.array([self.slot(key) for key in keys], np.int64)[inverse]
