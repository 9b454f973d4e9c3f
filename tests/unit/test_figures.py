"""The figures of now: checked by hand, of who is heard, and unknown where nothing is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.core.config import PHASES, Device
from pipeline.core.figures import TABLE, TREND_S, Figures, Trend
from pipeline.core.metrics import Snapshot
from pipeline.core.model import STREAMS, Tally
from pipeline.core.status import DeviceState
from tests.unit.summaries import NOW_US, summary_of

SILENCE_S = 5.0
UNKNOWN = {
    "real_power_w",
    "power_factor",
    "worst_stream",
    "worst_phase",
    "worst_current_a",
    "utilisation",
    "imbalance",
    "delay_s",
}


def heard(age_s: float | None = 0.1) -> DeviceState:
    last_us = 0 if age_s is None else NOW_US - round(age_s * 1e6)
    return DeviceState("tcp://x:1", True, 1, last_us, Tally(600, missing=2, reordered=1), 60.0)


def message(*amperes: float, device: str = "pdu1", number: int = 0) -> list[dict[str, Any]]:
    common = {"time": NOW_US - 40_000, "received": NOW_US - 20_000, "device": device, "sequence": number}
    return [
        {
            **common,
            "message": number,
            "stream": stream,
            "rms_current_a": current,
            "rms_voltage_v": 120.0,
            "real_power_w": 96 * current,
            "apparent_power_va": 120 * current,
            "reactive_power_var": 72 * current,
            "power_factor": 0.8,
        }
        for stream, current in zip(STREAMS, amperes, strict=False)
    ]


def figures(
    rows: list[dict[str, Any]],
    states: dict[str, DeviceState] | None = None,
    *more: Any,
    phases: tuple[str, ...] = PHASES,
) -> Figures:
    device = Device("pdu1", "tcp://x:1", rack="r42", feed="A", phases=phases, breaker_a=60.0, nominal_v=120.0)
    snapshot = Snapshot(
        NOW_US,
        devices={"pdu1": device},
        streams=STREAMS,
        states=states or {"pdu1": heard()},
        completeness={"pdu1": 0.99},
        summaries=(summary_of(rows), *more),
    )
    return Figures(snapshot, SILENCE_S)


def test_everything_about_a_device() -> None:
    said = figures(message(10, 20, 30)).of("pdu1")
    assert said is not None
    assert (said["state"], said["rack"], said["feed"], said["breaker_a"]) == ("live", "r42", "A", 60.0)
    assert (said["missing"], said["late"], said["completeness"], said["rate_hz"]) == (2, 1, 0.99, 60.0)
    assert said["delay_s"] == pytest.approx(0.02)
    channel = said["channels"]["a"]
    assert channel["total"] == pytest.approx(
        {"real_power_w": 5760, "reactive_power_var": 4320, "apparent_power_va": 7200, "power_factor": 0.8}
    )
    assert channel["worst"] == {
        "stream": STREAMS[2], "peak_current_a": 30.0, "utilisation": 0.5, "headroom_a": 30.0
    }  # fmt: skip
    assert channel["imbalance"] == pytest.approx(0.5)
    assert channel["streams"][STREAMS[0]]["rms_voltage_v"] == 120.0
    assert channel["energy"]["imported_j"] == pytest.approx(5760 / 60)


def test_phases_are_those_of_the_configuration() -> None:
    made = figures(message(10, 20, 30), phases=("C", "", "B"))
    said = made.of("pdu1")
    assert said is not None
    assert said["phases"] == {STREAMS[0]: "C", STREAMS[2]: "B"}
    assert made.rows()[0]["worst_phase"] == "B"
    assert figures(message(10, 30, 20), phases=("C", "", "B")).rows()[0]["worst_phase"] == STREAMS[1]


def test_the_worst_phase_is_that_of_the_highest_cycle_not_of_the_mean() -> None:
    rows = [row for number in range(9) for row in message(30, 10, 10, number=number)]
    said = figures([*rows, *message(0, 45, 10, number=9)]).of("pdu1")
    assert said is not None
    assert said["channels"]["a"]["worst"]["stream"] == STREAMS[1]
    assert said["channels"]["a"]["worst"]["headroom_a"] == 15.0


def test_the_table_says_the_same() -> None:
    made = figures(message(10, 20, 30))
    table = made.table()
    assert tuple(table) == TABLE
    assert {column: values[0] for column, values in table.items()} == {
        "device": "pdu1",
        "rack": "r42",
        "state": "live",
        "real_power_w": pytest.approx(5760),
        "power_factor": pytest.approx(0.8),
        "worst_stream": STREAMS[2],
        "worst_phase": "C",
        "worst_current_a": 30.0,
        "utilisation": 0.5,
        "imbalance": pytest.approx(0.5),
        "rate_hz": 60.0,
        "missing": 2,
        "delay_s": pytest.approx(0.02),
        "age_s": pytest.approx(0.1),
    }
    assert made.power_w().tolist() == [5760.0]


@pytest.mark.parametrize(
    ("age_s", "state"), [(0.0, "live"), (1.0, "live"), (1.1, "stale"), (5.0, "stale"), (5.1, "silent"), (None, "never")]
)
def test_a_device_that_is_not_heard_has_no_figures(age_s: float | None, state: str) -> None:
    made = figures(message(10, 20, 30), {"pdu1": heard(age_s)})
    (row,) = made.rows()
    said = made.of("pdu1")
    assert said is not None
    assert (row["state"], said["state"]) == (state, state)
    shown = state in ("live", "stale")
    assert {column for column in UNKNOWN if row[column] is not None} == (UNKNOWN if shown else set())
    assert bool(said["channels"]) == shown
    assert np.isnan(made.power_w()[0]) == (not shown)


def test_the_first_device_is_the_first_one_configured_whichever_is_heard_first() -> None:
    configured = {name: Device(name, f"tcp://{name}:1") for name in ("pdu2", "pdu1", "pdu3")}
    made = Figures(Snapshot(NOW_US, devices=configured, streams=STREAMS, states={"pdu1": heard()}), SILENCE_S)
    assert made.devices == ("pdu2", "pdu1", "pdu3")
    assert [row["state"] for row in made.rows()] == ["never", "live", "never"]
    said = made.of("pdu3")
    assert said is not None
    assert (said["endpoint"], said["connected"], said["received"]) == ("tcp://pdu3:1", False, 0)


def test_a_slow_replay_is_not_stale_between_two_messages() -> None:
    snapshot = Snapshot(NOW_US, streams=STREAMS, states={"pdu1": heard(2.9), "pdu2": heard(3.1)})
    slow = Figures(snapshot, SILENCE_S, hz_of=lambda _: 1.0)
    assert [slow.state(name) for name in slow.devices] == ["live", "stale"]


def test_a_device_without_a_phase_has_no_total_and_no_imbalance() -> None:
    said = figures(message(10, 20)).of("pdu1")
    assert said is not None
    assert set(said["channels"]["a"]["total"].values()) == {None}
    assert said["channels"]["a"]["imbalance"] is None
    assert said["channels"]["a"]["worst"]["stream"] == STREAMS[1]


def test_channels_are_kept_apart_and_the_table_shows_the_first() -> None:
    made = figures(message(10, 20, 30), None, summary_of(message(1, 1, 1), channel="b"))
    said = made.of("pdu1")
    assert said is not None
    assert [said["channels"][c]["worst"]["peak_current_a"] for c in ("a", "b")] == [30.0, 1.0]
    assert made.rows()[0]["worst_current_a"] == 30.0
    assert made.power_w().tolist() == [5760.0]


def test_devices_without_a_rating_without_rows_and_without_a_name() -> None:
    made = figures(message(10, 20, 30, device="pdu2"), {"pdu1": heard(), "pdu2": heard()})
    first, second = made.rows()
    assert {column for column in UNKNOWN if first[column] is not None} == set()
    assert (second["worst_current_a"], second["utilisation"], second["rack"]) == (30.0, None, "")
    assert made.of("nobody") is None


def test_nothing_is_known_before_the_first_look() -> None:
    made = figures([], {"pdu1": heard(None)})
    assert made.rows()[0]["state"] == "never"
    assert np.isnan(made.power_w()).all()


def test_a_trend_keeps_a_minute_and_follows_devices_that_come_and_go() -> None:
    trend = Trend()
    for second in range(TREND_S + 5):
        trend.push(("pdu1", "pdu2"), np.array([second, -second], np.float32))
    assert trend.minute.power_w.shape == (2, TREND_S)
    assert trend.minute.power_w[0, [0, -1]].tolist() == [5, TREND_S + 4]
    trend.push(("pdu2", "pdu3"), np.array([7, 8], np.float32))
    assert trend.minute.power_w[0, -2:].tolist() == [-TREND_S - 4, 7]
    assert np.isnan(trend.minute.power_w[1, :-1]).all()
    assert trend.minute.power_w[1, -1] == 8
    assert trend.minute.devices == ("pdu2", "pdu3")


def test_a_breaker_says_nothing_while_no_current_is_known() -> None:
    rows = [{**row, "rms_current_a": None} for row in message(10, 20, 30)]
    said = figures(rows).of("pdu1")
    assert said is not None
    assert said["channels"]["a"]["worst"] == {
        "stream": None, "peak_current_a": None, "utilisation": None, "headroom_a": None
    }  # fmt: skip


def test_the_gap_of_a_device_is_that_of_its_worst_stream() -> None:
    rows = [
        {**row, "time": NOW_US - 80_000 + number * 16_667}
        for number in (0, 2, 4)
        for row in message(10, 20, 30, number=number)
        if (number, row["stream"]) != (2, STREAMS[1])
    ]
    said = figures(rows).of("pdu1")
    assert said is not None
    assert said["channels"]["a"]["energy"]["gap_s"] == pytest.approx(3 / 60, rel=1e-3)


def test_a_device_without_a_stream_of_the_three_phases_has_no_total() -> None:
    made = figures([{**row, "stream": "neutral"} for row in message(10)])
    assert made.rows()[0]["real_power_w"] is None
    said = made.of("pdu1")
    assert said is not None
    assert set(said["channels"]["a"]["total"].values()) == {None}
