"""Realistic data to measure with, and how a rate is taken.

The data is that of a simulated recording, `sample1`; a rate is work done over wall time in this one process.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

import numpy as np
import psutil
import pyarrow as pa

from pipeline.adapters import recordings, wire
from pipeline.adapters.replay import Frames
from pipeline.core.pacing import Pace

RATE_HZ: Final = 60.0
_PACKAGES: Final = (
    "ray", "pyarrow", "ptars", "pgpq", "psycopg", "protobuf", "pyzmq", "numpy", "prometheus-client",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """A stage's rate in messages a second, beside that of the straightforward ways to do the same, in the same run."""

    stage: str
    rate: float
    others: Mapping[str, float]  # name -> messages a second


def messages(devices: int, seconds: float, start_us: int) -> tuple[list[bytes], pa.RecordBatch]:
    """The messages of `devices` devices in the order in which they would come, and their decoded rows."""
    frames = Frames(recordings.load("sample1"), mirror=False)
    pace = Pace(start_us, RATE_HZ)
    count = round(seconds * RATE_HZ)
    payloads = [payload for payload in frames.payloads(0, count, pace) for _ in range(devices)]
    received_us = np.repeat(pace.time_us(np.arange(count)), devices)
    decoder = decoder_of(devices)
    return payloads, decoder.decode(payloads, indices_of(devices, count), received_us, 0).cycles


def decoder_of(devices: int) -> wire.Decoder:
    """A decoder of so many devices."""
    return wire.Decoder([f"bench{n:04d}" for n in range(devices)], [b""] * devices, 300_000_000, 256)


def indices_of(devices: int, count: int) -> np.ndarray[Any, np.dtype[np.int32]]:
    """The device index of each message of `messages`."""
    return np.tile(np.arange(devices, dtype=np.int32), count)


class Seconds:
    """The same second of rows at other times, their numbers going on: each round is the next second."""

    def __init__(self, rows: pa.RecordBatch) -> None:
        self._rows = rows
        self._time = rows.column("time").view(pa.int64()).to_numpy()
        self._sequence = rows.column("sequence").to_numpy()
        self._frames = int(np.ptp(self._sequence)) + 1

    def at(self, number: int) -> pa.RecordBatch:
        """The rows, `number` seconds later."""
        times = pa.array(self._time + number * 1_000_000).view(self._rows.column("time").type)
        changed = {"time": times, "sequence": pa.array(self._sequence + number * self._frames)}
        columns = [changed.get(name, self._rows.column(name)) for name in self._rows.schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=self._rows.schema)


def rate_of(work: Callable[[int], object], size: int, seconds: float) -> float:
    """Messages a second of `work`, which handles `size` of them a round and gets the number of the round."""
    work(0)
    rounds, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        rounds += 1
        work(rounds)
    return rounds * size / (time.perf_counter() - began_s)


def rates_in_turn(works: Mapping[str, Callable[[int], object]], size: int, seconds: float) -> dict[str, float]:
    """As `rate_of` for several works, a round of each in turn: what disturbs this machine disturbs all alike."""
    spent = dict.fromkeys(works, 0.0)
    for work in works.values():
        work(0)
    rounds = 0
    while min(spent.values()) < seconds:
        rounds += 1
        for name, work in works.items():
            began_s = time.perf_counter()
            work(rounds)
            spent[name] += time.perf_counter() - began_s
    return {name: rounds * size / taken for name, taken in spent.items()}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - not a file that a user names
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
