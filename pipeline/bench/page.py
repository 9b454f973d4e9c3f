"""The metrics page of a thousand devices, gzip included, beside prometheus-client's own writer of the same samples."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from pipeline.adapters import exposition
from pipeline.bench.workload import messages
from pipeline.core.aggregation import ChannelAggregator, Summary
from pipeline.core.config import Device, Metrics
from pipeline.core.family import Family
from pipeline.core.metrics import Part, Snapshot, collect
from pipeline.core.model import STREAMS, Tally, value_columns
from pipeline.core.status import DeviceState

DEVICES: Final = 1000
REPEATS: Final = 7


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page: which families, how many samples and bytes, and the median time to make it."""

    page: str
    samples: int
    nbytes: int
    packed_bytes: int
    ms: float
    client_ms: float  # prometheus-client, the same samples, without gzip


def measure() -> Iterator[Rendered]:
    """Our own families alone, then all, of one channel."""
    snapshot = _snapshot()
    for name, compatible in (("our own families", False), ("with the original's names", True)):
        chosen = replace(snapshot, settings=Metrics(compatible=compatible))
        page, packed = _page(chosen)
        families = list(collect(chosen))
        yield Rendered(
            name,
            page.count(b"\n") - page.count(b"#"),
            len(page),
            len(packed),
            _median_ms(functools.partial(_page, chosen), REPEATS),
            _median_ms(functools.partial(_by_client, families), 1),
        )


def _page(snapshot: Snapshot) -> tuple[bytes, bytes]:
    page = exposition.render(collect(snapshot))
    return page, exposition.compress(page)


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began_s = time.perf_counter()
        work()
        times.append(time.perf_counter() - began_s)
    return statistics.median(times) * 1e3


def _snapshot() -> Snapshot:
    _, rows = messages(DEVICES, 0.1, time.time_ns() // 1000)
    # Every device draws something else: equal figures would make gzip look better than it is.
    factor = np.random.default_rng(1).normal(1.0, 0.1, DEVICES).astype(np.float32)[rows.column("device").indices]
    for name in value_columns("a"):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pa.array(rows.column(name).to_numpy() * factor))
    aggregator = ChannelAggregator("a", STREAMS, 5_000_000)
    aggregator.push(rows)
    summary: Summary = aggregator.summary()
    now_us = max(summary.received_us.values())
    names = list(summary.received_us)
    return Snapshot(
        now_us,
        devices={
            name: Device(name, f"tcp://{name}:5557", rack="r42", breaker_a=60.0, nominal_v=120.0) for name in names
        },
        streams=STREAMS,
        states={name: DeviceState("", True, 1, now_us, Tally(6, 6, 18), 60.0) for name in names},
        completeness=dict.fromkeys(names, 1.0),
        summaries=(summary,),
    )


class _Client:
    def __init__(self, families: Sequence[tuple[Family, Sequence[Part]]]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family, parts in self._families:
            made: Metric | None = None
            for part in parts:
                kind = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
                made = made or kind(family.name, family.meaning, labels=part.labels.names)
                for row, value in zip(part.labels.rows, part.values.tolist(), strict=True):
                    if value == value:
                        made.add_metric(row, value)  # type: ignore[attr-defined]
            if made is not None:
                yield made


def _by_client(families: Sequence[tuple[Family, Sequence[Part]]]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Client(families))
    return bytes(generate_latest(registry))
