"""The Prometheus page, rendered from a snapshot at scrape time. The only importer of prometheus-client.

The names and labels without a prefix are those of the system that this one replaces; dashboards and alert rules query
them. A device that is silent for longer than the bound loses its gauges: they would otherwise stand still for ever.

Must not know: who asks for the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from pipeline.core.aggregation import TOTALS, Summary
from pipeline.core.balance import Balance
from pipeline.core.model import QUANTITIES
from pipeline.core.status import DeviceState
from pipeline.core.windows import Statistics

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
STATISTICS: Final = ("latest", "peak", "trough", "average")
# active_power and real_power are the same value under two names: existing dashboards use both.
_COMPATIBLE: Final = [("active_power", 4), *((quantity.name, index) for index, quantity in enumerate(QUANTITIES))]
_UNITS: Final = {quantity.name: quantity.unit or "ratio" for quantity in QUANTITIES} | {"active_power": "w"}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a page shows."""

    now_us: int = 0
    silence_us: int = 5_000_000
    summaries: tuple[Summary, ...] = ()
    topics: Mapping[str, str] = field(default_factory=dict)  # by device
    devices: Mapping[str, DeviceState] = field(default_factory=dict)
    balance: Balance | None = None
    restarts: Mapping[str, int] = field(default_factory=dict)  # by actor


def render(snapshot: Snapshot) -> bytes:
    """The page, in the text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(snapshot))
    return bytes(generate_latest(registry))


class _Collector:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        yield from self._streams()
        yield from self._totals()
        yield from self._quality()
        yield from self._self()

    def _live(self, summary: Summary, device: str) -> bool:
        return self._snapshot.now_us - summary.received_us.get(device, 0) <= self._snapshot.silence_us

    def _streams(self) -> Iterator[Metric]:
        for name, column in _COMPATIBLE:
            for statistic in STATISTICS:
                family = GaugeMetricFamily(
                    f"{name}_{statistic}",
                    f"{name.replace('_', ' ')}, {statistic} of the rolling window, in {_UNITS[name]}",
                    labels=["stream", "phase", "device"],
                )
                for summary in self._snapshot.summaries:
                    values = _column(summary.streams, statistic, column)
                    for (device, stream), value in zip(summary.stream_keys, values, strict=True):
                        if not np.isnan(value) and self._live(summary, device):
                            family.add_metric([stream, summary.channel, device], value)
                yield family

    def _totals(self) -> Iterator[Metric]:
        for column, name in enumerate(TOTALS):
            for statistic in STATISTICS:
                family = GaugeMetricFamily(
                    f"{name}_three_phase_{statistic}",
                    f"{name.replace('_', ' ')}, sum over the streams of one message, {statistic}, in {_UNITS[name]}",
                    labels=["stream", "phase", "device"],
                )
                for summary in self._snapshot.summaries:
                    values = _column(summary.totals, statistic, column)
                    for device, value in zip(summary.total_devices, values, strict=True):
                        if not np.isnan(value) and self._live(summary, device):
                            family.add_metric([self._snapshot.topics.get(device, ""), summary.channel, device], value)
                yield family

    def _quality(self) -> Iterator[Metric]:
        received = CounterMetricFamily(
            "karman_messages_received", "Messages received from a device.", labels=["device"]
        )
        missing = GaugeMetricFamily(
            "karman_messages_missing",
            "Messages that never arrived, by sequence; one that comes late is taken off again.",
            labels=["device"],
        )
        dropped = CounterMetricFamily(
            "karman_messages_dropped", "Messages received and not kept.", labels=["device", "reason"]
        )
        last = GaugeMetricFamily(
            "karman_last_message_timestamp_seconds", "Arrival of a device's last message.", labels=["device"]
        )
        connected = GaugeMetricFamily("karman_device_connected", "1 while the link is up.", labels=["device"])
        for device, state in self._snapshot.devices.items():
            received.add_metric([device], state.tally.received)
            missing.add_metric([device], state.tally.missing)
            for reason, count in state.tally.dropped.items():
                dropped.add_metric([device, reason], count)
            if state.last_received_us:
                last.add_metric([device], state.last_received_us / 1e6)
            connected.add_metric([device], float(state.connected))
        yield from (received, missing, dropped, last, connected)

    def _self(self) -> Iterator[Metric]:
        balance = self._snapshot.balance
        if balance is not None:
            yield CounterMetricFamily("karman_messages_stored", "Messages committed in this run.", value=balance.stored)
            yield GaugeMetricFamily("karman_messages_in_flight", "Received, not committed.", value=balance.in_flight)
        restarts = CounterMetricFamily("karman_actor_restarts", "Restarts of an actor.", labels=["actor"])
        for actor, count in self._snapshot.restarts.items():
            restarts.add_metric([actor], count)
        yield restarts


def _column(statistics: Statistics, statistic: str, column: int) -> Any:
    return getattr(statistics, statistic)[:, column].astype(np.float64).tolist()
