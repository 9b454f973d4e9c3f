"""What a running pipeline says of itself: one document for the terminal, for `karman status` and for other programs.

Must not know: HTTP, terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.core.aggregation import TOTALS, Summary, delays_us
from pipeline.core.balance import Balance
from pipeline.core.fleet.told import Told, offsets_s, places_document
from pipeline.core.model import QUANTITIES, Tally

VERSION = 1
MOST_ODD = 3  # devices that are named
RESETS, RESETS_SHARE = 100, 0.01  # beginnings of a numbering, of all and of what was received, that no device makes
_SHOWN = ("real_power", "rms_voltage", "rms_current", "power_factor")
_TOTAL_COLUMNS = [quantity.column for name in TOTALS for quantity in QUANTITIES if quantity.name == name]


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What the ingest knows of a device."""

    endpoint: str
    connected: bool
    connections: int
    last_received_us: int
    tally: Tally
    rate_hz: float | None  # messages a second lately, by their arrivals; None before two looks
    handshakes_failed: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that was asked for at one moment."""

    now_us: int
    silence_s: float
    replay: Mapping[str, Any] | None  # what the replay says; None with real devices
    devices: Mapping[str, DeviceState]
    summaries: Iterable[Summary]
    balance: Balance
    store: Mapping[str, Any]
    actors: Mapping[str, Mapping[str, Any]]
    notices: Iterable[str] = field(default=())
    fleet: Told | None = None


def document(seen: Observation) -> dict[str, Any]:
    """The status as plain values, ready for JSON. Unknown values are None."""
    phases: dict[str, dict[str, dict[str, dict[str, float | None]]]] = {}
    totals: dict[str, dict[str, dict[str, float | None]]] = {}
    heard_us = {name: state.last_received_us for name, state in seen.devices.items()}
    told: set[str] = set()  # of which an aggregator has told lately
    for summary in seen.summaries:
        shown = {device for device in summary.received_us if summary.shown(device, heard_us.get(device, 0))}
        told |= shown
        for (device, stream), values in zip(summary.stream_keys, summary.streams.mean, strict=True):
            figures = {q.column: _known(value) for q, value in zip(QUANTITIES, values, strict=True) if q.name in _SHOWN}
            if device in shown:
                phases.setdefault(device, {}).setdefault(stream, {})[summary.channel] = figures
        for device, values in zip(summary.total_devices, summary.totals.mean, strict=True):
            total = {column: _known(value) for column, value in zip(_TOTAL_COLUMNS, values, strict=True)}
            if device in shown and any(value is not None for value in total.values()):  # else it sends no such channel
                totals.setdefault(device, {})[summary.channel] = total
    delayed_us = delays_us(seen.summaries, heard_us)
    offsets = offsets_s(seen.fleet) if seen.fleet else {}
    devices = {}
    for name, state in seen.devices.items():
        age_s = (seen.now_us - state.last_received_us) / 1e6 if state.last_received_us else None
        silent = age_s is None or age_s > seen.silence_s
        devices[name] = {
            "endpoint": state.endpoint,
            "connected": state.connected,
            "connections": state.connections,
            "handshakes_failed": state.handshakes_failed,
            "silent": silent,
            "age_s": age_s,
            "lag_s": delayed_us[name] / 1e6 if name in delayed_us else None,
            "clock_offset_s": offsets.get(name),
            "rate_hz": state.rate_hz,
            **asdict(state.tally),
            "phases": {} if silent else phases.get(name, {}),
            "three_phase": {} if silent else totals.get(name, {}),
        }
    return {
        "version": VERSION,
        "time_us": seen.now_us,
        "replay": dict(seen.replay) if seen.replay else None,
        "devices": devices,
        "fleet": places_document(seen.fleet) if seen.fleet else {},
        "balance": {"published": seen.replay["published"] if seen.replay else None, **asdict(seen.balance)},
        "store": dict(seen.store),
        "actors": {name: dict(entry) for name, entry in seen.actors.items()},
        "notices": [*seen.notices, *_odd(seen, devices, told - delayed_us.keys())],
    }


def _odd(seen: Observation, devices: Mapping[str, Mapping[str, Any]], timeless: set[str]) -> Iterator[str]:
    """What devices that are heard do that makes figures worth less."""
    said = "tells no time, or one far off: its rows have that of their arrival"
    untimed = sorted(name for name in timeless if not _silent(devices, name))
    yield from (f"{name} {said}" for name in untimed[:MOST_ODD])
    if len(untimed) > MOST_ODD:
        yield f"and {len(untimed) - MOST_ODD} devices more tell no time"
    for name, state in seen.devices.items():
        if state.tally.resets > max(RESETS, state.tally.received * RESETS_SHARE):
            yield f"{name} begins its numbering anew again and again: do two devices publish at {state.endpoint}?"


def _silent(devices: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return name not in devices or bool(devices[name]["silent"])


def _known(value: np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None
