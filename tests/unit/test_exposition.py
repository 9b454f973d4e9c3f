"""The metrics page: the figures that it was given, as prometheus-client itself writes and reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from pipeline.adapters.exposition import CONTENT_TYPE, render, render_process
from pipeline.core.balance import Balance
from pipeline.core.config import Device
from pipeline.core.metrics import Queue, Snapshot, collect
from pipeline.core.model import DROPS, QUANTITIES, STREAMS, Tally
from pipeline.core.status import DeviceState
from tests.unit.summaries import NOW_US, Series, samples, series, summary

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
NEVER = DeviceState("tcp://x:2", False, 0, 0, Tally(), None)
TALLY = Tally(30, 20, 60, 5, 2, 1, dropped={"malformed": 7, "empty": 3})
SNAPSHOT = Snapshot(
    now_us=NOW_US,
    version="1.2.3",
    devices={
        "pdu1": Device("pdu1", "tcp://x:1", 'cycle "aligned"\n', rack="r\\1", feed="A", breaker_a=20.0),
        "pdu/2": Device("pdu/2", "tcp://x:2", nominal_v=277.0),
    },
    streams=STREAMS,
    states={
        "pdu1": DeviceState("tcp://x:1", True, 3, NOW_US - 5_000, TALLY, 60.0),
        "pdu/2": DeviceState("tcp://x:2", True, 1, NOW_US - 5_000, Tally(4, 4, 4), 60.0),
        "never": NEVER,
    },
    completeness={"pdu1": 0.75, "never": 0.5},
    summaries=(summary("a", {"pdu1": VALUES, "pdu/2": VALUES[::-1]}, NAMES), summary("b", {"pdu1": VALUES})),
    balance=Balance(30, 15, 2, 3, 5, 45, {"malformed": 10}),
    store={"up": True, "lag_s": 0.25, "waiting": 2, "spool_limit_bytes": 8 << 30, "transactions": None, "error": "x"},
    queues=[Queue("ingest-0", "store", 1_000, 64 << 20, 7, 1, 2)],
    restarts={"ingest-0": 2, "supervisor": 0},
)
STATISTICS = ("latest", "peak", "trough", "average")


class Families:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def parsed(page: bytes) -> dict[Series, float]:
    found = [
        (series(sample.name, **sample.labels), sample.value)
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    ]
    assert len(dict(found)) == len(found), "a series stands on the page twice"
    return dict(found)


def rolling(snapshot: Snapshot) -> dict[Series, float]:
    """The gauges under the names of the original, straight from the summaries."""
    wanted = {}
    names = [quantity.name for quantity in QUANTITIES]
    for one in snapshot.summaries:
        for statistic in STATISTICS:
            rows = getattr(one.streams.window, statistic).tolist()
            for (device, stream), row in zip(one.stream_keys, rows, strict=True):
                labels = {"phase": one.channel, "device": device, "rack": snapshot.devices[device].rack}
                for name, value in [*zip(names, row, strict=True), ("active_power", row[4])]:
                    wanted[series(f"{name}_{statistic}", stream=stream, **labels)] = value
            rows = getattr(one.totals.window, statistic).tolist()
            for device, row in zip(one.total_devices, rows, strict=True):
                configured = snapshot.devices[device]
                labels = {"phase": one.channel, "device": device, "rack": configured.rack, "stream": configured.topic}
                for name, value in zip(("real_power", "reactive_power"), row[:2], strict=True):
                    wanted[series(f"{name}_three_phase_{statistic}", **labels)] = value
    return {name: value for name, value in wanted.items() if value == value}


def test_the_page_says_what_the_summaries_say() -> None:
    page = parsed(render(collect(SNAPSHOT)))
    assert page == samples(SNAPSHOT)
    wanted = rolling(SNAPSHOT)
    assert {name: value for name, value in page.items() if not name[0].startswith("karman_")} == wanted
    assert len(wanted) > 4 * 9 * len(NAMES)
    assert {dict(labels).get("stream", "") for _, labels in wanted} >= set(NAMES)


def test_what_the_pipeline_says_of_itself() -> None:
    page = parsed(render(collect(SNAPSHOT)))
    assert {name: value for name, value in page.items() if "phase" not in dict(name[1])} == {
        series("karman_frames_received_total", device="pdu1"): 30,
        series("karman_frames_received_total", device="pdu/2"): 4,
        series("karman_frames_missing_total", device="pdu1"): 7,  # two of them came late
        series("karman_frames_missing_total", device="pdu/2"): 0,
        series("karman_frames_late_total", device="pdu1"): 2,
        series("karman_frames_late_total", device="pdu/2"): 0,
        series("karman_streams_renumbered_total", device="pdu1"): 1,
        series("karman_streams_renumbered_total", device="pdu/2"): 0,
        series("karman_frames_dropped_total", device="pdu1", reason="malformed"): 7,
        series("karman_frames_dropped_total", device="pdu1", reason="empty"): 3,
        series("karman_completeness_ratio", device="pdu1"): 0.75,
        series("karman_transport_delay_seconds", device="pdu1"): 0.02,
        series("karman_transport_delay_seconds", device="pdu/2"): 0.02,
        series("karman_last_frame_timestamp_seconds", device="pdu1"): (NOW_US - 5_000) / 1e6,
        series("karman_last_frame_timestamp_seconds", device="pdu/2"): (NOW_US - 5_000) / 1e6,
        series("karman_device_connected", device="pdu1"): 1,
        series("karman_device_connected", device="pdu/2"): 1,
        series("karman_device_connected", device="never"): 0,
        series("karman_reconnects_total", device="pdu1"): 2,
        series("karman_handshakes_failed_total", device="pdu1"): 0,
        series("karman_handshakes_failed_total", device="pdu/2"): 0,
        series("karman_handshakes_failed_total", device="never"): 0,
        series("karman_reconnects_total", device="pdu/2"): 0,
        series("karman_reconnects_total", device="never"): 0,
        series(
            "karman_device_info",
            device="pdu1",
            endpoint="tcp://x:1",
            topic='cycle "aligned"\n',
            rack="r\\1",
            feed="A",
        ): 1,
        series("karman_device_info", device="pdu/2", endpoint="tcp://x:2", topic="cycle-aligned"): 1,
        series("karman_breaker_rating_amperes", device="pdu1"): 20,
        series("karman_nominal_voltage_volts", device="pdu/2"): 277,
        series("karman_build_info", version="1.2.3"): 1,
        series("karman_frames_stored_total"): 15,
        series("karman_frames_spooled"): 2,
        series("karman_frames_in_flight"): 3,
        **{series("karman_drops_total", reason=reason): 10 * (reason == "malformed") for reason in DROPS},
        series("karman_database_up"): 1,
        series("karman_database_lag_seconds"): 0.25,
        series("karman_store_waiting_batches"): 2,
        series("karman_spool_limit_bytes"): 8 << 30,
        series("karman_queue_bytes", actor="ingest-0", receiver="store"): 1_000,
        series("karman_queue_limit_bytes", actor="ingest-0", receiver="store"): 64 << 20,
        series("karman_calls_total", actor="ingest-0", receiver="store"): 7,
        series("karman_call_failures_total", actor="ingest-0", receiver="store"): 1,
        series("karman_queue_drops_total", actor="ingest-0", receiver="store"): 2,
        series("karman_configuration_refused"): 0,
        series("karman_actor_restarts_total", actor="ingest-0"): 2,
        series("karman_actor_restarts_total", actor="supervisor"): 0,
    }


@pytest.mark.parametrize("snapshot", [SNAPSHOT, Snapshot()], ids=["full", "empty"])
def test_the_text_is_prometheus_clients_own(snapshot: Snapshot) -> None:
    page = render(collect(snapshot))
    registry = CollectorRegistry()
    registry.register(Families(text_string_to_metric_families(page.decode())))
    assert page == generate_latest(registry)
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")


def test_the_figures_of_the_process_stand_on_the_same_page() -> None:
    page = render(collect(SNAPSHOT)) + render_process()
    families = [family.name for family in text_string_to_metric_families(page.decode())]
    assert len(set(families)) == len(families)
    assert {"process_resident_memory_bytes", "python_info"} <= set(families)


def test_the_names_that_existing_dashboards_query() -> None:
    quantities = "active_power real_power reactive_power apparent_power power_factor rms_voltage rms_current"
    names = [*quantities.split(), "dc_offset_voltage", "dc_offset_current"]
    names += ["real_power_three_phase", "reactive_power_three_phase"]
    page = render(collect(Snapshot())).decode()
    families = {family.name: family.type for family in text_string_to_metric_families(page)}
    for name in names:
        for statistic in STATISTICS:
            assert families.pop(f"{name}_{statistic}") == "gauge"
    assert all(name.startswith("karman_") for name in families)
