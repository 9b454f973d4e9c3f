"""What is exposed: figures checked by hand, who is shown for how long, names that keep to the conventions."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.cli.metrics import reference
from pipeline.core import families
from pipeline.core.aggregation import KEPT_S
from pipeline.core.balance import Balance
from pipeline.core.completeness import Completeness
from pipeline.core.config import Device, Metrics
from pipeline.core.figures import Figures
from pipeline.core.fleet import families as fleet
from pipeline.core.metrics import Labels, Snapshot, collect
from pipeline.core.model import DROPS, STREAMS, Tally
from pipeline.core.status import DeviceState
from tests.unit.summaries import NOW_US, samples, series, summary, summary_of

PERIOD_US = 16_667
SETTINGS = Metrics(silence_s=3.5, forget_s=600.0)
HEARD = DeviceState("tcp://x:1", True, 1, NOW_US, Tally(9, dropped={"empty": 1}), 60.0)


def snapshot(rows: Iterable[dict[str, Any]] = (), **fields: Any) -> Snapshot:
    """One device, pdu1, was just heard; rows of values, of channel a."""
    common: dict[str, Any] = {"streams": STREAMS, "states": {"pdu1": HEARD}, "now_us": NOW_US, "settings": SETTINGS}
    return Snapshot(**{**common, "summaries": (summary_of(rows),), **fields})


def message(number: int, *phases: dict[str, float], device: str = "pdu1", age_us: int = 0) -> list[dict[str, Any]]:
    """The rows of one message, of the first so many streams."""
    common = {"time": NOW_US - age_us, "received": NOW_US, "device": device, "sequence": number, "message": number}
    return [{**common, "stream": stream, **values} for stream, values in zip(STREAMS, phases, strict=False)]


def of_pdu1(snapshot: Snapshot, *names: str) -> dict[str, list[float]]:
    """The values of a family for pdu1: of each stream, or of the three phases together."""
    streams = [{"stream": stream} for stream in STREAMS]
    shown = samples(snapshot)
    return {
        name: [
            shown[key]
            for labels in (streams if series(name, device="pdu1", phase="a", stream=STREAMS[0]) in shown else [{}])
            if (key := series(name, device="pdu1", phase="a", **labels)) in shown
        ]
        for name in names
    }


def amperes(current_a: float) -> dict[str, float]:
    return {"rms_current_a": current_a}


def volt_amperes(real_power_w: float, apparent_power_va: float) -> dict[str, float]:
    factor = real_power_w / apparent_power_va
    return {"real_power_w": real_power_w, "apparent_power_va": apparent_power_va, "power_factor": factor}


def test_currents_by_hand() -> None:
    """Means are root mean squares: 1 and 7 make 5; 10 and 10, 10; 3 and 21, 15. Their mean is 10, the spread half."""
    rows = [
        *message(1, amperes(100.0), amperes(0.5), amperes(10.0), age_us=10_000_000),  # before the window
        *message(2, amperes(1.0), amperes(10.0), amperes(3.0), age_us=PERIOD_US),
        *message(3, amperes(7.0), amperes(10.0), amperes(21.0)),
    ]
    rated = snapshot(rows, devices={"pdu1": Device("pdu1", "tcp://x:1", breaker_a=20.0)})
    wanted = {
        "karman_rms_current_mean_amperes": [5.0, 10.0, 15.0],
        "karman_rms_current_max_amperes": [7.0, 10.0, 21.0],
        "karman_rms_current_min_amperes": [1.0, 10.0, 3.0],
        "karman_rms_current_held_max_amperes": [100.0, 10.0, 21.0],
        "karman_rms_current_held_min_amperes": [1.0, 0.5, 3.0],
        "karman_breaker_utilisation_ratio": [0.35, 0.5, 1.05],
        "karman_current_imbalance_ratio": [0.5],
        "rms_current_average": [4.0, 10.0, 12.0],  # as the original did
    }
    shown = of_pdu1(rated, *wanted)
    assert shown == {name: pytest.approx(values, rel=1e-6) for name, values in wanted.items()}
    assert of_pdu1(snapshot(rows), "karman_breaker_utilisation_ratio") == {"karman_breaker_utilisation_ratio": []}


@pytest.mark.parametrize("phases", [[amperes(5.0)] * 2, [amperes(5.0), {}, amperes(5.0)], [amperes(0.0)] * 3])
def test_no_imbalance_without_every_phase_and_a_current(phases: list[dict[str, float]]) -> None:
    name = "karman_current_imbalance_ratio"
    assert of_pdu1(snapshot(message(1, *phases)), name) == {name: []}
    balanced = snapshot(message(1, *[amperes(5.0)] * 3))
    assert of_pdu1(balanced, name) == {name: [0.0]}


def test_power_factors_are_those_of_sums() -> None:
    """Of phase 1: 100 + 300 W of 200 + 300 VA, which is 0.8; the mean of the power factors would be 0.75."""
    idle, export = volt_amperes(0.0, 100.0), volt_amperes(-400.0, 500.0)
    rows = [
        *message(1, volt_amperes(100.0, 200.0), idle, export, age_us=PERIOD_US),
        *message(2, volt_amperes(300.0, 300.0), idle, export),
    ]
    wanted = {
        "karman_power_factor_ratio": [0.8, 0.0, -0.8],
        "karman_power_factor_min_ratio": [0.5, 0.0, -0.8],
        "karman_three_phase_power_factor_ratio": [(400 - 800) / (500 + 200 + 1000)],
        "karman_three_phase_real_power_mean_watts": [-200.0],
        "karman_three_phase_real_power_min_watts": [-300.0],
        "karman_three_phase_real_power_held_max_watts": [-100.0],
        "karman_three_phase_apparent_power_mean_voltamperes": [850.0],
    }
    assert of_pdu1(snapshot(rows), *wanted) == {
        name: pytest.approx(values, rel=1e-6) for name, values in wanted.items()
    }
    dead = snapshot(message(1, *[{"real_power_w": 0.0, "apparent_power_va": 0.0}] * 3))
    names = ("karman_power_factor_ratio", "karman_three_phase_power_factor_ratio")
    assert of_pdu1(dead, *names) == {name: [] for name in names}


def test_a_device_that_lacks_a_phase_has_no_total_of_another() -> None:
    power = volt_amperes(100.0, 100.0)
    rows = [*message(1, power, power, power), *message(2, power, power, device="pdu2")]
    shown = samples(snapshot(rows, states={"pdu1": HEARD, "pdu2": HEARD}))
    devices = {dict(labels)["device"] for name, labels in shown if "three_phase" in name}
    assert devices == {"pdu1"}


LIVE = {
    *families.STREAM.all(),
    *families.THREE_PHASE.all(),
    *families.COMPATIBLE,
    *(families.THREE_PHASE_POWER_FACTOR, families.CURRENT_IMBALANCE, families.BREAKER_UTILISATION),
    *(families.COMPLETENESS, families.DELAY),
}
REMEMBERED = {
    *families.ENERGY,
    *(families.RECEIVED, families.MISSING, families.LATE, families.RENUMBERED, families.DROPPED, families.LAST_FRAME),
}
CONFIGURED = {families.DEVICE_INFO, families.BREAKER_RATING, families.NOMINAL_VOLTAGE}
CONNECTION = {families.CONNECTED, families.RECONNECTS, families.HANDSHAKES_FAILED}


@pytest.mark.parametrize(
    ("age_us", "shown"),
    [
        (0, LIVE | REMEMBERED | CONNECTION),
        (3_500_000, LIVE | REMEMBERED | CONNECTION),
        (3_500_001, REMEMBERED | CONNECTION),
        (600_000_000, REMEMBERED | CONNECTION),
        (600_000_001, CONNECTION),
        (NOW_US, CONNECTION),  # never heard
        (None, set()),  # its ingest does not answer yet
    ],
)
def test_a_silent_device_loses_its_gauges_and_then_its_counters(age_us: int | None, shown: set[Any]) -> None:
    device = Device("pdu1", "tcp://x:1", breaker_a=20.0, nominal_v=277.0)
    states = {"other": replace(HEARD, last_received_us=NOW_US - 1)}
    if age_us is not None:
        states["pdu1"] = replace(HEARD, last_received_us=NOW_US - age_us)
    values = [277.0, 0.1, 8.0, 0.1, 900.0, 960.0, -12.0, 0.9375]
    at_hand = snapshot(
        states=states,
        devices={"pdu1": device},
        summaries=(summary("a", {"pdu1": values, "other": values}),),
        completeness={"pdu1": 1.0, "other": 1.0},
    )
    of_device = {name for name, labels in samples(at_hand) if ("device", "pdu1") in labels}
    assert of_device == {family.name for family in shown | CONFIGURED}
    of_other = {name for name, labels in samples(at_hand) if ("device", "other") in labels}
    expected = (LIVE | REMEMBERED | CONNECTION) - {families.BREAKER_UTILISATION}
    assert of_other == {family.name for family in expected}


def test_what_an_aggregator_said_long_ago_is_not_shown_as_new() -> None:
    values = [277.0, 0.1, 8.0, 0.1, 900.0, 960.0, -12.0, 0.9375]
    said = summary("a", {"pdu1": values})
    # A device that is heard, or one that sends rarely and is not silent yet.
    for age_s, heard_s, figures in (
        (KEPT_S - 0.1, KEPT_S - 0.1, True),
        (KEPT_S + 0.1, KEPT_S + 0.1, False),
        (59, 0, True),
    ):
        now_us = said.received_us["pdu1"] + int(age_s * 1e6)
        states = {"pdu1": replace(HEARD, last_received_us=said.received_us["pdu1"] + int(heard_s * 1e6))}
        seldom = replace(SETTINGS, silence_s=60.0)
        told = replace(snapshot(states=states, summaries=(said,)), now_us=now_us, settings=seldom)
        found = {name for name, _ in samples(told)}
        assert {family.name for family in families.ENERGY} <= found  # counters stay
        assert (families.STREAM.mean[0].name in found) == figures
        shown = Figures(told, 60.0)
        assert (shown.rows()[0]["real_power_w"] is not None) == figures
        assert bool((shown.of("pdu1") or {})["channels"]) == figures
        assert np.isfinite(shown.power_w()).all() == figures


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        (Metrics(), set(families.ALL)),
        (Metrics(compatible=False), set(families.ALL) - set(families.COMPATIBLE)),
        (Metrics(families=("karman_*energy*",)), {*families.ENERGY, *fleet.ENERGY, families.BUILD_INFO}),
        (
            Metrics(families=("karman_build_info", "real_power_pea?", "karman_build_*")),
            {families.BUILD_INFO, families.COMPATIBLE_STREAMS["peak"][5][0]},
        ),
        (Metrics(compatible=False, families=("real_power_*",)), {families.BUILD_INFO}),
        (Metrics(families=("KARMAN_*",)), {families.BUILD_INFO}),
        (Metrics(families=()), {families.BUILD_INFO}),
    ],
)
def test_the_settings_choose(settings: Metrics, chosen: set[families.Family]) -> None:
    collected = [family for family, _ in collect(snapshot(message(1, amperes(5.0)), settings=settings))]
    assert collected == [family for family in families.ALL if family in chosen]


def test_drops_of_every_reason_are_there_from_the_start() -> None:
    balance = Balance(0, 0, 0, 0, 0, 0)
    drops = {name: value for name, value in samples(snapshot(balance=balance)).items() if "drops" in name[0]}
    assert drops == {series("karman_drops_total", reason=reason): 0.0 for reason in DROPS}


def test_names_keep_to_the_conventions() -> None:
    names = [family.name for family in families.ALL]
    assert len(set(names)) == len(names)
    measured = {
        "volts",
        "amperes",
        "watts",
        "voltamperes",
        "vars",
        "joules",
        "var-seconds",
        "seconds",
        "bytes",
        "ratio",
    }
    for family in set(families.ALL) - set(families.COMPATIBLE):
        assert family.name.startswith("karman_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.name.endswith("_info") == (family.unit == "1")
        if family.unit in measured:
            assert family.name.removesuffix("_total").endswith(f"_{family.unit.replace('-', '')}")
        else:  # what is counted has no unit
            assert family.unit in {"1", "1 or 0"} or family.unit.endswith("s")


def test_samples_have_the_labels_of_the_catalogue() -> None:
    full = snapshot(summaries=(summary("a", {"pdu1": [1.0] * 8}),), devices={"pdu1": Device("pdu1", "x")})
    for family, parts in collect(full):
        assert {part.labels.names for part in parts} <= {family.labels}
        assert all(len(part.labels.rows) == len(part.values) for part in parts)


def test_the_reference_is_current() -> None:
    assert (Path(__file__).parents[2] / "docs" / "metrics.md").read_text() == reference()


def looks(*counts: tuple[int, int], looks: int = 60) -> dict[str, float]:
    """What the last look says, after one of each (received, missing)."""
    completeness = Completeness(looks)
    ratios: dict[str, float] = {}
    for received, missing in counts:
        ratios = completeness.look({"pdu1": Tally(received, received, missing=missing)})
    return ratios


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ([(100, 50)], {}),  # what was before the first look is not of the last minute
        ([(100, 50), (100, 50)], {}),
        ([(100, 50), (190, 60)], {"pdu1": 0.9}),
        ([(100, 50), (150, 100), (190, 60)], {"pdu1": 0.9}),  # forty came late and are missing no more
        ([(100, 50), (200, 40)], {"pdu1": 1.0}),
        ([(100, 50), (100, 60)], {"pdu1": 0.0}),
        ([(100, 50), (0, 0), (60, 20)], {"pdu1": 0.75}),  # its ingest was restarted
    ],
)
def test_completeness(counts: list[tuple[int, int]], wanted: dict[str, float]) -> None:
    assert looks(*counts) == pytest.approx(wanted)


def test_completeness_of_a_restarted_ingest_that_counts_beyond_where_it_stood() -> None:
    assert looks((10, 0), (0, 0), (12, 8)) == pytest.approx({"pdu1": 0.6})


def test_completeness_reaches_back_so_many_looks() -> None:
    losses = [(0, 0), (0, 100), (50, 150), (100, 150), (150, 150), (200, 150)]
    assert looks(*losses[:4], looks=2) == pytest.approx({"pdu1": 100 / 150})
    assert looks(*losses, looks=2) == {"pdu1": 1.0}


def test_completeness_is_told_of_each_device() -> None:
    completeness = Completeness()
    completeness.look({"pdu1": Tally(10, 10)})
    completeness.look({"pdu1": Tally(20, 20), "pdu2": Tally(5, 5)})
    # What came under another topic, or twice, was none of the frames that are missing.
    assert completeness.look({"pdu1": Tally(50, 20, missing=10), "pdu2": Tally(10, 10), "new": Tally(7, 7)}) == {
        "pdu1": 0.5,
        "pdu2": 1.0,
    }
    assert completeness.look({}) == {}


def test_labels_are_the_same_objects_as_long_as_they_recur_however_many_there_are() -> None:
    def labels(shards: range) -> list[Labels]:
        summaries = tuple(summary("a", {f"pdu{shard}": [1.0] * 8}) for shard in shards)
        return [part.labels for _, parts in collect(snapshot(summaries=summaries)) for part in parts]

    many = labels(range(1000, 1100))
    again = labels(range(1000, 1100))
    assert len(set(many)) > 400
    assert all(one is other for one, other in zip(many, again, strict=True))
    gone = weakref.ref(many[0])
    del many, again
    for _ in range(2):
        labels(range(1))
    gc.collect()
    assert gone() is None


def test_the_delay_is_that_of_the_channel_that_still_comes() -> None:
    ended = replace(summary("b", {"pdu1": [1.0] * 8}), received_us={"pdu1": NOW_US - 25_000_000})
    ended = replace(ended, delay_us={"pdu1": 9_000_000})
    shown = samples(snapshot(summaries=(summary("a", {"pdu1": [1.0] * 8}), ended)))
    assert shown[series("karman_transport_delay_seconds", device="pdu1")] == pytest.approx(0.02)
