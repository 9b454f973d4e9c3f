"""What a fleet tells: metrics of the catalogue, the status, and silence when nothing new comes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.balance import Balance
from pipeline.core.config import Fleet
from pipeline.core.fleet import families
from pipeline.core.fleet.membership import Place
from pipeline.core.fleet.told import STALE_US, Told, places_document
from pipeline.core.metrics import Snapshot, collect
from pipeline.core.model import Tally
from pipeline.core.status import DeviceState, Observation, document
from tests.fleets import START_S, START_US, Run, cycles, devices
from tests.unit.summaries import samples, series

NOW_US = START_US + 10_000_000
WINDOWS = ("1s", "1m", "15m")


def told(lost: int | None = None) -> Told:
    """Two racks of two devices at 1 kW a phase; one may be missing."""
    fleet = devices(2, 2, breaker_a=30.0)
    run = Run(fleet, Fleet())
    given = cycles(fleet, np.full((4, 60 * 6, 3), 1000.0), clock_us=[0, 0, 0, 250_000])
    run.feed(given.at(given.device != lost) if lost is not None else given)
    figures = next(each for each in run.figures if each.second == START_S + 3)
    excluded = run.shard.excluded.copy()
    excluded[0, 1] = 7
    return Told(
        run.summary.places, run.summary.ratings.whole_a, figures, run.summary.quantiles_w(), NOW_US, run.shard.membership.devices,
        run.combiner.offsets_us(), excluded, 0, run.combiner.missed_s,
    )  # fmt: skip


def test_every_family_of_a_fleet_has_samples_with_its_labels() -> None:
    snapshot = Snapshot(now_us=NOW_US, fleet=told())
    found = {family: parts for family, parts in collect(snapshot) if family in families.FLEET}
    assert set(found) == set(families.FLEET)
    for family, parts in found.items():
        assert parts, family.name
        assert {part.labels.names for part in parts} == {family.labels}
        assert any(np.isfinite(part.values).any() for part in parts), family.name


def test_figures_by_hand() -> None:
    shown = samples(Snapshot(now_us=NOW_US, fleet=told()))
    site = {"level": "site", "name": "site", "phase": "all"}
    rack = {"level": "rack", "name": "r0", "phase": "A"}
    assert shown[series("karman_fleet_members", **site)] == 4
    assert shown[series("karman_fleet_members_present", **site)] == 4
    assert shown[series("karman_fleet_real_power_watts", **site)] == 12_000
    for window in WINDOWS:
        assert shown[series(f"karman_fleet_real_power_peak_{window}_watts", **site)] == 12_000
        assert shown[series(f"karman_fleet_coincidence_{window}_ratio", **site)] == 1
    assert shown[series("karman_fleet_real_power_p99_watts", **site)] == pytest.approx(12_000, rel=0.01)
    energy_j = 4 * 12_000 - 750  # the clock that is ahead began a quarter of a second later
    assert shown[series("karman_fleet_energy_joules_total", **site)] == pytest.approx(energy_j, rel=1e-4)
    assert shown[series("karman_fleet_current_amperes", **rack)] == pytest.approx(2000 / 277, rel=1e-3)
    assert shown[series("karman_fleet_breaker_rating_amperes", **rack)] == 60
    assert shown[series("karman_fleet_breaker_headroom_amperes", **rack)] == pytest.approx(48 - 2000 / 277, rel=1e-3)
    assert shown[series("karman_fleet_redundancy_headroom_amperes", **rack)] == pytest.approx(24 - 2000 / 277, rel=1e-3)
    assert shown[series("karman_fleet_current_imbalance_ratio", **site)] == 0
    assert shown[series("karman_fleet_delay_seconds")] == 6
    assert shown[series("karman_fleet_excluded_rows_total", device="r0-1", reason="late")] == 7
    assert shown[series("karman_device_clock_offset_seconds", device="r1-1")] == pytest.approx(0.25, abs=1e-3)
    assert series("karman_fleet_current_amperes", **site) not in shown
    assert series("karman_fleet_current_imbalance_ratio", **rack) not in shown


def test_a_missing_member_takes_the_headroom_with_it_and_not_the_rating() -> None:
    shown = samples(Snapshot(now_us=NOW_US, fleet=told(lost=0)))
    rack = {"level": "rack", "name": "r0", "phase": "A"}
    assert shown[series("karman_fleet_members_present", **rack)] == 1
    assert shown[series("karman_fleet_coverage_ratio", **rack)] == 0.5
    assert shown[series("karman_fleet_real_power_watts", **rack)] == 1000
    assert shown[series("karman_fleet_breaker_rating_amperes", **rack)] == 60
    assert series("karman_fleet_breaker_headroom_amperes", **rack) not in shown
    assert series("karman_fleet_breaker_utilisation_ratio", **rack) not in shown
    assert series("karman_fleet_redundancy_headroom_amperes", **rack) not in shown


@pytest.mark.parametrize(("age_us", "gauges"), [(STALE_US, True), (STALE_US + 1, False)])
def test_gauges_go_when_nothing_new_is_told_and_counters_stay(age_us: int, gauges: bool) -> None:
    shown = {name for name, _ in samples(Snapshot(now_us=NOW_US + age_us, fleet=told()))}
    fleet = {name for name in shown if name.startswith(("karman_fleet", "karman_device_clock"))}
    staying = {
        families.RATING.name,
        *(family.name for family in families.ENERGY),
        families.DELAY.name,
        families.EXCLUDED.name,
        families.UNWRITTEN.name,
        families.MISSED.name,
    }
    assert (fleet == staying) is not gauges
    assert fleet >= staying


def test_the_status_has_places_and_clocks() -> None:
    state = DeviceState("tcp://x:1", True, 1, NOW_US, Tally(), 60.0)
    seen = Observation(
        NOW_US, 5.0, None, {"r1-1": state, "other": state}, (), Balance(0, 0, 0, 0, 0, 0), {}, {}, (), told(lost=0)
    )
    status = document(seen)
    assert set(status["fleet"]) == {"rack", "row", "hall", "site", "feed"}
    rack = status["fleet"]["rack"]["r0"]
    assert (rack["members"], rack["members_present"], rack["real_power_w"]) == (2, 1, 3000.0)
    assert rack["breaker_headroom_a"] is None
    assert status["fleet"]["rack"]["r1"]["breaker_headroom_a"] == pytest.approx(48 - 2000 / 277, rel=1e-3)
    assert status["devices"]["r1-1"]["clock_offset_s"] == pytest.approx(0.25, abs=1e-3)
    assert status["devices"]["other"]["clock_offset_s"] is None
    assert document(replace(seen, fleet=None))["fleet"] == {}


@pytest.mark.parametrize(
    ("phases", "least"), [((3.0, 5.0, 4.0), 3.0), ((3.0, np.nan, 4.0), None), ((3.0, np.nan, -4.0), -4.0)]
)
def test_the_least_headroom_of_phases_that_are_not_all_known(phases: tuple[float, ...], least: float | None) -> None:
    whole = told()
    headroom_a = whole.figures.headroom_a.copy()
    headroom_a[[whole.places.index(Place("rack", "r0", phase)) for phase in "ABC"]] = phases
    document = places_document(replace(whole, figures=replace(whole.figures, headroom_a=headroom_a)))
    assert document["rack"]["r0"]["breaker_headroom_a"] == least


def test_what_is_unknown_of_a_place_is_null_in_the_status() -> None:
    one = told()
    nothing = np.full(len(one.places), np.nan)
    figures = replace(one.figures, power_w=nothing, peak_w=np.full_like(one.figures.peak_w, np.nan))
    site = places_document(replace(one, figures=figures))["site"]["site"]
    assert (site["real_power_w"], site["real_power_peak_15m_w"]) == (None, None)
