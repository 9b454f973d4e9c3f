"""Where the streams of an ingest began that could not be told where they had stood, because the database was away.

Once it is back what lies between is known to be missing, and is told then.

Must not know: where batches are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.core.continuity import Continuity, Position
from pipeline.core.intake import concatenate, messages_missing, only_counts
from pipeline.core.keys import Key, KeyTable
from pipeline.core.model import CYCLE_SCHEMA, Batch, Tally


class FirstRows:
    """The first cycle of each stream of an epoch. Mutators: `note`, `place` and `told`.

    Args:
        judged: streams of which it was known where they stood.
    """

    def __init__(self, producer: str, epoch: int, devices: Sequence[str], judged: Collection[Key]) -> None:
        self.devices = tuple(devices)
        self._account = (f"beginning-of-{producer}", epoch)
        self._seen = KeyTable()
        for key in judged:
            self._seen.slot(key)
        self._judged = frozenset(judged)
        self._stored: Mapping[Key, Position] | None = None
        self._rows: list[pa.RecordBatch] = []
        self._number = 0  # of the next entry
        self._entered = 0  # how many of `_rows` the last one has

    def note(self, rows: pa.RecordBatch) -> None:
        """Cycles of this epoch, in order."""
        if rows.num_rows == 0:
            return
        known = len(self._seen.keys)
        slots, first = np.unique(self._seen.slots(rows), return_index=True)
        if (slots >= known).any():
            self._rows.append(rows.take(pa.array(first[slots >= known])))

    @property
    def placed(self) -> bool:
        """Whether it is known where the streams stood."""
        return self._stored is not None

    def place(self, stored: Mapping[Key, Position]) -> None:
        """Where the streams stood in the database, before anything of this epoch was stored."""
        mine = set(self.devices)
        self._stored = {key: at for key, at in stored.items() if key[0] in mine and key not in self._judged}

    def entry(self) -> Batch | None:
        """For the ledger: what is missing before the rows that were noted since the last entry that was `told`."""
        self._entered = len(self._rows)
        if self._stored is None or not self._rows:
            return None
        gaps = Continuity("cycle", self._stored).observe(concatenate(self._rows, CYCLE_SCHEMA)).gaps
        if not gaps:
            return None
        tallies = {device: Tally(missing=missing) for device, missing in messages_missing(gaps).items()}
        return only_counts(*self._account, self._number, tallies, gaps)

    def told(self) -> None:
        """The last entry is in the ledger."""
        del self._rows[: self._entered]
        self._number, self._entered = self._number + 1, 0

    @property
    def done(self) -> bool:
        """Whether every stream that stood somewhere has begun."""
        return self._stored is not None and not self._rows and self._stored.keys() <= set(self._seen.keys)
