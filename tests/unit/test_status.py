"""The status document: plain values for JSON, what is unknown is null, and a silent device shows no figures."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.adapters.web import as_json
from pipeline.cli.view import device_table
from pipeline.core.balance import Balance
from pipeline.core.model import STREAMS, Tally
from pipeline.core.status import DeviceState, Observation, document
from tests.unit.summaries import NOW_US, summary, summary_of

NAN, INFINITE = float("nan"), float("inf")
VALUES = [120.0, NAN, 8.0, 0.0, 900.0, 960.0, -12.0, 0.9375]
STATE = DeviceState("tcp://x:1", True, 1, NOW_US - 5_000, Tally(3, 2, 6, 1, dropped={"malformed": 1}), 59.5)
SEEN = Observation(
    now_us=NOW_US,
    silence_s=5.0,
    replay={"recording": "sample1", "published": 7, "finished": False},
    devices={
        "pdu1": STATE,
        "ended": replace(STATE, last_received_us=NOW_US - 5_000_001),
        "never": DeviceState("tcp://x:2", False, 0, 0, Tally(), None),
        "unknown": STATE,
    },
    summaries=(summary("a", {"pdu1": VALUES, "ended": VALUES, "never": VALUES, "gone": VALUES}), summary("b", {})),
    balance=Balance(9, 8, 0, 1, 0, 24, {"malformed": 1}),
    store={"error": None, "waiting": 0},
    actors={"ingest-0": {"restarts": 1}},
    notices=("it publishes under topic 'ü'",),
)


def test_a_device_that_is_heard_has_figures() -> None:
    device = document(SEEN)["devices"]["pdu1"]
    assert device["phases"] == {
        stream: {"a": {"rms_voltage_v": 120.0, "rms_current_a": 8.0, "real_power_w": 900.0, "power_factor": 0.9375}}
        for stream in STREAMS
    }
    assert device["three_phase"] == {
        "a": {"real_power_w": 2700.0, "reactive_power_var": -36.0, "apparent_power_va": 2880.0}
    }
    assert (device["silent"], device["age_s"], device["lag_s"], device["rate_hz"]) == (False, 0.005, 0.02, 59.5)
    assert (device["received"], device["delivered"], device["missing"], device["dropped"]) == (
        3,
        2,
        1,
        {"malformed": 1},
    )


@pytest.mark.parametrize(
    ("name", "silent", "age_s"), [("ended", True, 5.000001), ("never", True, None), ("unknown", False, 0.005)]
)
def test_a_device_that_is_not_heard_has_none(name: str, silent: bool, age_s: float | None) -> None:
    device = document(SEEN)["devices"][name]
    assert (device["silent"], device["age_s"], device["phases"], device["three_phase"]) == (silent, age_s, {}, {})


def test_the_table_tells_who_fell_silent_from_who_was_not_heard_yet() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(device_table(document(SEEN)))
    lines = {line.split()[0]: line for line in console.export_text().splitlines()}
    assert "silent" in lines["ended"]
    assert "not heard yet" in lines["never"]
    assert "total" in lines["pdu1"]


def test_neither_a_long_name_nor_an_absurd_value_hides_a_figure() -> None:
    states = {"a-rather-long-name-of-a-device-in-a-rack-of-a-hall": STATE, "wild": STATE}
    values = {name: [120.0, NAN, 8.0, 0.0, 3.4e38 if name == "wild" else 900.0, *VALUES[5:]] for name in states}
    told = summary("a", values)
    told = replace(told, stream_keys=tuple((name, stream + "\n") for name, stream in told.stream_keys))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(device_table(document(replace(SEEN, devices=states, summaries=(told,)))))
    shown = console.export_text()
    assert "…" not in shown
    assert shown.count("0.900") == len(STREAMS)
    assert shown.count("3.4e+35") == len(STREAMS)
    assert shown.count("karman1� a") == 2


def test_what_an_aggregator_said_long_ago_is_shown_no_more() -> None:
    gone_b = summary("b", {"pdu1": VALUES})
    gone_b = replace(gone_b, received_us={"pdu1": NOW_US - 25_000_000}, delay_us={"pdu1": 9_000_000})
    seen = replace(SEEN, summaries=(SEEN.summaries[0], gone_b))
    device = document(seen)["devices"]["pdu1"]
    assert {channel for phase in device["phases"].values() for channel in phase} == {"a"}
    assert (set(device["three_phase"]), device["lag_s"]) == ({"a"}, 0.02)
    away = document(replace(SEEN, summaries=(gone_b,)))
    assert (away["devices"]["pdu1"]["phases"], away["devices"]["pdu1"]["lag_s"]) == ({}, None)
    assert away["notices"] == list(SEEN.notices), "nor is it taken for a device without a clock"


def test_a_stream_that_ended_makes_nobody_late() -> None:
    rows = [
        {"time": at_us, "received": at_us + 20_000, "device": "pdu1", "stream": stream, "message": number}
        for number, (stream, at_us) in enumerate([(STREAMS[2], NOW_US - 60_000_000), (STREAMS[0], NOW_US - 25_000)])
    ]
    told = (summary_of(rows),)
    assert document(replace(SEEN, summaries=told))["devices"]["pdu1"]["lag_s"] == 0.02


def test_a_channel_that_a_device_does_not_send_has_no_total() -> None:
    told = (summary("a", {"pdu1": [NAN] * 8}), summary("b", {"pdu1": VALUES}))
    assert list(document(replace(SEEN, summaries=told))["devices"]["pdu1"]["three_phase"]) == ["b"]


def test_devices_that_tell_no_time_are_named() -> None:
    rows = [
        {"time": NOW_US, "received": NOW_US, "device": name, "stream": STREAMS[0], "message": number, "flags": flags}
        for number, (name, flags) in enumerate(
            [("pdu1", 1), ("ended", 1), ("unknown", 0), ("d1", 2), ("d2", 2), ("d3", 1)]
        )
    ]
    devices = {**SEEN.devices, **dict.fromkeys(("d1", "d2", "d3"), STATE)}
    shown = document(replace(SEEN, devices=devices, summaries=(summary_of(rows),), notices=()))
    assert [notice.split()[0] for notice in shown["notices"]] == ["d1", "d2", "d3", "and"]
    assert "tells no time" in shown["notices"][0]
    assert shown["notices"][-1] == "and 1 devices more tell no time"
    assert shown["devices"]["pdu1"]["lag_s"] is None


@pytest.mark.parametrize(
    ("received", "resets", "told"), [(10_000, 101, True), (10_000, 100, False), (20_000, 200, False)]
)
def test_two_devices_on_an_endpoint_are_suspected(received: int, resets: int, told: bool) -> None:
    state = replace(STATE, tally=Tally(received, received, 3 * received, resets=resets))
    notices = document(replace(SEEN, devices={"pdu1": state}, notices=()))["notices"]
    assert notices == (
        ["pdu1 begins its numbering anew again and again: do two devices publish at tcp://x:1?"] if told else []
    )


def test_devices_are_those_of_the_ingests() -> None:
    assert list(document(SEEN)["devices"]) == ["pdu1", "ended", "never", "unknown"]


def test_it_is_json_of_every_kind() -> None:
    shown = document(SEEN)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown == json.loads(as_json(shown))
    assert (shown["version"], shown["balance"]["published"], shown["balance"]["stored"]) == (1, 7, 8)
    live = document(replace(SEEN, replay=None, devices={}, summaries=()))
    assert (live["replay"], live["balance"]["published"], live["devices"]) == (None, None, {})


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE])
def test_what_is_no_number_is_unknown(value: float) -> None:
    shown = document(replace(SEEN, summaries=(summary("a", {"pdu1": [value] * 8}),)))
    figures = shown["devices"]["pdu1"]["phases"][STREAMS[0]]["a"]
    assert set(figures.values()) == {None}
    json.dumps(shown, allow_nan=False)
