"""The state of one channel: rolling statistics of every device and stream, and of the three-phase totals.

A three-phase total adds the rows of one *message*, never rows that only share a time, and is unknown unless every
configured stream is in the message with a value.

Must not know: where batches come from, where a summary goes, clocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.keys import Key, KeyTable
from pipeline.core.model import QUANTITIES, value_columns
from pipeline.core.windows import RollingWindow, Statistics

TOTALS: Final = ("real_power", "reactive_power")  # what may be added over phases; rms values may not
_TOTAL_COLUMNS: Final = [index for index, quantity in enumerate(QUANTITIES) if quantity.name in TOTALS]


@dataclass(frozen=True, slots=True)
class Summary:
    """The statistics of one channel at one moment.

    `streams` has a row for each of `stream_keys` and a column for each of `QUANTITIES`; `totals` a row for each of
    `total_devices` and a column for each of `TOTALS`. `received_us`: newest arrival, by device.
    """

    channel: str
    stream_keys: tuple[Key, ...]
    streams: Statistics
    total_devices: tuple[str, ...]
    totals: Statistics
    received_us: dict[str, int]


class ChannelAggregator:
    """Aggregates one channel, "a" or "b". `push` is its only mutator.

    Args:
        channel: which of a batch's columns to read.
        streams: the streams that make up a three-phase total.
        window_us: length of the rolling window in event time.
    """

    def __init__(self, channel: str, streams: Sequence[str], window_us: int) -> None:
        self._channel = channel
        self._columns = value_columns(channel)
        self._streams = tuple(streams)
        self._keys = KeyTable()
        self._totals = KeyTable()
        self._window = RollingWindow(window_us, len(QUANTITIES))
        self._total_window = RollingWindow(window_us, len(TOTALS))
        self._received_us: dict[str, int] = {}

    def push(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch with at least the key columns of CYCLE_SCHEMA and those of this channel."""
        if batch.num_rows == 0:
            return
        time_us = batch.column("time").view(pa.int64()).to_numpy()
        values = np.stack([batch.column(name).to_numpy(zero_copy_only=False) for name in self._columns], axis=1)
        self._window.push(self._keys.slots(batch), time_us, values)
        self._push_totals(batch, time_us, values)
        device = batch.column("device")
        newest = np.zeros(len(device.dictionary), np.int64)
        np.maximum.at(newest, device.indices.to_numpy(), batch.column("received").view(pa.int64()).to_numpy())
        for name, received_us in zip(device.dictionary.to_pylist(), newest.tolist(), strict=True):
            if received_us:
                self._received_us[name] = max(received_us, self._received_us.get(name, 0))

    def summary(self) -> Summary:
        """The statistics as they stand."""
        return Summary(
            self._channel,
            tuple(self._keys.keys),
            self._window.statistics(),
            tuple(device for device, _ in self._totals.keys),
            self._total_window.statistics(),
            dict(self._received_us),
        )

    def _push_totals(self, batch: pa.RecordBatch, time_us: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        names = batch.column("stream").dictionary.to_pylist()
        bit_of = np.array([1 << self._streams.index(n) if n in self._streams else 0 for n in names], np.int64)
        bit = bit_of[batch.column("stream").indices.to_numpy()]
        rows = np.flatnonzero(bit)
        if len(rows) == 0:
            return
        starts = np.flatnonzero(np.diff(batch.column("message").to_numpy()[rows], prepend=-1))
        complete = (np.bitwise_or.reduceat(bit[rows], starts) == (1 << len(self._streams)) - 1) & (
            np.diff(np.append(starts, len(rows))) == len(self._streams)
        )
        sums = np.add.reduceat(values[rows][:, _TOTAL_COLUMNS], starts, axis=0, dtype=np.float64)
        first = rows[starts[complete]]
        device = batch.column("device")
        device_names = device.dictionary.to_pylist()
        slot_of = np.array([self._totals.slot((name, "")) for name in device_names], np.int64)
        self._total_window.push(
            slot_of[device.indices.to_numpy()[first]], time_us[first], sums[complete].astype(np.float32)
        )
