"""One-second roll-ups into `power_1s`, in the transaction that copies their rows.

A second newer than any that was stored of its device is copied straight into the table. All others, and those of
devices that are not known yet, are copied into a stage and merged from there by adding: so a second that comes in
several batches, or late, comes out right. A copied second that is there already (another writer, say) is found by the
primary key, and then all are merged.

Must not know: batches, the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import psycopg
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.adapters.timescale.copying import copy_into
from pipeline.adapters.timescale.schema import Flavour
from pipeline.adapters.timescale.statements import HOLD_DUE, MERGE, NOTE_DUE, ROLLUP_COLUMNS, STAGE

MERGES_A_TRUNCATE: Final = 64
EMPTY_STAGE: Final = "DELETE FROM rollup_stage"
_MINUTE_US: Final = 60_000_000
_UNKNOWN: Final = np.iinfo(np.int64).max  # how far a device has come: nothing is newer


class Rollups:
    """The way of roll-ups into the database. Runs in the transaction of whoever calls."""

    def __init__(self, connection: psycopg.Connection, flavour: Flavour) -> None:
        self._connection = connection
        self._flavour = flavour
        self._newest_us = np.empty(0, np.int64)  # by device id; of a transaction that failed too: then it is merged
        self.merges = 0  # transactions of which not all could be copied
        connection.execute(STAGE.encode())

    def add(self, rollups: Sequence[pa.RecordBatch]) -> None:
        """Add batches of ROLLUP_COLUMNS, in which each device, stream, channel and second comes once."""
        if not rollups:
            return
        device = np.concatenate([rollup.column("device_id").to_numpy() for rollup in rollups])
        time_us = np.concatenate([rollup.column("time").view(pa.int64()).to_numpy() for rollup in rollups])
        is_new = self._are_new(device, time_us)
        others = rollups
        if is_new.any() and self._copied(_chosen(rollups, is_new)):
            others = _chosen(rollups, ~is_new)
        if others:
            self._merge(others)
        if self._flavour is Flavour.PLAIN:
            minutes = [np.unique(time_us // _MINUTE_US * 60).tolist()]
            while self._connection.execute(HOLD_DUE, minutes).rowcount < len(minutes[0]):
                self._connection.execute(NOTE_DUE, minutes)

    def _are_new(self, device: NDArray[np.int32], time_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        missing = int(device.max()) + 1 - len(self._newest_us)
        if missing > 0:
            self._newest_us = np.append(self._newest_us, np.full(missing, _UNKNOWN))
        newest_us = self._newest_us[device]
        self._newest_us[device[newest_us == _UNKNOWN]] = np.iinfo(np.int64).min
        np.maximum.at(self._newest_us, device, time_us)
        return time_us > newest_us

    def _copied(self, rollups: Sequence[pa.RecordBatch]) -> bool:
        try:
            with self._connection.transaction():  # a savepoint
                copy_into(self._connection, "power_1s", ROLLUP_COLUMNS, rollups)
        except psycopg.errors.UniqueViolation:
            return False
        return True

    def _merge(self, rollups: Sequence[pa.RecordBatch]) -> None:
        copy_into(self._connection, "rollup_stage", ROLLUP_COLUMNS, rollups)
        self._connection.execute(MERGE.encode())
        self.merges += 1
        # Deleting costs a fifth of truncating, but leaves dead rows behind.
        self._connection.execute("TRUNCATE rollup_stage" if self.merges % MERGES_A_TRUNCATE == 0 else EMPTY_STAGE)


def _chosen(rollups: Sequence[pa.RecordBatch], chosen: NDArray[np.bool_]) -> Sequence[pa.RecordBatch]:
    """Of each batch the rows that are chosen; `chosen` runs over all of them."""
    parts = np.split(chosen, np.cumsum([rollup.num_rows for rollup in rollups])[:-1])
    return [
        rollup if part.all() else rollup.filter(pa.array(part))
        for rollup, part in zip(rollups, parts, strict=True)
        if part.any()
    ]
