"""What people look at first: the figures of every device at one moment, as a table and one by one.

Means and totals are those of the aggregators' window. The worst phase is that with the highest rms current of a single
cycle in the window; headroom is what is left of its breaker's rating.

Must not know: who looks, clocks, how it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.aggregation import TOTALS, Summary
from pipeline.core.config import Device
from pipeline.core.energy import EXPORTED, GAP, IMPORTED
from pipeline.core.metrics import Snapshot, imbalance
from pipeline.core.model import QUANTITIES, Tally
from pipeline.core.status import DeviceState

STALE_S: Final = 1.0  # sixty cycles: nothing that a network delays for so long is live any more
STALE_PERIODS: Final = 3
TREND_S: Final = 60  # how far back a sparkline goes, a value a second
TABLE: Final = (
    *("device", "rack", "state", "real_power_w", "power_factor", "worst_stream", "worst_phase", "worst_current_a"),
    *("utilisation", "imbalance", "rate_hz", "missing", "delay_s", "age_s"),
)
_CURRENT: Final = [quantity.name for quantity in QUANTITIES].index("rms_current")
_TOTAL_COLUMNS: Final = [quantity.column for name in TOTALS for quantity in QUANTITIES if quantity.name == name]


class Figures:
    """The figures of a snapshot.

    Args:
        silence_s: a device unheard for so long has no figures.
        hz_of: messages a second of a device; one of a slow replay is not stale between two of them.
    """

    def __init__(self, snapshot: Snapshot, silence_s: float, hz_of: Callable[[Device], float] = lambda _: 60.0) -> None:
        self._snapshot = snapshot
        self._silence_s = silence_s
        self._hz_of = hz_of
        # As configured, and from the start: whichever is heard first, the first one stays the first.
        heard = snapshot.states
        self._states = {name: heard.get(name) or _unheard(device) for name, device in snapshot.devices.items()}
        self._states |= heard
        self.devices = tuple(self._states)
        self._rows: list[dict[str, Any]] | None = None
        self._groups = [_Group(summary, snapshot.streams) for summary in snapshot.summaries]

    def power_w(self) -> NDArray[np.float32]:
        """Three-phase real power of each of `devices`, of its first channel; NaN where unknown or silent."""
        power = {
            name: group.power_w(name)
            for group in reversed(self._groups)
            for name in group.totals
            if name in self._states and self._is_new(group, name)
        }
        return np.array([power.get(name, np.nan) if self._shown(name) else np.nan for name in self.devices], np.float32)

    def rows(self) -> list[dict[str, Any]]:
        """What `TABLE` lists, of each of `devices`; None where unknown."""
        if self._rows is None:  # many may look
            self._rows = [self._row(name) for name in self.devices]
        return self._rows

    def table(self) -> dict[str, list[Any]]:
        """The same by column."""
        rows = self.rows()
        return {column: [row[column] for row in rows] for column in TABLE}

    def of(self, name: str) -> dict[str, Any] | None:
        """Everything about one device; None if there is none of that name."""
        state = self._states.get(name)
        if state is None:
            return None
        configured = self._configured(name)
        groups = self._of(name)
        return {
            "device": name,
            "state": self.state(name),
            "age_s": self._age_s(name),
            "endpoint": state.endpoint,
            "connected": state.connected,
            "rack": configured.rack,
            "feed": configured.feed,
            "phases": self._phases(configured),
            "breaker_a": configured.breaker_a,
            "nominal_v": configured.nominal_v,
            "nominal_hz": self._hz_of(configured),
            "rate_hz": state.rate_hz,
            "received": state.tally.received,
            "missing": state.tally.missing,
            "late": state.tally.reordered,
            "dropped": dict(state.tally.dropped),
            "completeness": self._snapshot.completeness.get(name),
            "delay_s": _delay_s(groups, name),
            "channels": {group.channel: group.said(name, configured.breaker_a) for group in groups},
        }

    def state(self, name: str) -> str:
        """`live`; `stale` after a second without a message; `silent` after `silence_s`; `never` heard."""
        age_s = self._age_s(name)
        if age_s is None:
            return "never"
        stale_s = max(STALE_S, STALE_PERIODS / self._hz_of(self._configured(name)))
        return "live" if age_s <= stale_s else "stale" if age_s <= self._silence_s else "silent"

    def _row(self, name: str) -> dict[str, Any]:
        state, configured = self._states[name], self._configured(name)
        group = next(iter(self._of(name)), None)
        stream, current_a = group.worst(name) if group else (None, None)
        return {
            "device": name,
            "rack": configured.rack,
            "state": self.state(name),
            "real_power_w": _known(group.power_w(name)) if group else None,
            "power_factor": _known(group.power_factor(name)) if group else None,
            "worst_stream": stream,
            "worst_phase": self._phases(configured).get(stream, stream) if stream else None,
            "worst_current_a": current_a,
            "utilisation": current_a / configured.breaker_a if current_a is not None and configured.breaker_a else None,
            "imbalance": _known(group.imbalance(name)) if group else None,
            "rate_hz": state.rate_hz,
            "missing": state.tally.missing,
            "delay_s": _delay_s([group], name) if group else None,
            "age_s": self._age_s(name),
        }

    def _phases(self, configured: Device) -> dict[str, str]:
        """The phase of each stream that has one."""
        streams = self._snapshot.streams
        return {stream: phase for stream, phase in zip(streams, configured.phases, strict=False) if phase}

    def _of(self, name: str) -> list[_Group]:
        """The channels in which a device has figures, a before b."""
        groups = self._groups if self._shown(name) else []
        return [group for group in groups if name in group.rows and self._is_new(group, name)]

    def _is_new(self, group: _Group, name: str) -> bool:
        return group.summary.shown(name, self._states[name].last_received_us)

    def _shown(self, name: str) -> bool:
        return self.state(name) in ("live", "stale")

    def _age_s(self, name: str) -> float | None:
        state = self._states.get(name)
        return (self._snapshot.now_us - state.last_received_us) / 1e6 if state and state.last_received_us else None

    def _configured(self, name: str) -> Device:
        return self._snapshot.devices.get(name) or Device(name, "")


def _unheard(device: Device) -> DeviceState:
    """What is known of one whose ingest has not told of it yet."""
    return DeviceState(device.endpoint, False, 0, 0, Tally(), None)


class _Group:
    """One summary, by device: all arithmetic is done for all devices at once."""

    def __init__(self, summary: Summary, streams: tuple[str, ...]) -> None:
        self.channel = summary.channel
        self.summary = summary
        self.rows = {
            device: row for row, device in enumerate(dict.fromkeys(device for device, _ in summary.stream_keys))
        }
        self.totals = {device: row for row, device in enumerate(summary.total_devices)}
        self._names = list(dict.fromkeys((*streams, *(stream for _, stream in summary.stream_keys))))
        place = {stream: column for column, stream in enumerate(self._names)}
        self._slots = np.full((len(self.rows), len(self._names)), -1)  # the summary's row of each device and stream
        for slot, (device, stream) in enumerate(summary.stream_keys):
            self._slots[self.rows[device], place[stream]] = slot
        absent = self._slots < 0
        window = summary.streams.window.peak[:, _CURRENT] if len(summary.stream_keys) else np.empty(0, np.float32)
        peaks = np.where(absent, np.nan, np.append(window, np.nan)[self._slots])
        self._peaks = np.where(np.isfinite(peaks), peaks, -np.inf)
        self._worst = self._peaks.argmax(axis=1) if self._names and self.rows else np.empty(0, np.int64)
        means = np.append(summary.streams.mean[:, _CURRENT], np.nan)[self._slots[:, : len(streams)]]
        self._imbalance = imbalance(means) if len(means) else np.empty(0)

    def power_w(self, device: str) -> float:
        return float(self.summary.totals.mean[self.totals[device], 0]) if device in self.totals else np.nan

    def power_factor(self, device: str) -> float:
        return float(self.summary.total_power_factor[self.totals[device]]) if device in self.totals else np.nan

    def imbalance(self, device: str) -> float:
        return float(self._imbalance[self.rows[device]])

    def worst(self, device: str) -> tuple[str | None, float | None]:
        """The stream with the highest current of a cycle, and that current."""
        row = self.rows[device]
        column = int(self._worst[row])
        current_a = float(self._peaks[row, column])
        return (self._names[column], current_a) if np.isfinite(current_a) else (None, None)

    def said(self, device: str, breaker_a: float | None) -> dict[str, Any]:
        slots = {
            stream: int(slot)
            for stream, slot in zip(self._names, self._slots[self.rows[device]], strict=True)
            if slot >= 0
        }
        stream, current_a = self.worst(device)
        used, left_a = None, None
        if breaker_a is not None and current_a is not None:
            used, left_a = current_a / breaker_a, breaker_a - current_a
        energy = self.summary.energy[list(slots.values())]
        mean = (
            self.summary.totals.mean[self.totals[device]].tolist() if device in self.totals else [np.nan] * len(TOTALS)
        )
        return {
            "total": {
                **{column: _known(value) for column, value in zip(_TOTAL_COLUMNS, mean, strict=True)},
                "power_factor": _known(self.power_factor(device)),
            },
            "streams": {
                name: {
                    quantity.column: _known(value)
                    for quantity, value in zip(QUANTITIES, self.summary.streams.mean[slot].tolist(), strict=True)
                }
                for name, slot in slots.items()
            },
            "worst": {
                "stream": stream,
                "peak_current_a": current_a,
                "utilisation": used,
                "headroom_a": left_a,
            },
            "imbalance": _known(self.imbalance(device)),
            "energy": {
                "imported_j": float(energy[:, IMPORTED].sum()),
                "exported_j": float(energy[:, EXPORTED].sum()),
                "gap_s": float(energy[:, GAP].max(initial=0.0)),
            },
        }


@dataclass(frozen=True, slots=True)
class Minute:
    """Three-phase real power of devices over the last minute, the newest second last.

    `power_w`: shape (devices, seconds), NaN where unknown.
    """

    devices: tuple[str, ...]
    power_w: NDArray[np.float32]


class Trend:
    """Keeps a `Minute`, a value a second. `push` is its only mutator; others may take `minute` meanwhile."""

    def __init__(self) -> None:
        self.minute = Minute((), np.empty((0, TREND_S), np.float32))

    def push(self, devices: tuple[str, ...], power_w: NDArray[np.float32]) -> None:
        """Add a second: power (n,) of the devices (n,), NaN where unknown."""
        before = self.minute.power_w
        if devices != self.minute.devices:
            rows: Mapping[str, int] = {name: row for row, name in enumerate(self.minute.devices)}
            before = np.full((len(devices), TREND_S), np.nan, np.float32)
            for row, name in enumerate(devices):
                if name in rows:
                    before[row] = self.minute.power_w[rows[name]]
        self.minute = Minute(devices, np.concatenate((before[:, 1:], power_w[:, None]), axis=1))


def _delay_s(groups: list[_Group], device: str) -> float | None:
    delays_us = [group.summary.delay_us[device] for group in groups if device in group.summary.delay_us]
    return max(delays_us) / 1e6 if delays_us else None


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
