"""A fleet in shards is the same fleet: to the last bit, also where shards and the one that combines them die; and of a
shard that is away nothing is counted as 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.core.assignment import divide
from pipeline.core.config import Device, Fleet
from pipeline.core.fleet.checkpoint import Kept, from_bytes, to_bytes
from pipeline.core.fleet.clocks import fleet_delay_us
from pipeline.core.fleet.combiner import Combiner
from pipeline.core.fleet.membership import Membership, Place, changed_places
from pipeline.core.fleet.part import Part
from pipeline.core.fleet.ratings import Ratings
from pipeline.core.fleet.shard import LATE, REASONS, FleetShard
from pipeline.core.fleet.summary import Figures, FleetSummary, Totals
from pipeline.core.fleet.sums import combined
from pipeline.core.model import STREAMS
from tests.fleets import HZ, START_S, START_US, Cycles, Run, by_second, cycles, devices, parts

SECONDS = 8
EXACT = (
    "second", "members", "present", "coverage", "power_w", "peak_w", "trough_w", "coincidence", "current_a",
    "imbalance", "utilisation", "headroom_a", "redundancy_a", "energy_j", "total_energy_j",
)  # fmt: skip
STEP_US = 250_000
RETAINED_US = 11_000_000  # what ingests send again


class Sharded:
    """A fleet of several shards, fed by arrival and asked so often; `now_s` is that of the arrivals."""

    def __init__(self, fleet: Sequence[Device], count: int, settings: Fleet | None = None) -> None:
        self.fleet, self.settings = fleet, settings or Fleet()
        self.divided = divide({}, fleet, count)
        self.shards = {number: self._shard(number) for number in range(count)}
        self.away: set[int] = set()
        self.retained: list[tuple[int, Part]] = []  # what shards keep for the one that combines
        self.figures: list[Figures] = []
        self.now_us = START_US
        self.combine()

    def combine(self, totals: Totals | None = None) -> None:
        """A process that combines begins."""
        membership = Membership(self.fleet, STREAMS, HZ)
        ratings = Ratings.of(membership.places, self.fleet, ())
        shards, closed = set(self.divided.values()), totals.closed if totals else None
        self.combiner = Combiner(membership, shards, self.settings.shard_wait_s, self.now_us / 1e6, closed)
        self.summary = FleetSummary(membership.places, 60, ratings, self.settings.percentile_s, totals)

    def restart(self, number: int, kept: Kept, again: Cycles, counted: NDArray[np.bool_]) -> None:
        """A shard begins anew, and gets rows again."""
        self.shards[number] = shard = self._shard(number, kept)
        for rows, known in ((again.at(counted), True), (again.at(~counted), False)):
            shard.push(rows.batch(), known)

    def feed(self, given: Cycles, rest_s: float = 5.0) -> list[Figures]:
        first, last = int(given.received_us.min()), int(given.received_us.max())
        for now_us in range(first + STEP_US, last + STEP_US + int(rest_s * 1e6), STEP_US):
            came = (given.received_us >= now_us - STEP_US) & (given.received_us < now_us)
            present = [shard for number, shard in self.shards.items() if number not in self.away]
            for shard in present if came.any() else ():
                shard.push(given.at(came).batch())
            for shard in present:
                shard.keep_time(fleet_delay_us(np.concatenate([each.delays_us() for each in self.shards.values()])))
            self.tell(now_us)
        return self.figures

    def tell(self, now_us: int) -> None:
        self.now_us = now_us
        for number, shard in self.shards.items():
            for part in parts(shard, now_us) if number not in self.away else ():
                self.retained.append((number, part))
                self.combiner.push(number, part, now_us / 1e6)
        self.figures += map(self.summary.push, self.combiner.advance(now_us / 1e6))

    def row(self, level: str, name: str, phase: str = "all") -> int:
        return self.summary.places.index(Place(level, name, phase))

    def _shard(self, number: int, kept: Kept | None = None) -> FleetShard:
        mine = tuple(device for device in self.fleet if self.divided[device.name] == number)
        return FleetShard(mine, STREAMS, HZ, self.settings, kept.shard if kept else None)


def same(told: Sequence[Figures], others: Sequence[Figures], names: Sequence[str] = EXACT) -> None:
    assert [each.second for each in told] == [each.second for each in others]
    for one, other in zip(told, others, strict=True):
        for name in names:
            assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True), (one.second, name)


def a_fleet(seed: int, seconds: int = SECONDS, racks: int = 7) -> tuple[tuple[Device, ...], Cycles]:
    """Devices that begin anywhere in a period, whose clocks are off, and of whose frames some are late or lost.

    Of each rack two are not late, so that all shards begin at once: one that begins later waits for its own.
    """
    fleet = devices(racks, 3, breaker_a=60.0)
    rng, count = np.random.default_rng(seed), len(fleet)
    delay_us = rng.choice([3_000, 40_000, 400_000], count, p=[0.6, 0.3, 0.1])
    delay_us[2::3] = rng.choice([3_000, 2_500_000], racks, p=[0.6, 0.4])
    given = cycles(
        fleet,
        rng.uniform(-500, 9000, (count, 60 * seconds, 3)),
        START_US + rng.integers(0, 33_333, count),
        delay_us,
        rng.integers(-200_000, 200_000, count),
    )
    return fleet, given.at(rng.random(len(given.time_us)) > 0.02)


@settings(max_examples=8, deadline=None)
@given(count=st.integers(2, 5), seed=st.integers(0, 1000), correct=st.booleans())
def test_shards_tell_what_one_would_to_the_last_bit(count: int, seed: int, correct: bool) -> None:
    """As long as they keep the same time."""
    fleet, given = a_fleet(seed)
    told = Fleet(correct_clocks=correct)
    one, several = Run(fleet, told), Sharded(fleet, count, told)
    same(several.feed(given), one.feed(given), [name for name in EXACT if name != "coincidence"])
    # In the very first second some shard may have nothing to tell yet: then its members' peaks are unknown.
    same(several.figures[2:], one.figures[2:], ["coincidence"])
    assert len(one.figures) > SECONDS - 3
    assert np.array_equal(several.summary.quantiles_w(), one.summary.quantiles_w(), equal_nan=True)
    assert np.array_equal(several.combiner.offsets_us(), one.combiner.offsets_us(), equal_nan=True)
    assert np.array_equal(several.combiner.excluded, one.combiner.excluded)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1000), cut_us=st.integers(4_000_000, 6_000_000), kept_us=st.integers(0, 2_000_000))
def test_a_shard_that_dies_costs_nothing(seed: int, cut_us: int, kept_us: int) -> None:
    """It was kept so long ago, and gets again what the ingests retain; the windows of members' peaks begin anew."""
    fleet, given = a_fleet(seed, 12)
    one, several = Run(fleet), Sharded(fleet, 3)
    one.feed(given)
    cut_us = START_US + STEP_US * (cut_us // STEP_US)
    kept_us = cut_us - STEP_US * (kept_us // STEP_US)
    begun_us = int(given.received_us.min())
    before = (given.received_us - begun_us) // STEP_US * STEP_US + begun_us  # when it was handed on
    several.feed(given.at(before < kept_us), rest_s=0)
    kept = from_bytes(to_bytes(Kept(shard=several.shards[1].state())))
    if (between := (before >= kept_us) & (before < cut_us)).any():
        several.feed(given.at(between), rest_s=0)
    again = (before >= cut_us - RETAINED_US) & (before < cut_us)
    several.restart(1, kept, given.at(again), before[again] < kept_us)
    several.feed(given.at(before >= cut_us))
    same(several.figures, one.figures, [name for name in EXACT if name != "coincidence"])
    assert np.array_equal(several.summary.quantiles_w(), one.summary.quantiles_w(), equal_nan=True)
    for each, alone in zip(several.figures, one.figures, strict=True):  # above 1 only by a member that feeds back
        assert not ((each.coincidence > 1.0 + 1e-9) & (alone.coincidence <= 1.0)).any()


def test_whoever_combines_may_die_and_counts_no_second_twice() -> None:
    fleet, given = a_fleet(4, 12)
    one, several = Run(fleet), Sharded(fleet, 3)
    one.feed(given)
    cut_us = START_US + 6_100_000
    several.feed(given.at(given.received_us < cut_us - 1_500_000), rest_s=0)
    kept = from_bytes(to_bytes(Kept(several.summary.totals()))).totals
    assert kept is not None
    several.feed(given.at((given.received_us >= cut_us - 1_500_000) & (given.received_us < cut_us)), rest_s=0)
    told = several.figures.copy()
    assert told[-1].second > kept.closed
    several.figures.clear()
    several.combine(kept)
    for number, part in several.retained:  # what it had too
        several.combiner.push(number, part, several.now_us / 1e6)
    several.feed(given.at(given.received_us >= cut_us))
    assert several.figures[0].second == kept.closed + 1
    again = [each for each in told if each.second <= kept.closed] + several.figures
    same(again, one.figures, [name for name in EXACT if name != "coincidence"])
    assert np.array_equal(several.summary.quantiles_w(), one.summary.quantiles_w(), equal_nan=True)


def test_a_shard_that_is_away_is_waited_for_then_missing_and_never_counted_as_zero() -> None:
    fleet = devices(4, 2)
    given = cycles(fleet, np.full((8, 60 * 24, 3), 1000.0))
    several = Sharded(fleet, 2, Fleet(shard_wait_s=5.0))
    lost = several.divided["r0-0"]
    away = [rack for rack in range(4) if several.divided[f"r{rack}-0"] == lost]
    assert len(away) == 2
    site, mine = several.row("site", "site"), several.row("rack", f"r{away[0]}")
    several.feed(given.at(given.received_us < START_US + 6_000_000), rest_s=0)
    several.away.add(lost)
    several.feed(
        given.at((given.received_us >= START_US + 6_000_000) & (given.received_us < START_US + 10_000_000)), rest_s=0
    )
    waits_since = several.figures[-1].second
    assert waits_since <= START_S + 5, "it is waited for"
    several.feed(
        given.at((given.received_us >= START_US + 10_000_000) & (given.received_us < START_US + 16_000_000)), rest_s=0
    )
    several.away.clear()
    several.feed(given.at(given.received_us >= START_US + 16_000_000))
    figures = by_second(several.figures)
    assert list(figures)[:24] == list(range(24)), "no second is missing"
    assert (figures[3].present[site], figures[3].power_w[site], figures[3].present[mine]) == (8, 24_000.0, 2)
    gone = figures[10]
    assert (gone.members[site], gone.present[site], gone.power_w[site], gone.coverage[site]) == (8, 4, 12_000.0, 0.5)
    assert (gone.members[mine], gone.present[mine], gone.coverage[mine]) == (2, 0, 0.0)
    assert np.isnan(
        [gone.power_w[mine], gone.current_a[several.row("rack", "r0", "A")], gone.coincidence[site, 0]]
    ).all()
    assert (gone.trough_w[site] == [12_000.0, 24_000.0, 24_000.0]).all(), "and is no dip"
    assert gone.total_energy_j[mine, 0] == figures[9].total_energy_j[mine, 0] > 0
    missed_s = several.combiner.missed_s
    assert 5 <= missed_s[lost] < 12
    assert missed_s[1 - lost] == 0
    back = figures[20]
    assert (back.present[site], back.power_w[site], back.coincidence[site, 0]) == (8, 24_000.0, 1.0)
    assert (np.diff([each.total_energy_j[site, 0] for each in several.figures[:24]]) > 0).all()


def test_a_shard_whose_devices_never_were_heard_holds_nobody_up_for_long() -> None:
    fleet = devices(4, 2)
    given = cycles(fleet, np.full((8, 60 * 12, 3), 1000.0))
    several = Sharded(fleet, 2, Fleet(shard_wait_s=5.0))
    silent = np.array([several.divided[device.name] == 1 for device in fleet])
    several.feed(given.at(~silent[given.device]))
    assert [each.present[several.row("site", "site")] for each in several.figures][:12] == [4] * 12


def test_devices_come_go_and_move_between_racks_of_shards() -> None:
    """Whoever stays keeps its shard, also in another rack, and not a cycle of it is missing in the sums."""
    before = devices(4, 2)
    after = (*devices(3, 2)[1:], *devices(6, 2)[8:])  # r0-0 and rack 3 go, racks 4 and 5 come
    moved = Device(**{name: getattr(after[0], name) for name in Device.__slots__} | {"rack": "r4"})
    after = (moved, *after[1:])
    everyone = devices(6, 2)
    given = cycles(everyone, np.random.default_rng(1).uniform(0, 9000, (12, 60 * 9, 3)))
    cut_us = START_US + 4_370_000
    several, one = Sharded(before, 2), Run(before)
    for run in (several, one):
        run.feed(given.at(given.received_us < cut_us), rest_s=0)
    one.carry(after)
    several.divided = divide(several.divided, after, 2)
    assert several.divided[moved.name] == divide({}, before, 2)[moved.name]
    membership = Membership(after, STREAMS, HZ)
    changed = changed_places(Membership(before, STREAMS, HZ), membership)
    for number, shard in several.shards.items():
        shard.carry(tuple(d for d in after if several.divided[d.name] == number), Fleet(), changed)
    several.combiner.carry(membership, {0, 1}, 15.0, several.now_us / 1e6)
    several.summary.carry(membership.places, Ratings.of(membership.places, after, ()))
    for run in (several, one):
        run.feed(given.at(given.received_us >= cut_us))
    later = [[each for each in run.figures if each.second > START_S + 3] for run in (several, one)]
    same(*later)
    places = [place for place in one.summary.places if place.level in ("row", "hall", "site")]  # of both shards
    told, others = (
        [each.coincidence[[run.summary.places.index(place) for place in places]] for each in figures]
        for run, figures in zip((several, one), later, strict=True)
    )
    assert np.allclose(told, others, equal_nan=True)
    assert by_second(later[0])[6].present[several.row("rack", "r4")] == 3
    assert several.combiner.excluded[REASONS.index(LATE)].sum() == 0


def test_coincidence_of_a_place_in_two_shards_is_since_its_members_are() -> None:
    """A device of one shard peaks, then one of the other shard goes: from then on all are at their peaks at once."""
    before = devices(2, 2)
    after = before[:-1]
    power_w = np.full((4, 60 * 9, 3), 100.0)
    power_w[0, 150] = 300.0
    given = cycles(before, power_w)
    cut_us = (START_S + 5) * 1_000_000
    several = Sharded(before, 2)
    assert len({several.divided[device.name] for device in (before[0], before[-1])}) == 2
    several.feed(given.at(given.received_us < cut_us), rest_s=0)
    membership = Membership(after, STREAMS, HZ)
    changed = changed_places(Membership(before, STREAMS, HZ), membership)
    for number, shard in several.shards.items():
        shard.carry(tuple(d for d in after if several.divided[d.name] == number), Fleet(), changed)
    several.combiner.carry(membership, {0, 1}, 15.0, several.now_us / 1e6)
    several.summary.carry(membership.places, Ratings.of(membership.places, after, ()))
    told = by_second(several.feed(given.at(given.received_us >= cut_us)))[7]
    assert told.coincidence[several.row("site", "site")].tolist() == pytest.approx([1.0, 1.0, 1.0], rel=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_what_was_excluded_is_counted_on_by_a_successor(count: int) -> None:
    fleet, given = a_fleet(11)
    several = Sharded(fleet, count)
    several.feed(given)
    excluded = several.combiner.excluded.copy()
    assert excluded.sum() > 0
    for number, shard in several.shards.items():
        state = shard.state()
        assert state is not None
        mine = [device for device in fleet if several.divided[device.name] == number]
        successor = FleetShard(mine, STREAMS, HZ, Fleet(), from_bytes(to_bytes(Kept(shard=state))).shard)
        assert np.array_equal(successor.excluded, shard.excluded)


def told_by(fleet: Sequence[Device]) -> list[Part]:
    """What a shard of these devices tells of four seconds."""
    shard = FleetShard(fleet, STREAMS, HZ, Fleet())
    shard.push(cycles(fleet, np.full((len(fleet), 240, 3), 1000.0)).batch())
    return parts(shard, START_US + 10_000_000)


def test_a_shard_that_has_no_devices_is_not_heard() -> None:
    fleet = devices(2, 1)
    combiner = Combiner(Membership(fleet, STREAMS, HZ), (0,), 5.0, 0.0)
    mine, others = told_by(fleet[:1]), told_by(fleet[1:])
    for part in others:
        combiner.push(1, part, 0.0)
    for part in mine:
        combiner.push(0, part, 0.0)
    assert [found.second for found in combiner.advance(0.0)] == [part.sums.second for part in mine]
    assert combiner.missed_s == {0: 0}


def test_seconds_that_wait_are_told_when_a_shard_has_gone() -> None:
    fleet = devices(2, 1)
    combiner = Combiner(Membership(fleet, STREAMS, HZ), (0, 1), 5.0, 0.0)
    told = told_by(fleet[:1])
    for part in told:
        combiner.push(0, part, 0.0)
    combiner.push(1, told_by(fleet[1:])[0], 0.0)
    combiner.carry(Membership(fleet[:1], STREAMS, HZ), (0,), 5.0, 0.0)
    assert [found.second for found in combiner.advance(0.0)] == [part.sums.second for part in told]
    assert combiner.missed_s == {0: 0}


@pytest.mark.parametrize("since", [(5, 9), (9, 5)])
def test_the_peaks_of_a_place_are_known_once_every_part_of_it_knows_its_own(since: tuple[int, int]) -> None:
    fleet = devices(2, 1)
    both = [told_by([device])[1].sums for device in fleet]
    both = [
        replace(part, peaks_since=np.full(len(part.places), second)) for part, second in zip(both, since, strict=True)
    ]
    site = Place("site", "site", "all")
    assert combined(both, [site]).peaks_since.tolist() == [9]


def test_coincidence_is_since_a_place_has_changed_also_where_others_have_not() -> None:
    fleet = devices(2, 1)
    before, now = (part.sums for part in told_by(fleet)[1:3])
    summary = FleetSummary(now.places, 60, Ratings.of(now.places, fleet, ()), Fleet().percentile_s)
    summary.push(replace(before, power_mw=10 * before.power_mw))
    changed = np.array([place.name == "r1" for place in now.places])
    told = summary.push(replace(now, peaks_since=np.where(changed, now.second, 0)))
    assert (told.coincidence[changed, 1] == 1.0).all()
