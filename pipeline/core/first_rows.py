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
    """The first cycle of each stream of an epoch. `note` is its only mutator.

    Args:
        judged: streams of which it was known where they stood.
    """

    def __init__(self, producer: str, epoch: int, devices: Sequence[str], judged: Collection[Key]) -> None:
        self._account = (f"beginning-of-{producer}", epoch)
        self.epoch = epoch
        self.devices = tuple(devices)
        self._seen = KeyTable()
        for key in judged:
            self._seen.slot(key)
        self._judged = frozenset(judged)
        self._rows: list[pa.RecordBatch] = []

    def note(self, rows: pa.RecordBatch) -> None:
        """Cycles of this epoch, in order."""
        if rows.num_rows == 0:
            return
        known = len(self._seen.keys)
        slots, first = np.unique(self._seen.slots(rows), return_index=True)
        if (slots >= known).any():
            self._rows.append(rows.take(pa.array(first[slots >= known])))

    def loss(self, stored: Mapping[Key, Position]) -> Batch | None:
        """An entry for the ledger: what is missing between where the streams stand in the database and these rows."""
        if not self._rows:
            return None
        unjudged = {key: position for key, position in stored.items() if key not in self._judged}
        gaps = Continuity("cycle", unjudged).observe(concatenate(self._rows, CYCLE_SCHEMA)).gaps
        if not gaps:
            return None
        tallies = {device: Tally(missing=missing) for device, missing in messages_missing(gaps).items()}
        return only_counts(*self._account, 0, tallies, gaps)
