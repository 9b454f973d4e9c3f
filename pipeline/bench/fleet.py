"""What the sums of a fleet cost: processor time a second of data, from packed rows to figures.

The rows are those of a simulated recording, each device's cycles shifted by its own part of a period.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from pipeline.bench.workload import messages
from pipeline.core.config import Device, Fleet
from pipeline.core.envelope import rows_from_bytes, rows_to_bytes
from pipeline.core.fleet.ratings import Ratings
from pipeline.core.fleet.shard import FIGURES, KEYS, FleetShard
from pipeline.core.fleet.summary import FleetSummary
from pipeline.core.model import STREAMS, TIMESTAMP

DEVICES: Final = (100, 1000)
GROUP: Final = 50  # devices of an ingest
FLUSHES: Final = 5  # batches of an ingest a second
SECONDS: Final = 10
START_US: Final = 1_800_000_000_000_000


@dataclass(frozen=True, slots=True)
class Summed:
    """CPU time of one core a second of data, in parts: taking rows in, the grid and the sums, the figures."""

    devices: int
    places: int
    push_ms: float
    sums_ms: float
    figures_ms: float


def measure() -> Iterator[Summed]:
    """Fleets of several sizes, in racks of 25."""
    for count in DEVICES:
        devices = tuple(
            Device(
                f"d{n}", f"tcp://x:{n}", rack=f"r{n // 25}", row=f"w{n // 250}", hall="h", site="s", feed="AB"[n % 2]
            )
            for n in range(count)
        )
        yield _measure(devices)


def _measure(devices: tuple[Device, ...]) -> Summed:
    settings = Fleet()
    shard = FleetShard(devices, STREAMS, 60.0, settings)
    places = shard.membership.places
    summary = FleetSummary(places, shard.slots, Ratings.of(places, devices, ()), settings.percentile_s)
    spent_s = np.zeros(3)
    for flush in range(SECONDS * FLUSHES):
        batches = [_packed(devices[first : first + GROUP], flush) for first in range(0, len(devices), GROUP)]
        marks_s = [time.process_time()]
        for data in batches:
            shard.push(rows_from_bytes(data))
        marks_s.append(time.process_time())
        parts = shard.advance(START_US + (flush + 1) * 1_000_000 // FLUSHES)
        marks_s.append(time.process_time())
        for part in parts:
            summary.push(part)
            summary.quantiles_w()
        marks_s.append(time.process_time())
        spent_s += np.diff(marks_s)
    push_ms, sums_ms, figures_ms = (spent_s / SECONDS * 1000).tolist()
    return Summed(len(devices), len(places), push_ms, sums_ms, figures_ms)


def _packed(devices: tuple[Device, ...], flush: int) -> bytes:
    """What an ingest of these devices hands on at its n-th flush."""
    _, rows = messages(len(devices), 1 / FLUSHES, START_US + flush * 1_000_000 // FLUSHES)
    code = rows.column("device").indices
    shift_us = np.random.default_rng(len(devices)).integers(0, 16_667, len(devices))[code.to_numpy()]
    columns = {name: rows.column(name) for name in [*KEYS, *FIGURES] if rows.column(name).null_count < rows.num_rows}
    for name in ("time", "received"):
        columns[name] = pa.array(rows.column(name).view(pa.int64()).to_numpy() + shift_us).view(TIMESTAMP)
    columns["device"] = pa.DictionaryArray.from_arrays(code, pa.array([device.name for device in devices]))
    return rows_to_bytes(pa.RecordBatch.from_pydict(columns))
