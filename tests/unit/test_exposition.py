"""The metrics page: the figures that it was given, as prometheus-client itself writes and reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from pipeline.adapters.exposition import CONTENT_TYPE, STATISTICS, Snapshot, render
from pipeline.core.balance import Balance
from pipeline.core.model import QUANTITIES, Tally
from pipeline.core.status import DeviceState
from tests.unit.summaries import NOW_US, summary

# What may be in a label: names of streams come from outside.
NAMES = [
    'a "b"',
    "back\\slash",
    "new\nline",
    "\\n",
    "trailing\\",
    "ü €",
    '{a="b",}',
    "# HELP x",
    "a,b",
    "\r",
    "",
    "\u2028",
]
VALUES = [120.0, 0.1, 8.0, -0.0, 1e-7, 16777216.0, float("-inf"), float("nan")]
STATE = DeviceState(
    "tcp://x:1", True, 1, NOW_US - 5_000, Tally(30, 20, 60, 5, dropped={"malformed": 7, "empty": 3}), 60.0
)
SNAPSHOT = Snapshot(
    now_us=NOW_US,
    silence_us=5_000_000,
    summaries=(summary("a", {"pdu1": VALUES, "pdu/2": VALUES[::-1]}, NAMES), summary("b", {"pdu1": VALUES})),
    topics={"pdu1": 'cycle "aligned"\n', "pdu/2": "cycle-aligned"},
    devices={"pdu1": STATE, "never": DeviceState("tcp://x:2", False, 0, 0, Tally(), None)},
    balance=Balance(30, 15, 2, 3, 5, 45, {"malformed": 10}),
    restarts={"ingest-0": 2, "supervisor": 0},
)
Key = tuple[str, frozenset[tuple[str, str]]]


class Families:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def samples(page: bytes) -> dict[Key, float]:
    found = [
        ((sample.name, frozenset(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found), "a series stands on the page twice"
    return dict(found)


def key(name: str, **labels: str) -> Key:
    return name, frozenset(labels.items())


def rolling(snapshot: Snapshot) -> dict[Key, float]:
    """The gauges of a page, straight from the summaries."""
    wanted = {}
    for one in snapshot.summaries:
        for statistic in STATISTICS:
            for (device, stream), row in zip(one.stream_keys, getattr(one.streams, statistic).tolist(), strict=True):
                names = [quantity.name for quantity in QUANTITIES]
                for name, value in [*zip(names, row, strict=True), ("active_power", row[4])]:
                    wanted[key(f"{name}_{statistic}", stream=stream, phase=one.channel, device=device)] = value
            for device, row in zip(one.total_devices, getattr(one.totals, statistic).tolist(), strict=True):
                for name, value in zip(("real_power", "reactive_power"), row, strict=True):
                    labels = {"stream": snapshot.topics[device], "phase": one.channel, "device": device}
                    wanted[key(f"{name}_three_phase_{statistic}", **labels)] = value
    return {series: value for series, value in wanted.items() if value == value}


def test_the_page_says_what_the_summaries_say() -> None:
    wanted = rolling(SNAPSHOT)
    got = {series: value for series, value in samples(render(SNAPSHOT)).items() if not series[0].startswith("karman_")}
    assert got == wanted
    assert len(wanted) > 4 * 9 * len(NAMES)
    assert {dict(labels)["stream"] for _, labels in got} >= set(NAMES)


def test_what_the_pipeline_says_of_itself() -> None:
    assert {
        series: value for series, value in samples(render(SNAPSHOT)).items() if series[0].startswith("karman_")
    } == {
        key("karman_messages_received_total", device="pdu1"): 30,
        key("karman_messages_received_total", device="never"): 0,
        key("karman_messages_missing", device="pdu1"): 5,
        key("karman_messages_missing", device="never"): 0,
        key("karman_messages_dropped_total", device="pdu1", reason="malformed"): 7,
        key("karman_messages_dropped_total", device="pdu1", reason="empty"): 3,
        key("karman_last_message_timestamp_seconds", device="pdu1"): (NOW_US - 5_000) / 1e6,
        key("karman_device_connected", device="pdu1"): 1,
        key("karman_device_connected", device="never"): 0,
        key("karman_messages_stored_total"): 15,
        key("karman_messages_in_flight"): 3,
        key("karman_actor_restarts_total", actor="ingest-0"): 2,
        key("karman_actor_restarts_total", actor="supervisor"): 0,
    }


@pytest.mark.parametrize("snapshot", [SNAPSHOT, Snapshot()], ids=["full", "empty"])
def test_the_text_is_prometheus_clients_own(snapshot: Snapshot) -> None:
    page = render(snapshot)
    registry = CollectorRegistry()
    registry.register(Families(text_string_to_metric_families(page.decode())))
    assert page == generate_latest(registry)
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_a_silent_device_loses_its_gauges_and_keeps_its_counters() -> None:
    last_us = NOW_US - 5_000
    heard = replace(SNAPSHOT, now_us=last_us + SNAPSHOT.silence_us)
    silent = replace(heard, now_us=heard.now_us + 1)
    assert samples(render(heard)) == samples(render(SNAPSHOT))
    kept = {series: value for series, value in samples(render(SNAPSHOT)).items() if series[0].startswith("karman_")}
    assert samples(render(silent)) == kept


def test_the_names_that_existing_dashboards_query() -> None:
    quantities = "active_power real_power reactive_power apparent_power power_factor rms_voltage rms_current"
    names = [*quantities.split(), "dc_offset_voltage", "dc_offset_current"]
    names += ["real_power_three_phase", "reactive_power_three_phase"]
    families = {family.name: family.type for family in text_string_to_metric_families(render(Snapshot()).decode())}
    for name in names:
        for statistic in ("latest", "peak", "trough", "average"):
            assert families.pop(f"{name}_{statistic}") == "gauge"
    assert all(name.startswith("karman_") for name in families)
