"""What is exposed to Prometheus: the samples of every family, taken from a snapshot.

Must not know: the text format, who asks, clocks.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core import families as known
from pipeline.core.aggregation import Electrical, Summary, delays_us
from pipeline.core.balance import Balance
from pipeline.core.config import Device, Metrics
from pipeline.core.family import Family
from pipeline.core.fleet.told import Told, samples
from pipeline.core.model import DROPS, QUANTITIES
from pipeline.core.status import DeviceState

_CURRENT: Final = [quantity.name for quantity in QUANTITIES].index("rms_current")


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Labels:
    """The label values of many series, in the order of `names`; an empty value is left out. Compared by identity."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """Samples of one family: `values` has one for each of `labels`, NaN where there is none."""

    labels: Labels
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits on the way from one actor to another."""

    actor: str
    receiver: str
    nbytes: int
    limit_bytes: int
    calls: int
    failures: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is known at one moment."""

    now_us: int = 0
    settings: Metrics = field(default_factory=Metrics)
    version: str = ""
    devices: Mapping[str, Device] = field(default_factory=dict)  # as configured
    streams: tuple[str, ...] = ()  # those of a three-phase total
    states: Mapping[str, DeviceState] = field(default_factory=dict)
    completeness: Mapping[str, float] = field(default_factory=dict)
    summaries: tuple[Summary, ...] = ()
    balance: Balance | None = None
    store: Mapping[str, Any] = field(default_factory=dict)
    queues: Sequence[Queue] = ()
    restarts: Mapping[str, int] = field(default_factory=dict)  # by actor
    fleet: Told | None = None
    refused: str = ""  # why the configuration that was read last is not in force


@dataclass(slots=True)
class _Kept:
    labels: Labels
    round: int  # that used them last


class _Recurring:
    """The same object for the same labels, as long as they recur: so what is made of them can be kept as long.

    Two threads may use it at a time: at worst labels are made that were there.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[tuple[str, ...], tuple[tuple[str, ...], ...]], _Kept] = {}
        self._round = 0

    def begin_round(self) -> None:
        """Forget what neither this round nor the one before has used."""
        for key, kept in list(self._kept.items()):
            if kept.round < self._round:
                self._kept.pop(key, None)
        self._round += 1

    def labels(self, names: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> Labels:
        """The labels of these series."""
        key = names, rows
        kept = self._kept.get(key)  # once: to hash thousands of rows takes a while
        if kept is None:
            kept = self._kept[key] = _Kept(Labels(names, rows), self._round)
        kept.round = self._round
        return kept.labels


_RECURRING: Final = _Recurring()
labels: Final = _RECURRING.labels


def imbalance(currents_a: NDArray[np.float64]) -> NDArray[np.float64]:
    """The greatest deviation from the mean of the phases' rms currents, as a share of it.

    Args:
        currents_a: shape (n, phases). The result, (n,), is NaN where one is unknown or all are 0.
    """
    mean_a = currents_a.mean(axis=1)
    spread_a = np.abs(currents_a - mean_a[:, None]).max(axis=1, initial=0.0)
    return np.divide(spread_a, mean_a, out=np.full(len(currents_a), np.nan), where=mean_a > 0)


def collect(snapshot: Snapshot) -> Iterator[tuple[Family, list[Part]]]:
    """The families that the settings choose, with their samples, in the order of `families.ALL`."""
    _RECURRING.begin_round()
    makers = _Samples(snapshot).all()
    for family in known.ALL:
        wanted = snapshot.settings.compatible if family in known.COMPATIBLE else True
        chosen = any(fnmatchcase(family.name, pattern) for pattern in snapshot.settings.families)
        if wanted and (chosen or family is known.BUILD_INFO):  # by which one knows that the pipeline is there
            yield family, makers.get(family, [])


class _Samples:
    """Takes a snapshot apart. `all` maps each family to its parts."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._parts: dict[Family, list[Part]] = {}
        age_us = {name: snapshot.now_us - state.last_received_us for name, state in snapshot.states.items()}
        self._live = {name for name, age in age_us.items() if age <= snapshot.settings.silence_s * 1e6}
        self._remembered = {name for name, age in age_us.items() if age <= snapshot.settings.forget_s * 1e6}

    def all(self) -> dict[Family, list[Part]]:
        states = self._snapshot.states
        for summary in self._snapshot.summaries:
            shown = {name for name in self._live if summary.shown(name, states[name].last_received_us)}
            self._streams(summary, shown)
            self._three_phase(summary, shown)
        self._devices()
        self._pipeline()
        if self._snapshot.fleet is not None:
            for family, rows, values in samples(self._snapshot.fleet, self._snapshot.now_us):
                self._add(family, labels(family.labels, rows), values)
        return self._parts

    def _add(self, family: Family, labels: Labels, values: Any) -> None:
        self._parts.setdefault(family, []).append(Part(labels, np.asarray(values, np.float64)))

    def _mask(self, devices: Sequence[str], shown: Container[str]) -> NDArray[np.float64]:
        """To be added to values: 0 where the device is shown, NaN where it is not."""
        return np.array([0.0 if device in shown else np.nan for device in devices])

    def _electrical(self, kinds: known.Electrical, of: Labels, mask: NDArray[np.float64], figures: Electrical) -> None:
        for column, family in enumerate(kinds.mean):
            self._add(family, of, figures.mean[:, column] + mask)
        for families, values in (
            (kinds.minimum, figures.window.trough),
            (kinds.maximum, figures.window.peak),
            (kinds.held_minimum, figures.held_min),
            (kinds.held_maximum, figures.held_max),
        ):
            for column, family in enumerate(families):
                self._add(family, of, values[:, column] + mask)

    def _streams(self, summary: Summary, shown: Container[str]) -> None:
        keys, channel = summary.stream_keys, summary.channel
        devices = [device for device, _ in keys]
        mask = self._mask(devices, shown)
        racks = self._of_devices(devices, "rack")
        compatible = labels(
            ("stream", "phase", "device", "rack"),
            tuple((stream, channel, device, rack) for (device, stream), rack in zip(keys, racks, strict=True)),
        )
        for statistic, families in known.COMPATIBLE_STREAMS.items():
            values = getattr(summary.streams.window, statistic)
            for family, column in families:
                self._add(family, compatible, values[:, column] + mask)
        own = labels(("device", "stream", "phase"), tuple((device, stream, channel) for device, stream in keys))
        self._electrical(known.STREAM, own, mask, summary.streams)
        counted = self._mask(devices, self._remembered)
        for column, family in enumerate(known.ENERGY):
            self._add(family, own, summary.energy[:, column] + counted)
        rating = np.array([device.breaker_a or np.nan for device in map(self._configured, devices)], np.float64)
        self._add(known.BREAKER_UTILISATION, own, summary.streams.window.peak[:, _CURRENT] / rating + mask)
        self._imbalance(summary, shown)

    def _imbalance(self, summary: Summary, shown: Container[str]) -> None:
        currents = {key: summary.streams.mean[row, _CURRENT] for row, key in enumerate(summary.stream_keys)}
        devices = list(dict.fromkeys(device for device, _ in summary.stream_keys))
        phases = np.array(
            [[currents.get((device, stream), np.nan) for stream in self._snapshot.streams] for device in devices],
            np.float64,
        ).reshape(len(devices), len(self._snapshot.streams))
        of = labels(("device", "phase"), tuple((device, summary.channel) for device in devices))
        self._add(known.CURRENT_IMBALANCE, of, imbalance(phases) + self._mask(devices, shown))

    def _three_phase(self, summary: Summary, shown: Container[str]) -> None:
        devices, channel = summary.total_devices, summary.channel
        mask = self._mask(devices, shown)
        compatible = labels(
            ("stream", "phase", "device", "rack"),
            tuple(
                (configured.topic, channel, device, configured.rack)
                for device in devices
                for configured in [self._configured(device)]
            ),
        )
        for statistic, families in known.COMPATIBLE_TOTALS.items():
            values = getattr(summary.totals.window, statistic)
            for column, family in enumerate(families):
                self._add(family, compatible, values[:, column] + mask)
        own = labels(("device", "phase"), tuple((device, channel) for device in devices))
        self._electrical(known.THREE_PHASE, own, mask, summary.totals)
        self._add(known.THREE_PHASE_POWER_FACTOR, own, summary.total_power_factor + mask)

    def _devices(self) -> None:
        snapshot = self._snapshot
        names = tuple(name for name in snapshot.states if name in self._remembered)
        of = labels(("device",), tuple((name,) for name in names))
        tallies = [snapshot.states[name].tally for name in names]
        self._add(known.RECEIVED, of, [tally.received for tally in tallies])
        self._add(known.MISSING, of, [tally.missing + tally.reordered for tally in tallies])
        self._add(known.LATE, of, [tally.reordered for tally in tallies])
        self._add(known.RENUMBERED, of, [tally.resets for tally in tallies])
        self._add(known.LAST_FRAME, of, [snapshot.states[name].last_received_us / 1e6 for name in names])
        dropped = [
            (name, reason, count)
            for name, tally in zip(names, tallies, strict=True)
            for reason, count in sorted(tally.dropped.items())
        ]
        reasons = labels(("device", "reason"), tuple((name, reason) for name, reason, _ in dropped))
        self._add(known.DROPPED, reasons, [count for _, _, count in dropped])
        live = [name for name in names if name in self._live]
        heard_us = {name: state.last_received_us for name, state in snapshot.states.items()}
        delays = delays_us(snapshot.summaries, heard_us)
        for family, values in ((known.COMPLETENESS, snapshot.completeness), (known.DELAY, delays)):
            shown = [name for name in live if name in values]
            scale = 1e-6 if family is known.DELAY else 1.0
            one = labels(("device",), tuple((name,) for name in shown))
            self._add(family, one, [values[name] * scale for name in shown])
        every = tuple(snapshot.states)
        all_devices = labels(("device",), tuple((name,) for name in every))
        self._add(known.CONNECTED, all_devices, [float(snapshot.states[name].connected) for name in every])
        self._add(known.HANDSHAKES_FAILED, all_devices, [snapshot.states[name].handshakes_failed for name in every])
        self._add(known.RECONNECTS, all_devices, [max(0, snapshot.states[name].connections - 1) for name in every])
        configured = tuple(
            (d.name, d.endpoint, d.topic, d.rack, d.feed, d.row, d.hall, d.site) for d in snapshot.devices.values()
        )
        info = labels(known.DEVICE_INFO.labels, configured)
        self._add(known.DEVICE_INFO, info, np.ones(len(configured)))
        ratings = labels(("device",), tuple((name,) for name in snapshot.devices))
        for family, attribute in ((known.BREAKER_RATING, "breaker_a"), (known.NOMINAL_VOLTAGE, "nominal_v")):
            self._add(family, ratings, [getattr(d, attribute) or np.nan for d in snapshot.devices.values()])

    def _pipeline(self) -> None:
        snapshot, nothing = self._snapshot, labels((), ((),))
        self._add(known.BUILD_INFO, labels(("version",), ((snapshot.version,),)), [1.0])
        if snapshot.balance is not None:
            balance = snapshot.balance
            for family, count in (
                (known.STORED, balance.stored),
                (known.SPOOLED, balance.spooled),
                (known.IN_FLIGHT, balance.in_flight),
            ):
                self._add(family, nothing, [count])
            drops = labels(("reason",), tuple((reason,) for reason in DROPS))
            self._add(known.DROPS, drops, [balance.dropped.get(reason, 0) for reason in DROPS])
        for family, key in known.STORE:
            if snapshot.store.get(key) is not None:
                self._add(family, nothing, [float(snapshot.store[key])])
        queues = labels(("actor", "receiver"), tuple((queue.actor, queue.receiver) for queue in snapshot.queues))
        for family, attribute in known.QUEUES:
            self._add(family, queues, [getattr(queue, attribute) for queue in snapshot.queues])
        self._add(known.REFUSED, nothing, [float(bool(snapshot.refused))])
        actors = labels(("actor",), tuple((actor,) for actor in snapshot.restarts))
        self._add(known.RESTARTS, actors, list(snapshot.restarts.values()))

    def _configured(self, device: str) -> Device:
        return self._snapshot.devices.get(device) or Device(device, "", "")

    def _of_devices(self, devices: Sequence[str], attribute: str) -> list[str]:
        return [getattr(self._configured(device), attribute) for device in devices]
