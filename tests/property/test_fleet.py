"""Coincident sums against an offline sum over simulated recordings, with clocks that are off, late frames and devices
that are missing; parts of a fleet combine to exactly the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.adapters import recordings
from pipeline.core.config import Breaker, Device, Fleet
from pipeline.core.delivery import FENCED
from pipeline.core.envelope import rows_to_bytes
from pipeline.core.fleet import sums, table
from pipeline.core.fleet.checkpoint import Counted
from pipeline.core.fleet.clocks import AHEAD_US, BUCKET_US, BUCKETS, Clocks
from pipeline.core.fleet.concentrator import SLOT, Cells
from pipeline.core.fleet.intake import ShardIntake
from pipeline.core.fleet.membership import Membership, standing
from pipeline.core.fleet.ratings import Ratings
from pipeline.core.fleet.shard import AHEAD, LATE, REASONS, UNKNOWN, UNTIMED, FleetShard
from pipeline.core.fleet.sums import Sums
from pipeline.core.model import STREAMS, Flag
from tests.fleets import HZ, START_S, START_US, Cycles, Run, by_second, cycles, devices

SECONDS = 8
MARGIN = 2  # the first and last second are not covered whole


def recorded(count: int, seconds: int = SECONDS, seed: int = 5) -> NDArray[np.float32]:
    """What so many devices drew: pieces of the simulated recordings, shape (devices, cycles, streams)."""
    rng = np.random.default_rng(seed)
    pieces = []
    for device in range(count):
        recording = recordings.load(f"sample{device % 4 + 1}")
        power = recording.cycles.column("a_real_power_w").to_numpy().reshape(-1, 3)
        first = int(rng.integers(0, len(power) - seconds * 60))
        pieces.append(power[first : first + seconds * 60])
    return np.stack(pieces)


def offline_w(power_w: NDArray[np.float32], begin_us: NDArray[np.int64], seconds: int) -> NDArray[np.float64]:
    """The mean power of each device and stream in each slot, from the running integral of its cycles.

    An independent way to the same: energy up to each boundary, interpolated, and its differences. Shape (devices,
    slots, streams), from `START_S` on; NaN where cycles do not cover the slot.
    """
    count, length, streams = power_w.shape
    bounds_s = np.arange(seconds * 60 + 1) / 60
    means = np.full((count, seconds * 60, streams), np.nan)
    for device in range(count):
        edges_s = (
            begin_us[device]
            - START_US
            + np.append(np.rint(np.arange(length) * 1e6 / HZ), np.rint((length - 1) * 1e6 / HZ) + 1e6 / HZ)
        ) / 1e6
        for stream in range(streams):
            steps_j = power_w[device, :, stream].astype(np.float64) * np.diff(edges_s)
            energy_j = np.interp(bounds_s, edges_s, np.append(0.0, np.cumsum(steps_j)))
            whole = (bounds_s[:-1] >= edges_s[0]) & (bounds_s[1:] <= edges_s[-1])
            means[device, :, stream] = np.where(whole, np.diff(energy_j) * 60, np.nan)
    return means


def begins(count: int, seed: int = 6) -> NDArray[np.int64]:
    """True starts of the devices' first cycles, anywhere within two periods."""
    return START_US + np.random.default_rng(seed).integers(0, 33_333, count)


def chosen(fleet: tuple[Device, ...], level: str, name: str) -> list[int]:
    return [index for index, device in enumerate(fleet) if getattr(device, level) == name]


@pytest.mark.parametrize("clocks_s", [0.0, 0.2], ids=["clocks are right", "clocks are up to 0.2 s off, and corrected"])
def test_coincident_sums_equal_an_offline_sum_over_the_recordings(clocks_s: float) -> None:
    fleet = devices(12, 2)
    power_w, begin_us = recorded(len(fleet)), begins(len(fleet))
    rng = np.random.default_rng(7)
    clock_us = np.rint(rng.uniform(-clocks_s, clocks_s, len(fleet)) * 1e6).astype(np.int64)
    clock_us -= int(np.median(clock_us))  # the fleet's time is that of its median clock
    run = Run(fleet, Fleet(correct_clocks=clocks_s > 0))
    given = cycles(fleet, power_w, begin_us, delay_us=np.full(len(fleet), 3_000), clock_us=clock_us)
    figures = by_second(run.feed(given))
    first = MARGIN + (2 if clocks_s else 0)  # corrections begin once there is something to go by
    truth = offline_w(power_w, begin_us, SECONDS)
    for level, name in (("rack", "r3"), ("row", "row1"), ("hall", "hall"), ("site", "site"), ("feed", "B")):
        of = chosen(fleet, level, name)
        for column, phase in enumerate((0, 1, 2, slice(None))):
            row = run.row(level, name, ("A", "B", "C", "all")[column])
            wanted = truth[of][:, :, phase].reshape(len(of), SECONDS * 60, -1).sum(axis=(0, 2)).reshape(SECONDS, 60)
            for second in range(first, SECONDS - MARGIN):
                told = figures[second]
                assert told.present[row] == told.members[row] == len(of)
                assert told.power_w[row] == pytest.approx(wanted[second].mean(), rel=1e-6)
                assert told.energy_j[row] == pytest.approx(wanted[second].sum() / 60, rel=1e-6)
                assert told.peak_w[row, 0] == pytest.approx(wanted[second].max(), rel=1e-6)
                assert told.trough_w[row, 0] == pytest.approx(wanted[second].min(), rel=1e-6)
                assert told.coverage[row] == 1.0
    assert run.shard.excluded.sum() == 0 or clocks_s


def test_coincidence_is_the_peak_of_the_sum_over_the_sum_of_peaks() -> None:
    """By hand: two devices that draw 100 W a phase and peak at 300 W in different cycles; then in the same one."""
    fleet = devices(1, 2)
    power_w = np.full((2, 60 * 6, 3), 100.0)
    power_w[0, 150], power_w[1, 160] = 300.0, 300.0  # in the third second
    power_w[:, 200] = 300.0  # in the fourth
    run = Run(fleet)
    figures = by_second(run.feed(cycles(fleet, power_w)))
    row = run.row("rack", "r0", "B")
    assert figures[2].peak_w[row, 0] == 400.0
    assert figures[2].coincidence[row, 0] == pytest.approx(400 / 600, rel=1e-4)  # slots are no whole microseconds
    assert figures[3].coincidence[row].tolist() == [1.0, 1.0, 1.0]  # of a minute too: they did coincide once
    assert figures[4].coincidence[row, 0] == 1.0
    assert figures[4].peak_w[row].tolist() == [200.0, 600.0, 600.0]
    assert figures[4].trough_w[row].tolist() == [200.0, 200.0, 200.0]


@pytest.mark.parametrize("leaves", [True, False])
def test_coincidence_is_of_those_who_are_there_since_they_are(leaves: bool) -> None:
    """The two peak at 300 W in the same cycle while both are there, and apart, at 200 W, once one has come or gone."""
    fleet = devices(1, 3)
    power_w = np.full((3, 60 * 9, 3), 100.0)
    power_w[:, 150] = 300.0
    power_w[0, 390], power_w[1, 400] = 200.0, 200.0  # in the seventh second
    given = cycles(fleet, power_w)
    cut_us = (START_S + 5) * 1_000_000
    run = Run(fleet if leaves else fleet[:2])
    run.feed(given.at(given.received_us < cut_us), rest_s=0)
    run.carry(fleet[:2] if leaves else fleet)
    row = run.row("rack", "r0", "B")
    told = by_second(run.feed(given.at(given.received_us >= cut_us)))[7]
    apart = (300 / 400) if leaves else (400 / 500)
    assert told.coincidence[row].tolist() == pytest.approx([1.0, apart, apart], rel=1e-4)
    assert told.peak_w[row, 2] == (900.0 if leaves else 600.0)  # what was reached stays so


def test_a_missing_device_shows_in_the_members_and_is_never_counted_as_zero() -> None:
    """Two of forty fall silent: the sum is that of 38, says so, and the trough does not dip."""
    fleet = devices(20, 2, breaker_a=60.0)
    power_w = np.full((40, 60 * 8, 3), 1000.0)
    gone = cycles(fleet, power_w)
    silent = np.isin(gone.device, [4, 31]) & (gone.time_us >= START_US + 3_000_000)
    run = Run(fleet)
    figures = by_second(run.feed(gone.at(~silent)))
    row, rack = run.row("site", "site"), run.row("rack", "r2", "A")
    assert (figures[2].present[row], figures[2].members[row], figures[2].power_w[row]) == (40, 40, 120_000.0)
    assert (figures[5].present[row], figures[5].members[row]) == (38, 40)
    assert figures[5].power_w[row] == 38 * 3000.0
    assert figures[5].coverage[row] == pytest.approx(38 / 40)
    assert figures[5].trough_w[row].tolist() == [114_000.0, 120_000.0, 120_000.0]
    assert figures[5].peak_w[row].tolist() == [114_000.0, 120_000.0, 120_000.0]
    assert figures[2].headroom_a[rack] == pytest.approx(0.8 * 120 - 2 * 1000 / 277, rel=1e-4)
    assert figures[2].utilisation[rack] == pytest.approx(2 * 1000 / 277 / 120, rel=1e-4)
    assert np.isnan([figures[5].headroom_a[rack], figures[5].utilisation[rack]]).all()  # of one of two: unknown
    assert figures[5].power_w[rack] == 1000.0


def test_an_overload_is_known_whoever_is_missing() -> None:
    fleet = devices(1, 2, breaker_a=10.0)
    given = cycles(fleet, np.full((2, 60 * 5, 3), 5000.0), volts=277.0)
    alone = by_second(Run(fleet).feed(given.at(given.device == 0)))[2]
    row = Run(fleet).row("rack", "r0", "A")
    assert (alone.present[row], alone.members[row]) == (1, 2)
    assert alone.utilisation[row] == pytest.approx(5000 / 277 / 20, rel=1e-4)
    assert alone.headroom_a[row] == pytest.approx(16 - 5000 / 277, rel=1e-3)


def test_a_single_lost_frame_is_no_dip() -> None:
    fleet = devices(1, 2)
    given = cycles(fleet, np.full((2, 60 * 5, 3), 500.0))
    lost = (given.device == 1) & (np.abs(given.time_us - START_US - 2_500_000) < 5_000)
    run = Run(fleet)
    figures = by_second(run.feed(given.at(~lost)))
    row = run.row("rack", "r0")
    assert lost.sum() == 3
    assert (figures[2].power_w[row], figures[2].trough_w[row, 0], figures[2].present[row]) == (3000.0, 3000.0, 2)
    assert figures[2].coverage[row] == pytest.approx(119 / 120)
    assert figures[2].energy_j[row] == pytest.approx(3000.0 - 1500 / 60)  # nothing is made up for it


def test_late_frames_are_waited_for_so_long_then_counted_and_left_out() -> None:
    fleet = devices(1, 3)
    given = cycles(fleet, np.full((3, 60 * 8, 3), 500.0), delay_us=[3_000, 700_000, 2_500_000])
    run = Run(fleet, Fleet(wait_s=1.0))
    figures = by_second(run.feed(given))
    row = run.row("rack", "r0")
    # The fleet's time is that of its median device, which is 0.7 s behind: the slowest is 1.8 s behind that.
    assert (figures[5].present[row], figures[5].power_w[row]) == (2, 3000.0)
    late = run.shard.excluded[REASONS.index(LATE)]
    assert late[:2].tolist() == [0, 0]
    assert late[2] > 3 * 60 * 5
    patient = Run(fleet, Fleet(wait_s=3.0))
    assert by_second(patient.feed(given))[5].present[row] == 3
    assert patient.shard.excluded.sum() == 0


def test_rows_that_cannot_be_summed_are_counted_by_reason() -> None:
    fleet = devices(1, 4)
    given = cycles(fleet, np.full((4, 60 * 5, 3), 500.0), clock_us=[0, 0, 0, 4_000_000])
    power = np.where(given.device == 1, np.nan, given.power_w).astype(np.float32)
    power[(given.device == 1) & (given.time_us > START_US + 3_000_000)] = 1e9
    flags = np.where(given.device == 2, Flag.TIME_ABSENT, 0).astype(np.int32)
    run = Run(fleet)
    figures = by_second(run.feed(replace(given, power_w=power, flags=flags)))
    assert figures[2].present[run.row("rack", "r0")] == 1
    counts = {reason: run.shard.excluded[REASONS.index(reason)].tolist() for reason in REASONS}
    assert counts == {LATE: [0] * 4, AHEAD: [0, 0, 0, 900], UNTIMED: [0, 0, 900, 0], UNKNOWN: [0, 900, 0, 0]}


def test_offsets_of_clocks_are_found_behind_jitter() -> None:
    fleet = devices(5, 2)
    rng = np.random.default_rng(1)
    clock_us = rng.integers(-300_000, 300_000, len(fleet))
    clock_us -= int(np.median(clock_us))
    given = cycles(fleet, np.full((len(fleet), 60 * 20, 3), 500.0), clock_us=clock_us)
    jitter = rng.exponential(20_000, len(given.time_us)).astype(np.int64)
    run = Run(fleet)
    run.feed(replace(given, received_us=given.received_us + jitter))
    assert np.abs(run.combiner.offsets_us() - clock_us).max() < 1_000


def test_a_clock_that_is_wrong_is_left_alone() -> None:
    fleet = devices(1, 3)
    run = Run(fleet, Fleet(correct_clocks=True, max_offset_s=0.5))
    figures = by_second(run.feed(cycles(fleet, np.full((3, 480, 3), 500.0), clock_us=[0, 0, -1_900_000])))
    assert figures[4].present[run.row("rack", "r0")] == 2
    assert run.combiner.offsets_us()[2] == pytest.approx(-1_900_000, abs=10)


def test_a_fleet_of_which_all_clocks_are_wrong_alike_is_summed_all_the_same() -> None:
    fleet = devices(1, 2)
    run = Run(fleet)
    run.feed(cycles(fleet, np.full((2, 480, 3), 500.0), clock_us=-37_000_000))
    middle = run.figures[3]
    assert (middle.second, middle.present[0]) == (START_S - 37 + 3, 2)


def shards(fleet: tuple[Device, ...], count: int) -> list[tuple[Device, ...]]:
    """The devices of whole racks."""
    racks = list(dict.fromkeys(device.rack for device in fleet))
    return [tuple(d for d in fleet if racks.index(d.rack) % count == shard) for shard in range(count)]


def parts_of(fleet: tuple[Device, ...], given: Cycles) -> list[Sums]:
    shard = FleetShard(fleet, STREAMS, HZ, Fleet())
    shard.push(given.batch())
    return shard.advance(START_US + 30_000_000)


@settings(max_examples=10, deadline=None)
@given(count=st.integers(2, 5), seed=st.integers(0, 1000))
def test_parts_of_a_fleet_combine_to_exactly_the_whole(count: int, seed: int) -> None:
    fleet = devices(7, 3)
    rng = np.random.default_rng(seed)
    given = cycles(fleet, rng.uniform(-500, 9000, (21, 240, 3)), begins(21, seed))
    given = given.at(rng.random(len(given.time_us)) > 0.02)  # frames are lost
    whole = {part.second: part for part in parts_of(fleet, given)}
    split = [{part.second: part for part in parts_of(part, given)} for part in shards(fleet, count)]
    for second in range(START_S, START_S + 4):
        told = whole[second]
        made = sums.combined([part[second] for part in split], told.places)
        for name in set(sums.SUMMED) - {"energy"}:
            assert np.array_equal(getattr(told, name), getattr(made, name)), name
        assert np.array_equal(energy(told), energy(made))
    with pytest.raises(ValueError, match="one second"):
        sums.combined([split[0][START_S], split[0][START_S + 1]], whole[START_S].places)


def energy(part: Sums) -> NDArray[np.object_]:
    return part.energy[:, 0].astype(object) * sums.ENERGY_SPLIT + part.energy[:, 1].astype(object)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), every_s=st.sampled_from([0.05, 0.3, 1.0]))
def test_it_does_not_matter_how_often_rows_are_handed_on(seed: int, every_s: float) -> None:
    fleet = devices(3, 2)
    rng = np.random.default_rng(seed)
    given = cycles(fleet, rng.uniform(0, 9000, (6, 240, 3)), begins(6, seed), delay_us=rng.integers(0, 400_000, 6))
    usual, other = Run(fleet).feed(given), Run(fleet).feed(given, every_s)
    for told, again in zip(usual, other, strict=False):
        for name in ("second", "present", "power_w", "peak_w", "trough_w", "total_energy_j", "coincidence", "coverage"):
            assert np.array_equal(getattr(told, name), getattr(again, name), equal_nan=True), name


def test_what_is_added_up_the_topology_adds_up() -> None:
    fleet = devices(12, 2)
    power_w = recorded(len(fleet))
    run = Run(fleet)
    told = by_second(run.feed(cycles(fleet, power_w, begins(len(fleet)))))[4]
    places = run.shard.membership.places

    def total(level: str, phase: str) -> float:
        rows = [index for index, place in enumerate(places) if place.level == level and place.phase == phase]
        return float(told.energy_j[rows].sum())

    for phase in ("A", "B", "C", "all"):
        assert total("rack", phase) == pytest.approx(total("site", phase), rel=1e-12)
        assert total("row", phase) == pytest.approx(total("feed", phase), rel=1e-12)
    assert sum(total("site", phase) for phase in "ABC") == pytest.approx(total("site", "all"), rel=1e-12)


def test_phases_follow_the_devices_map_and_channels_add_up_where_told() -> None:
    swapped = Device("x", "tcp://x:1", rack="r", phases=("C", "A", ""), channels=("a",))
    usual = Device("y", "tcp://y:1", rack="r")
    power_w = np.tile(np.array([100.0, 200.0, 400.0]), (2, 240, 1))
    run = Run((swapped, usual))
    told = by_second(run.feed(cycles((swapped, usual), power_w)))[2]
    rows = {phase: run.row("rack", "r", phase) for phase in ("A", "B", "C", "all")}
    assert {phase: told.power_w[row] for phase, row in rows.items()} == {
        "A": 300.0,
        "B": 200.0,
        "C": 500.0,
        "all": 1000.0,
    }
    assert {phase: told.members[row] for phase, row in rows.items()} == {"A": 2, "B": 1, "C": 2, "all": 2}


def test_imbalance_and_ratings() -> None:
    fleet = devices(1, 2, breaker_a=30.0)
    power_w = np.tile(np.array([277.0, 277.0, 4 * 277.0]), (2, 240, 1))
    run = Run(fleet, breakers=(Breaker("row", "row0", 100.0),))
    told = by_second(run.feed(cycles(fleet, power_w)))[2]
    assert told.imbalance[run.row("rack", "r0")] == pytest.approx(1.0)  # 2, 2, 8 A about a mean of 4 A
    assert np.isnan(told.imbalance[run.row("rack", "r0", "A")])
    assert told.headroom_a[run.row("rack", "r0", "C")] == pytest.approx(48.0 - 8.0)
    assert told.headroom_a[run.row("row", "row0", "C")] == pytest.approx(80.0 - 8.0)
    assert np.isnan(told.current_a[run.row("rack", "r0")])  # currents of three phases make no one current


def test_what_is_given_back_is_counted_apart() -> None:
    """A second at 900 W, two at -450.5 W, and one at 900 W again; of a phase."""
    fleet = devices(1, 1)
    power_w = np.repeat([900.0, -450.5, -450.5, 900.0], 60)
    told = by_second(Run(fleet).feed(cycles(fleet, np.tile(power_w[None, :, None], (1, 1, 3)))))
    row = Run(fleet).row("rack", "r0", "B")
    # A cycle lasts to the start of its successor, a whole microsecond: those of a second may end one later.
    totals = np.array([told[second].total_energy_j[row] for second in range(4)])
    assert totals == pytest.approx(np.array([[900, 0], [900, 450.5], [900, 901], [1800, 901]]), rel=1e-4)
    assert [told[second].energy_j[row] for second in range(4)] == pytest.approx([900, -450.5, -450.5, 900], rel=1e-4)


def test_the_current_of_a_second_is_the_root_of_the_mean_square() -> None:
    """Half of each second 8 A, half 32 A: that heats as 23.3 A do, not as 20."""
    fleet = devices(1, 2, breaker_a=40.0)
    power_w = np.tile(np.repeat([8 * 277.0, 32 * 277.0], 30), 4)[None, :, None].repeat(2, axis=0).repeat(3, axis=2)
    run = Run(fleet)
    told = by_second(run.feed(cycles(fleet, power_w)))[2]
    member_a = np.sqrt((8**2 + 32**2) / 2)
    row = run.row("rack", "r0", "B")
    assert told.current_a[row] == pytest.approx(2 * member_a, rel=1e-4)
    assert told.headroom_a[row] == pytest.approx(0.8 * 80 - 2 * member_a, rel=1e-3)


@pytest.mark.parametrize(("unknown", "known"), [(1, True), (29, True), (31, False), (60, False)])
def test_the_current_is_that_of_the_cycles_that_tell_one_if_they_are_half_of_the_second(
    unknown: int, known: bool
) -> None:
    fleet = devices(1, 1, breaker_a=40.0)
    rows = cycles(fleet, np.full((1, 240, 3), 10 * 277.0))
    cycle = np.rint((rows.time_us - START_US) * HZ / 1e6).astype(np.int64)
    run = Run(fleet)
    given = replace(rows, current_a=np.where(cycle % 60 < unknown, np.float32(np.nan), rows.current_a))
    told = by_second(run.feed(given))[2]
    row = run.row("rack", "r0", "B")
    assert told.current_a[row] == (pytest.approx(10, rel=1e-3) if known else pytest.approx(np.nan, nan_ok=True))
    assert told.power_w[row] == pytest.approx(2770)


def test_redundancy_is_what_one_of_two_feeds_has_left_with_the_current_of_both() -> None:
    """By hand: 3 A and 5 A on breakers of 30 A and 20 A; one feed, a device on none, a breaker that is not rated."""
    racks = [
        ("r0", "A", 30.0),
        ("r0", "B", 20.0),
        ("r1", "A", 30.0),
        ("r2", "A", 30.0),
        ("r2", "B", 30.0),
        ("r2", "", 30.0),
        ("r3", "A", 30.0),
        ("r3", "B", None),
        ("r4", "A", 30.0),
        ("r4", "B", 30.0),
    ]
    fleet = tuple(
        Device(f"d{n}", f"tcp://x:{n + 1}", rack=rack, feed=feed, breaker_a=rating)
        for n, (rack, feed, rating) in enumerate(racks)
    )
    amperes = np.array([3.0, 5.0, *[1.0] * 8])
    given = cycles(fleet, np.tile((amperes * 277.0)[:, None, None], (1, 240, 3)))
    ratings = (Breaker("feed", "A", 25.0), Breaker("feed", "B", 50.0), Breaker("rack", "r4", 12.0))
    run = Run(fleet, breakers=ratings)
    told = by_second(run.feed(given))[2]
    assert told.redundancy_a[run.row("rack", "r0", "A")] == pytest.approx(0.8 * 20 - 8)  # on B, if A fails
    assert told.redundancy_a[run.row("rack", "r4", "A")] == pytest.approx(0.8 * 12 - 2)  # its own carries all of it
    assert told.redundancy_a[run.row("feed", "A", "C")] == pytest.approx(0.8 * 25 - 15)  # on A, if B fails
    assert told.redundancy_a[run.row("feed", "B", "C")] == pytest.approx(0.8 * 50 - 15)
    unknown = [("rack", "r0", "all"), ("feed", "A", "all"), *(("rack", rack, "A") for rack in ("r1", "r2", "r3"))]
    assert np.isnan([told.redundancy_a[run.row(*place)] for place in unknown]).all()
    silent = by_second(Run(fleet).feed(given.at(given.device != 0)))[2]
    assert np.isnan(silent.redundancy_a[[run.row("rack", "r0", "A"), run.row("feed", "B", "A")]]).all()


def test_devices_without_any_place_are_one_site_and_others_only_where_they_stand() -> None:
    lone = standing((Device("x", "tcp://x:1"), Device("y", "tcp://y:1")))
    assert {place[:2] for place in Run(lone).shard.membership.places} == {("site", "fleet")}
    mixed = standing((Device("x", "tcp://x:1", rack="r"), Device("y", "tcp://y:1")))
    assert {place[:2] for place in Run(mixed).shard.membership.places} == {("rack", "r")}
    assert Membership(mixed[1:], STREAMS, 60.0).places == ()  # nor do those that stand nowhere in a shard of their own


@pytest.mark.parametrize("step_s", [-200, -70, -10, -1, 1, 3, 10, 60])
def test_a_host_clock_that_is_set_costs_no_second(step_s: int) -> None:
    """The devices' clocks are right all along; the host's is set right after 70 s."""
    fleet = devices(1, 2)
    intake = ShardIntake(FleetShard(fleet, STREAMS, HZ, Fleet()), {}, 0.0)
    told, number = {}, 0
    for second in range(160):
        off_us = -step_s * 1_000_000 if second < 70 else 0
        rows = cycles(fleet, np.full((2, 60, 3), 500.0), START_US + second * 1_000_000, delay_us=3_000 + off_us)
        for part in np.array_split(np.argsort(rows.time_us, kind="stable"), 4):
            now_us = int(rows.received_us[part].max())
            now_s = (now_us - off_us - START_US) / 1e6
            intake.push("p", 1, number, 0, rows_to_bytes(rows.at(part).batch()), now_us)
            number += 1
            told |= {each.sums.second: each.sums for each in intake.advance(now_s, now_us)}
    assert intake.shard.excluded.sum() == 0
    assert set(range(START_S + 2, START_S + 150)) <= told.keys()


def test_a_member_is_in_a_slot_of_which_its_cycles_cover_half() -> None:
    membership = Membership(devices(1, 1), STREAMS, HZ)
    covered = np.array([[SLOT // 2, SLOT // 2 - 1, SLOT]] * 3)
    cells = Cells(START_S, covered, covered * 5_000, np.zeros((3, 2), np.int64), np.zeros(3, bool))
    members = sums.of_members(membership, cells)
    assert members.present.tolist() == [[1, 0, 1]] * 4
    assert members.power_mw.tolist() == [[5_000, 0, 5_000]] * 3 + [[15_000, 0, 15_000]]


def test_where_no_current_flows_there_is_no_imbalance() -> None:
    fleet = devices(1, 2)
    run = Run(fleet)
    told = by_second(run.feed(cycles(fleet, np.zeros((2, 240, 3)))))[2]
    assert told.current_a[run.row("rack", "r0", "A")] == 0.0
    assert np.isnan(told.imbalance[run.row("rack", "r0")])


def test_power_is_told_to_the_nearest_milliwatt() -> None:
    fleet = devices(1, 2)
    run = Run(fleet)
    told = by_second(run.feed(cycles(fleet, np.full((2, 240, 3), 0.0017))))[2]
    assert told.power_w[run.row("rack", "r0", "A")] == 0.004


def test_power_that_is_impossible_is_in_no_sum_whichever_way_it_flows() -> None:
    fleet = devices(1, 1)
    shard = FleetShard(fleet, STREAMS, HZ, Fleet())
    shard.push(cycles(fleet, np.array([[[-1e9, 1e9, 1.0]]])).batch())
    assert shard.excluded[REASONS.index(UNKNOWN)].tolist() == [2]


def test_the_peak_of_a_place_where_nobody_is_heard_is_unknown() -> None:
    fleet = devices(2, 1)
    given = cycles(fleet, np.full((2, 240, 3), 1000.0))
    run = Run(fleet)
    told = by_second(run.feed(given.at(given.device == 0)))[2]
    assert np.isnan(told.peak_w[run.row("rack", "r1")]).all()


@pytest.mark.parametrize(("phases", "there"), [(("A", "", ""), ("A", "all")), (("", "", ""), ())])
def test_a_stream_that_is_no_phase_is_in_no_place(phases: tuple[str, ...], there: tuple[str, ...]) -> None:
    fleet = (Device("x", "tcp://x:1", rack="r", phases=phases),)
    run = Run(fleet)
    assert run.shard.membership.places == tuple(("rack", "r", phase) for phase in there)
    assert run.shard.membership.series_keys == ((("x", STREAMS[0]),) if there else ())


def test_a_rack_with_a_device_on_no_known_feed_has_no_redundancy() -> None:
    fleet = devices(1, 2, breaker_a=20.0)
    places = Membership(fleet, STREAMS, HZ).places
    row = places.index(("rack", "r0", "A"))
    assert Ratings.of(places, fleet, ()).one_feed_a[row] == 20.0
    assert np.isnan(Ratings.of(places, (fleet[0], replace(fleet[1], feed="")), ()).one_feed_a[row])


def test_delays_of_several_stretches_in_one_push_are_all_known_and_of_old_ones_none() -> None:
    clocks = Clocks(2)
    minute_us = BUCKETS * BUCKET_US
    both, times_us = np.array([0, 1]), np.array([START_US, START_US + BUCKET_US])
    clocks.push(both, times_us, times_us + np.array([5_000, 7_000]))
    assert clocks.delays_us().tolist() == [5_000, 7_000]
    later_us = times_us[:1] + minute_us
    clocks.push(both[:1], later_us, later_us + 9_000)
    clocks.push(both[:1], times_us[:1], times_us[:1] + 1)  # more than a minute old
    assert clocks.delays_us().tolist() == [9_000, 7_000]


def shard_intake(counted: Counted, power_w: float = 500.0) -> tuple[ShardIntake, list[bytes]]:
    """An intake of one device, and its cycles of four seconds, in a batch a second."""
    fleet = devices(1, 1)
    given = cycles(fleet, np.full((1, 240, 3), power_w))
    batches = [rows_to_bytes(given.at((given.time_us - START_US) // 1_000_000 == n).batch()) for n in range(4)]
    return ShardIntake(FleetShard(fleet, STREAMS, HZ, Fleet()), counted, 0.0), batches


def test_an_ingest_is_answered_what_is_expected_next_or_that_it_was_replaced() -> None:
    intake, batches = shard_intake({})
    assert [intake.push("p", 2, number, 0, batches[number], START_US) for number in (0, 2, 1)] == [1, 1, 2]
    assert intake.push("p", 1, 2, 0, batches[2], START_US) == FENCED
    assert intake.counted() == {"p": (2, 2)}


def test_a_shard_that_begins_anew_tells_nothing_until_its_senders_have_caught_up() -> None:
    intake, batches = shard_intake({"p": (1, 2)})
    now_us = START_US + 4_000_000
    for number in range(3):
        intake.push("p", 1, number, 0, batches[number], now_us)
        assert intake.counted() == {"p": (1, max(2, number + 1))}
        assert (intake.advance(number * 1.0, now_us) == []) is (number < 2)


def test_what_a_predecessor_has_taken_is_not_counted_as_left_out_again() -> None:
    counted, untouched = (shard_intake(known, power_w=1e9) for known in ({"p": (1, 3)}, {}))
    for intake, batches in (counted, untouched):
        for number, data in enumerate(batches):
            intake.push("p", 1, number, 0, data, START_US)
    excluded = [intake.shard.excluded[REASONS.index(UNKNOWN), 0] for intake, _ in (counted, untouched)]
    assert excluded == [180, 720]


def test_at_the_end_all_seconds_are_told_at_once() -> None:
    intake, batches = shard_intake({})
    for number, data in enumerate(batches):
        intake.push("p", 1, number, 0, data, START_US + number * 1_000_000)
    now_us = START_US + 3_500_000
    assert [part.sums.second - START_S for part in intake.advance(1.0, now_us)] == [0, 1]
    assert [part.sums.second - START_S for part in intake.finish(now_us, wait_s=1.0)] == [2, 3]


def test_delays_are_forgotten_where_the_hosts_clock_was_set_back_and_else_kept() -> None:
    intake, batches = shard_intake({})
    empty = rows_to_bytes(cycles(devices(1, 1), np.zeros((1, 1, 3))).at(slice(0, 0)).batch())
    intake.push("p", 1, 0, 0, batches[0], START_US + 1_000_000)
    intake.push("p", 1, 1, 0, empty, START_US + 1_000_000 - AHEAD_US)
    assert intake.shard.delays_us().tolist() == [3_000]
    intake.push("p", 1, 2, 0, empty, START_US - 2 * AHEAD_US)
    assert np.isnan(intake.shard.delays_us()).all()


def test_a_row_of_the_table_is_of_its_second_alone() -> None:
    fleet = devices(1, 2)
    power_w = np.full((2, 60 * 6, 3), 100.0)
    power_w[0, 130], power_w[1, 140], power_w[:, 150] = 300.0, 300.0, 50.0  # in the third second
    run = Run(fleet)
    told = by_second(run.feed(cycles(fleet, power_w)))
    rows = {second: table.rows(run.summary.places, told[second]).to_pylist() for second in (2, 4)}
    row = run.row("rack", "r0", "B")
    names = ("real_power_max_w", "real_power_min_w", "coincidence_ratio")
    assert [rows[2][row][name] for name in names] == pytest.approx([400.0, 100.0, 400 / 600], rel=1e-4)
    assert [rows[4][row][name] for name in names] == [200.0, 200.0, 1.0]
