"""The state of one channel: statistics and energy of every device and stream, and of the three-phase totals.

A three-phase total adds the rows of one *message*, never rows that only share a time, and is unknown unless every
configured stream is in the message with a value.

Must not know: where batches come from, where a summary goes, clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.continuity import Position
from pipeline.core.energy import UNKNOWN, EnergyMeter, Rows
from pipeline.core.keys import Key, KeyTable, by_series, sizes_of, starts_of
from pipeline.core.model import ARRIVAL_TIME, QUANTITIES, value_columns
from pipeline.core.windows import SET_BACK_US, Rolling, Statistics

TOTALS: Final = ("real_power", "reactive_power", "apparent_power")  # what may be added over phases; rms values may not
_COLUMN: Final = {quantity.name: index for index, quantity in enumerate(QUANTITIES)}
_TOTAL_COLUMNS: Final = [_COLUMN[name] for name in TOTALS]
_RMS_COLUMNS: Final = [_COLUMN["rms_voltage"], _COLUMN["rms_current"]]
TIMELESS_S: Final = 20.0  # without a usable time a device's clock is off, or there is none
KEPT_S: Final = 20.0  # what an aggregator said last is shown for so long: one that is restarted has caught up by then
# Columns of a batch that are pushed to an aggregator, beside the eight of its channel.
KEY_COLUMNS: Final = ("time", "received", "device", "stream", "sequence", "message", "flags")


@dataclass(frozen=True, slots=True)
class Electrical:
    """Figures of many series at one moment: a row for each series, a column for each quantity.

    `mean` is that of the window: of rms quantities the root of the mean square, of the power factor that of the sums of
    real and apparent power. `held_max` and `held_min` reach further back, see `HeldExtremes`.
    """

    window: Statistics
    mean: NDArray[np.float64]
    held_max: NDArray[np.float32]
    held_min: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Summary:
    """One channel at one moment.

    `streams` and `energy` have a row for each of `stream_keys`; `streams` has a column for each of `QUANTITIES`,
    `energy` those of `EnergyMeter.totals`. `totals` has a row for each of `total_devices` and a column for each of
    `TOTALS`; `total_power_factor` is that of their means. `received_us`: newest arrival, by device; `delay_us`: from
    the device's time to arrival, of the newest message that has a time of its own, if one came within `TIMELESS_S`.
    """

    channel: str
    stream_keys: tuple[Key, ...]
    streams: Electrical
    energy: NDArray[np.float64]
    total_devices: tuple[str, ...]
    totals: Electrical
    total_power_factor: NDArray[np.float64]
    received_us: dict[str, int]
    delay_us: dict[str, int]

    def shown(self, device: str, heard_us: int) -> bool:
        """Whether the figures of a device that was heard last at `heard_us` are new; an aggregator may be away."""
        return heard_us - self.received_us.get(device, 0) <= KEPT_S * 1e6


def delays_us(summaries: Iterable[Summary], heard_us: Mapping[str, int]) -> dict[str, int]:
    """The greatest delay of each device, by the summaries that show it; `heard_us`: when each was heard last."""
    greatest: dict[str, int] = {}
    for summary in summaries:
        for device, delay_us in summary.delay_us.items():
            if summary.shown(device, heard_us.get(device, 0)):
                greatest[device] = max(delay_us, greatest.get(device, delay_us))
    return greatest


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What of a channel must outlive its process: the energy counters and where each series stood."""

    keys: tuple[Key, ...]
    totals: NDArray[np.float64]
    last: NDArray[np.int64]


class ChannelAggregator:
    """Aggregates one channel, "a" or "b". `push` is its only mutator.

    Args:
        channel: which of a batch's columns to read.
        streams: the streams that make up a three-phase total.
        window_us: length of the rolling window in event time.
        hold_us: how long extremes are held at least.
        nominal_hz: cycles a second of a device, where the rows do not tell.
        checkpoint: counters to go on from.
    """

    def __init__(
        self,
        channel: str,
        streams: Sequence[str],
        window_us: int,
        hold_us: int = 60_000_000,
        nominal_hz: Callable[[str], float] = lambda _: 60.0,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._channel = channel
        self._columns = value_columns(channel)
        self._streams = tuple(streams)
        self._keys = KeyTable()
        self._totals = KeyTable()
        self._series = Rolling(window_us, hold_us, len(QUANTITIES))
        self._sums = Rolling(window_us, hold_us, len(TOTALS))
        self._devices = KeyTable()
        self._newest_us = np.empty(0, np.int64)  # of each device
        self._nominal_hz = nominal_hz
        self._rated = 0  # series whose cycles a second are known
        self._energy = EnergyMeter(60.0)
        if checkpoint is not None:
            for key in checkpoint.keys:
                self._keys.slot(key)
            self._energy = EnergyMeter(60.0, checkpoint.totals, checkpoint.last)
        self._received_us: dict[str, int] = {}
        self._delay_us: dict[str, int] = {}
        self._timed_us: dict[str, int] = {}  # the arrival of which that is

    def push(self, batch: pa.RecordBatch, counted: bool = False) -> None:
        """Add the rows of a batch with at least `KEY_COLUMNS` and the columns of this channel.

        Args:
            counted: the rows' energy is in the checkpoint already; they only fill the windows again.
        """
        if batch.num_rows == 0:
            return
        time_us = batch.column("time").view(pa.int64()).to_numpy()
        columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in self._columns]
        values = _finite(np.stack(columns, axis=1))
        own_time = batch.column("flags").to_numpy() & ARRIVAL_TIME == 0
        self._note_time(batch, time_us)
        self._push_streams(batch, time_us, values, own_time, counted)
        self._push_totals(batch, time_us, values)
        self._note_arrivals(batch, time_us, own_time)

    def summary(self) -> Summary:
        """The figures as they stand. All windows of a device end at its newest row: a phase that is gone has none."""
        self._widen()
        until_us = self._until_us(self._keys.keys)
        total_until_us = self._until_us(self._totals.keys)
        window = self._series.statistics(until_us)
        mean = window.average.copy()
        mean[:, _RMS_COLUMNS] = np.sqrt(window.mean_square[:, _RMS_COLUMNS])
        mean[:, _COLUMN["power_factor"]] = _ratio(mean[:, _COLUMN["real_power"]], mean[:, _COLUMN["apparent_power"]])
        totals = self._sums.statistics(total_until_us)
        return Summary(
            self._channel,
            tuple(self._keys.keys),
            Electrical(window, mean, *self._series.extremes(until_us)),
            self._energy.totals.copy(),
            tuple(device for device, _ in self._totals.keys),
            Electrical(totals, totals.average, *self._sums.extremes(total_until_us)),
            _ratio(totals.average[:, 0], totals.average[:, 2]),
            dict(self._received_us),
            {
                name: delay_us
                for name, delay_us in self._delay_us.items()
                if self._received_us[name] - self._timed_us[name] <= TIMELESS_S * 1e6
            },
        )

    def checkpoint(self) -> Checkpoint:
        """What a successor goes on from."""
        self._widen()
        return Checkpoint(tuple(self._keys.keys), self._energy.totals.copy(), self._energy.last.copy())

    def _widen(self) -> None:
        """A row for every key, also for one that nothing was pushed for yet."""
        self._series.widen(len(self._keys.keys))
        self._energy.widen(len(self._keys.keys))
        self._sums.widen(len(self._totals.keys))

    def _until_us(self, keys: Sequence[Key]) -> NDArray[np.int64]:
        """The newest event time of the device of each key; 0 where it has sent nothing."""
        slots = self._slots_of([device for device, _ in keys])
        return self._newest_us[slots]

    def _slots_of(self, devices: Sequence[str]) -> NDArray[np.int64]:
        """Where each of these devices is in `_newest_us`."""
        slots = np.array([self._devices.slot((device, "")) for device in devices], np.int64)
        new = len(self._devices.keys) - len(self._newest_us)
        if new:
            self._newest_us = np.pad(self._newest_us, (0, new))
        return slots

    def _note_time(self, batch: pa.RecordBatch, time_us: NDArray[np.int64]) -> None:
        """How far the time of each device has come. Where a clock is set back it begins anew, as a series does."""
        device = batch.column("device")
        code = device.indices.to_numpy()
        newest = np.full(len(device.dictionary), -1)
        np.maximum.at(newest, code, time_us)
        heard = np.flatnonzero(newest >= 0)
        slots = self._slots_of(device.dictionary.take(pa.array(heard)).to_pylist())
        before, now = self._newest_us[slots], newest[heard]
        self._newest_us[slots] = np.where(now < before - SET_BACK_US, now, np.maximum(before, now))

    def positions(self) -> dict[Key, Position]:
        """The newest row of each series that has one; its sequence is `energy.UNKNOWN` where the device sent none."""
        return {
            key: Position(sequence, time_us)
            for key, (sequence, time_us, own_time) in zip(self._keys.keys, self._energy.last.tolist(), strict=False)
            if own_time != UNKNOWN
        }

    def _push_streams(
        self,
        batch: pa.RecordBatch,
        time_us: NDArray[np.int64],
        values: NDArray[np.float32],
        own_time: NDArray[np.bool_],
        counted: bool,
    ) -> None:
        series = self._keys.slots(batch)
        order = by_series(series)
        series, time_us, values = series[order], time_us[order], values.take(order, axis=0)
        self._series.push(series, time_us, values)
        if not counted:
            sequence = batch.column("sequence").fill_null(UNKNOWN).to_numpy()[order]
            real_w, reactive_var = values[:, _COLUMN["real_power"]], values[:, _COLUMN["reactive_power"]]
            self._energy.widen(len(self._keys.keys))  # at once: one by one takes a second for thousands
            for new, (device, _) in enumerate(self._keys.keys[self._rated :], self._rated):
                self._energy.rate(new, self._nominal_hz(device))
            self._rated = len(self._keys.keys)
            self._energy.push(Rows(series, time_us, sequence, own_time[order], real_w, reactive_var))

    def rate_anew(self) -> None:
        """Ask again how many cycles a second each device has."""
        self._rated = 0

    def _note_arrivals(self, batch: pa.RecordBatch, time_us: NDArray[np.int64], own_time: NDArray[np.bool_]) -> None:
        device = batch.column("device")
        code, names = device.indices.to_numpy(), device.dictionary.to_pylist()
        received_us = batch.column("received").view(pa.int64()).to_numpy()
        newest, timed = np.full((2, len(names)), -1)
        newest[code] = np.arange(len(code))  # of the rows of a device the last one counts
        timed[code[own_time]] = np.flatnonzero(own_time)
        for noted, last, figures in (
            (self._received_us, newest, received_us),
            (self._timed_us, timed, received_us),
            (self._delay_us, timed, received_us - time_us),
        ):
            heard = np.flatnonzero(last >= 0)
            noted.update(zip(map(names.__getitem__, heard.tolist()), figures[last[heard]].tolist(), strict=True))

    def _push_totals(self, batch: pa.RecordBatch, time_us: NDArray[np.int64], values: NDArray[np.float32]) -> None:
        names = batch.column("stream").dictionary.to_pylist()
        bit_of = np.array([1 << self._streams.index(n) if n in self._streams else 0 for n in names], np.int64)
        bit = bit_of[batch.column("stream").indices.to_numpy()]
        rows = np.flatnonzero(bit)
        if len(rows) == 0:
            return
        starts = starts_of(batch.column("message").to_numpy()[rows])
        starts = starts[sizes_of(starts, len(rows)) == len(self._streams)]
        members = [rows[starts + place] for place in range(len(self._streams))]  # its first, ...
        complete = np.bitwise_or.reduce([bit[each] for each in members]) == (1 << len(self._streams)) - 1
        if not complete.all():
            members = [each[complete] for each in members]
        first = members[0]
        # float64 adds any three float32 exactly enough, and without overflow; the result may still exceed float32.
        powers = values[:, _TOTAL_COLUMNS]
        sums = np.zeros((len(first), len(TOTALS)))
        for each in members:
            sums += powers.take(each, axis=0)
        device = batch.column("device")
        device_names = device.dictionary.to_pylist()
        slot_of = np.array([self._totals.slot((name, "")) for name in device_names], np.int64)
        slots = slot_of[device.indices.to_numpy()[first]]
        order = by_series(slots)
        self._sums.push(slots[order], time_us[first[order]], _finite(sums.take(order, axis=0)))


def of_channel(rows: pa.RecordBatch, channel: str) -> pa.RecordBatch:
    """Rows of CYCLE_SCHEMA with what the aggregator of a channel needs, without those of which it has no value."""
    names = value_columns(channel)
    mine = rows.select([*KEY_COLUMNS, *names])
    unknown = [mine.column(name).null_count for name in names]
    if 0 in unknown:  # nearly always
        return mine
    if min(unknown) == rows.num_rows:
        return mine.slice(0, 0)
    return mine.filter(reduce(pc.or_, (mine.column(name).is_valid() for name in names)))


def _finite(values: NDArray[Any]) -> NDArray[np.float32]:
    """The values as they are kept; one that is not finite says no more than none."""
    with np.errstate(over="ignore"):
        kept = values.astype(np.float32, copy=False)
    finite = np.isfinite(kept)
    return kept if finite.all() else np.where(finite, kept, np.float32(np.nan))


def _ratio(real_w: NDArray[np.float64], apparent_va: NDArray[np.float64]) -> NDArray[np.float64]:
    """The power factor of sums; unknown without apparent power."""
    return np.divide(real_w, apparent_va, out=np.full(real_w.shape, np.nan), where=apparent_va > 0)
