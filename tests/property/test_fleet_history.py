"""What is kept of the sums: windows and percentiles against plain statements of them, totals that outlive a process."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.config import Fleet
from pipeline.core.fleet import checkpoint
from pipeline.core.fleet.checkpoint import Kept
from pipeline.core.fleet.percentiles import BUCKETS, GROWTH, QUANTILES, Histograms, quantiles_w
from pipeline.core.fleet.ratings import Ratings
from pipeline.core.fleet.summary import FleetSummary, Totals
from pipeline.core.fleet.windows import NONE, WINDOWS_S, Greatest, LeastOfMost, Records
from tests.fleets import START_S, START_US, Run, cycles, devices

STEPS = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 2, 59, 60, 500, 901]), st.integers(-50, 50), st.integers(0, 3)), max_size=40
)


@given(STEPS, st.sets(st.integers(0, 39)))
def test_windows_are_what_they_say_also_to_a_successor(steps: list[tuple[int, int, int]], ends: set[int]) -> None:
    greatest, least = Greatest(1), LeastOfMost(1)
    second = START_S
    seen: list[tuple[int, int, int]] = []
    for number, (step, value, members) in enumerate(steps):
        if number in ends:
            closed = second if seen else None
            greatest = Greatest(1, greatest.records(), closed)
            least = LeastOfMost(1, least.records(), closed)
        second += step
        seen.append((second, value if members else NONE, members))
        peaks = greatest.push(second, np.array([value if members else NONE]))
        troughs = least.push(second, np.array([value]), np.array([members]))
        for column, window in enumerate(WINDOWS_S):
            recent = [(v, m) for at, v, m in seen if at > second - window]
            most = max(m for _, m in recent)
            assert peaks[0, column] == max(v for v, _ in recent)
            assert troughs[0, column] == (min(v for v, m in recent if m == most) if most else NONE)
        since = greatest.since(np.array([second - 70]))
        for column, window in enumerate(WINDOWS_S):
            assert since[0, column] == max((v for at, v, _ in seen if at > second - min(window, 71)), default=NONE)


@settings(deadline=None)
@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=200), st.integers(0, 200))
def test_percentiles_are_within_a_percent_and_merge_exactly(values_mw: list[int], cut: int) -> None:
    whole, first, second = Histograms(1), Histograms(1), Histograms(1)
    for histograms, values in ((whole, values_mw), (first, values_mw[:cut]), (second, values_mw[cut:])):
        histograms.push(np.array([values], np.int64), np.ones((1, len(values)), bool))
    assert np.array_equal(first.counts + second.counts, whole.counts)
    told = quantiles_w(whole.counts)[0]
    ordered = np.sort(values_mw) / 1000
    for quantile, watts in zip(QUANTILES, told, strict=True):
        true_w = ordered[int(np.ceil(quantile * len(ordered))) - 1]
        assert abs(watts - true_w) <= max(1.0, abs(true_w) * (GROWTH**0.5 - 1) * (1 + 1e-9))


def test_no_percentile_of_nothing_and_a_gigawatt_is_the_end_of_the_scale() -> None:
    histograms = Histograms(2)
    histograms.push(np.array([[10**15], [5]]), np.array([[True], [False]]))
    told = quantiles_w(histograms.counts)
    assert told[0, 0] == pytest.approx(1e9, rel=0.02)
    assert np.isnan(told[1]).all()


def test_percentiles_reach_back_one_period_to_two() -> None:
    fleet = devices(1, 1)
    run = Run(fleet, Fleet(percentile_s=4))
    power_w = np.repeat(np.array([100.0, 100, 100, 100, 200, 200, 200, 200, 400, 400, 400, 400]), 60)
    run.feed(cycles(fleet, np.tile(power_w[None, :, None], (1, 1, 3))), rest_s=1.5)
    median = run.summary.quantiles_w()[run.row("rack", "r0", "A"), 0]
    assert median == pytest.approx(200.0, rel=0.01)  # of the four seconds at 200 W and those at 400 W


def test_a_successor_goes_on_with_energy_percentiles_peaks_and_troughs() -> None:
    """The process ends in the middle; rows are sent again from before the second that was told last."""
    fleet = devices(2, 2)
    rng = np.random.default_rng(3)
    begin_us = START_US + rng.integers(0, 33_333, 4)  # a cycle reaches from one second into the next
    given = cycles(fleet, rng.uniform(0, 9000, (4, 60 * 12, 3)), begin_us)
    whole = Run(fleet)
    whole.feed(given)
    first = Run(fleet)
    cut_us = (START_S + 6) * 1_000_000 + 400_000
    first.feed(given.at(given.received_us < cut_us), rest_s=0)
    after = Run(fleet, before=first.kept())
    again = given.at(given.received_us >= cut_us - 6_000_000)
    counted = again.received_us < cut_us
    after.shard.push(again.at(counted).batch(), counted=True)
    after.feed(again.at(~counted))
    assert after.figures[-1].second == whole.figures[-1].second
    for name in ("total_energy_j", "peak_w", "trough_w"):
        assert np.array_equal(getattr(after.figures[-1], name), getattr(whole.figures[-1], name), equal_nan=True), name
    assert np.array_equal(after.summary.quantiles_w(), whole.summary.quantiles_w())
    assert after.shard.excluded.sum() == 0


def test_totals_follow_their_places_when_devices_come_and_go() -> None:
    before = Run(devices(3, 2))
    before.feed(cycles(devices(3, 2), np.full((6, 240, 3), 1000.0)))
    kept = before.summary.totals()
    places = Run(devices(2, 2)).shard.membership.places
    after = FleetSummary(places, 60, Ratings.of(places, (), ()), Fleet().percentile_s, kept).totals()
    for index, place in enumerate(places):
        assert np.array_equal(after.energy[index], kept.energy[kept.places.index(place)])
        assert np.array_equal(after.counts[:, index], kept.counts[:, kept.places.index(place)])


@pytest.mark.parametrize("racks", [(3, 4), (4, 3)], ids=["a rack comes", "a rack goes"])
def test_devices_come_and_go_and_the_others_notice_nothing(racks: tuple[int, int]) -> None:
    """In the middle of a second; of what stays every figure is as if nothing had happened."""
    all_devices = devices(4, 2)
    rng = np.random.default_rng(8)
    given = cycles(all_devices, rng.uniform(0, 9000, (8, 60 * 9, 3)))
    cut_us = (START_S + 4) * 1_000_000 + 370_000
    run = Run(devices(racks[0], 2))
    run.feed(given.at(given.received_us < cut_us), rest_s=0)
    run.carry(devices(racks[1], 2)[::-1])  # in another order too
    places = run.summary.places
    run.feed(given.at(given.received_us >= cut_us))
    whole = Run(devices(3, 2))
    whole.feed(given)
    staying = [place for place in places if place.level == "rack" and place.name != "r3"]
    mine = [places.index(place) for place in staying]
    theirs = [whole.shard.membership.places.index(place) for place in staying]
    told = {each.second: each for each in whole.figures}
    later = [each for each in run.figures if each.second > START_S + 3]
    assert len(later) > 4
    for each in later:
        for name in (
            "members",
            "present",
            "power_w",
            "peak_w",
            "trough_w",
            "coincidence",
            "total_energy_j",
            "coverage",
        ):
            mine_now, theirs_now = getattr(each, name)[mine], getattr(told[each.second], name)[theirs]
            assert np.array_equal(mine_now, theirs_now, equal_nan=True), (each.second, name)
    assert np.array_equal(run.summary.quantiles_w()[mine], whole.summary.quantiles_w()[theirs], equal_nan=True)
    assert (("rack", "r3", "A") in places) is (racks[1] == 4)
    assert run.shard.excluded.sum() == 0


def test_totals_of_another_grid_are_not_gone_on_from() -> None:
    totals = Totals(
        (), 0, 50, np.zeros((0, 2, 2), np.int64), 0, np.zeros((2, 0, BUCKETS), np.int32), Records.none(), Records.none()
    )
    with pytest.raises(ValueError, match="50 slots"):
        FleetSummary((), 60, Ratings.of((), (), ()), 60, totals)


@pytest.mark.parametrize("data", [b"", b"x" * 100])
def test_bytes_that_are_no_totals(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not the totals|pickle"):
        checkpoint.from_bytes(data)


def test_totals_of_another_version_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    totals = Totals(
        (), 0, 60, np.zeros((0, 2, 2), np.int64), 0, np.zeros((2, 0, BUCKETS), np.int32), Records.none(), Records.none()
    )
    monkeypatch.setattr(checkpoint, "VERSION", 4)
    data = checkpoint.to_bytes(Kept(totals))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="version 4, this program reads 3"):
        checkpoint.from_bytes(data)


def test_where_nothing_is_drawn_no_watt_is_told() -> None:
    histograms = Histograms(1)
    histograms.push(np.zeros((1, 5), np.int64), np.ones((1, 5), bool))
    assert quantiles_w(histograms.counts).tolist() == [[0.0] * len(QUANTILES)]


def test_the_batches_that_were_taken_are_kept() -> None:
    counted = {"ingest-0": (3, 9), "ingest-1": (5, 0)}
    assert checkpoint.from_bytes(checkpoint.to_bytes(Kept(counted=counted))).counted == counted


def test_energy_in_all_is_that_of_the_seconds() -> None:
    fleet = devices(1, 2)
    run = Run(fleet)
    figures = run.feed(cycles(fleet, np.random.default_rng(4).uniform(-9000, 9000, (2, 60 * 6, 3))))
    whole_j = np.sum([each.energy_j for each in figures], axis=0)
    imported_j, exported_j = figures[-1].total_energy_j.T
    np.testing.assert_allclose(imported_j - exported_j, whole_j, rtol=0, atol=1e-5)
