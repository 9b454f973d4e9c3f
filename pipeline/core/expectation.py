"""What a configuration will cost and what is odd about it, before anything is started.

Bytes are those measured on simulated recordings (docs/storage.md); real loads compress differently.

Must not know: how it is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.core.assignment import arranged
from pipeline.core.config import DAY_S, LEVELS, PHASES, PipelineConfig

FRAME_B: Final = 453  # a frame of three streams in `cycle`, indexes included
FRAME_COMPRESSED_B: Final = 75  # the same in TimescaleDB's columnstore
SECOND_B: Final = 1675  # a device's second in `power_1s`, plain PostgreSQL
SECOND_COMPRESSED_B: Final = 217
PLACE_B: Final = 187  # a row of `fleet_1s`: a place and a phase, plain PostgreSQL
PLACE_COMPRESSED_B: Final = 50
INGEST_B: Final = 100 << 20  # memory of an ingest's process
MANY_INGESTS: Final = 16  # processes that each idle at half a percent of a core and take 100 MB
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Expectation:
    """Counts and rates, by what is configured. `disk_*_b`: bytes a day and held in the long run, (least, most)."""

    members: dict[str, int]  # by level, how many racks, rows, ...
    ingests: int
    messages_hz: float
    rows_hz: float
    disk_day_b: tuple[float, float]
    disk_held_b: tuple[float, float]
    warnings: tuple[str, ...]


def expect(config: PipelineConfig) -> Expectation:
    """What will run, and what it takes."""
    messages_hz = sum(device.mains_hz or config.mains_hz for device in config.devices)
    share = len(config.streams) / 3  # what was measured has three streams
    devices = len(config.devices)
    storage = config.storage

    members = {level: len({getattr(device, level) for device in config.devices} - {""}) for level in LEVELS}
    places = max(1, sum(members.values())) * (len(PHASES) + 1) if config.fleet_settings else 0

    def bytes_over(cycles_s: float, seconds_s: float, frame_b: int, second_b: int, place_b: int) -> float:
        of_devices = share * (messages_hz * cycles_s * frame_b + devices * seconds_s * second_b)
        return of_devices + places * seconds_s * place_b

    least, most = (FRAME_COMPRESSED_B, SECOND_COMPRESSED_B, PLACE_COMPRESSED_B), (FRAME_B, SECOND_B, PLACE_B)
    held = (storage.keep_cycles_s, storage.keep_1s_s)
    return Expectation(
        members,
        _ingests(config),
        messages_hz,
        messages_hz * len(config.streams),
        (bytes_over(DAY_S, DAY_S, *least), bytes_over(DAY_S, DAY_S, *most)),
        (bytes_over(*held, *least), bytes_over(*held, *most)),
        tuple(_warnings(config)),
    )


def _warnings(config: PipelineConfig) -> Iterator[str]:
    devices = config.devices
    racked = any(device.rack for device in devices)
    placed = any(device.row for device in devices)
    for told, names, consequence in (
        (racked, [d.name for d in devices if not d.rack], "have no rack: they count in no rack's power"),
        (
            placed,
            sorted({d.rack for d in devices if d.rack and not d.row}),
            "are racks outside 'topology': they count in no row's power",
        ),
        (
            any(d.breaker_a for d in devices),
            [d.name for d in devices if not d.breaker_a],
            "have no breaker rating: a rack with one of them has no headroom unless 'breakers_a' gives its own",
        ),
        (True, [d.name for d in devices if not any(d.phases)], "have no stream with a phase: no fleet power"),
    ):
        if told and names:
            yield f"{_some(names)} {consequence}"
    ingests = _ingests(config)
    if ingests > MANY_INGESTS and config.devices_per_actor < 32:
        yield (
            f"{ingests} ingests take about {ingests * INGEST_B / 2**30:.1f} GiB of memory:"
            " set devices_per_actor to 64 or more"
        )
    if config.http_host not in LOOPBACK and config.token is None:
        yield f"whoever reaches {config.http_host}:{config.http_port} can read it: give http.token_file"
    if len(rates := Counter(d.mains_hz or config.mains_hz for d in devices)) > 1:
        yield (
            f"devices of {' and '.join(f'{rate:g}' for rate in sorted(rates))} Hz are added up on one grid of"
            f" {config.mains_hz:g} Hz"
        )


def _ingests(config: PipelineConfig) -> int:
    return len(arranged(config)[0])


def _some(names: list[str]) -> str:
    """A few of many names."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3:,} more"
