"""Who hosts which device, and who has to move when that changes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.core.assignment import arranged, assign, divide, shard_of
from pipeline.core.config import Device, Fleet, PipelineConfig


def devices(count: int) -> list[str]:
    return [f"pdu{n}" for n in range(count)]


def test_a_first_assignment_fills_one_ingest_after_the_other() -> None:
    assert assign({}, devices(5), 2) == {
        "ingest-0": ("pdu0", "pdu1"),
        "ingest-1": ("pdu2", "pdu3"),
        "ingest-2": ("pdu4",),
    }
    assert assign({}, devices(3), 1) == {f"ingest-{n}": (f"pdu{n}",) for n in range(3)}


def test_new_devices_move_nobody() -> None:
    before = assign({}, devices(100), 32)
    after = assign(before, [*(f"new{n}" for n in range(10)), *devices(100)], 32)
    assert all(set(members) <= set(after[name]) for name, members in before.items())
    assert sorted(device for members in after.values() for device in members) == sorted(
        [*devices(100), *(f"new{n}" for n in range(10))]
    )
    assert len(after) == 4  # the last of the four had 28 free places


def test_a_device_that_goes_leaves_its_place_to_the_next() -> None:
    before = assign({}, devices(6), 2)
    after = assign(before, ["pdu0", "pdu1", "pdu2", "pdu4", "pdu5"], 2)
    assert after == {"ingest-0": ("pdu0", "pdu1"), "ingest-1": ("pdu2",), "ingest-2": ("pdu4", "pdu5")}
    again = assign(after, ["new", "pdu0", "pdu1", "pdu2", "pdu4", "pdu5"], 2)
    assert again["ingest-1"] == ("pdu2", "new")


def test_an_ingest_without_devices_goes_and_its_name_is_free() -> None:
    before = assign({}, devices(3), 1)
    assert assign(before, ["pdu0", "pdu2"], 1) == {"ingest-0": ("pdu0",), "ingest-2": ("pdu2",)}
    assert assign(before, ["pdu0", "pdu2", "new"], 1) == {
        "ingest-0": ("pdu0",),
        "ingest-2": ("pdu2",),
        "ingest-1": ("new",),
    }


def test_when_fewer_may_share_an_ingest_only_those_in_excess_move() -> None:
    assert assign({"ingest-0": tuple(devices(4))}, devices(4), 3) == {
        "ingest-0": ("pdu0", "pdu1", "pdu2"),
        "ingest-1": ("pdu3",),
    }
    larger = assign(assign({}, devices(4), 1), devices(4), 4)
    assert larger == assign({}, devices(4), 1)  # nobody has to move, so nobody does


@pytest.mark.parametrize("shards", [(4,), (4, 4), (3, 4)])
def test_devices_of_an_ingest_share_their_shards(shards: tuple[int, ...]) -> None:
    groups = assign({}, devices(200), 16, shards)
    for members in groups.values():
        assert len(members) <= 16
        for kind in shards:
            assert len({shard_of(device, kind) for device in members}) == 1
    assert sorted(device for members in groups.values() for device in members) == sorted(devices(200))
    fewer = assign({}, devices(200), 16)
    regrouped = assign(fewer, devices(200), 16, shards)
    for members in regrouped.values():
        for kind in shards:
            assert len({shard_of(device, kind) for device in members}) == 1
    assert sorted(device for members in regrouped.values() for device in members) == sorted(devices(200))


def test_a_shard_does_not_depend_on_the_process() -> None:
    program = "from pipeline.core.assignment import shard_of; print([shard_of(f'pdu{n}', 7) for n in range(50)])"
    outputs = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert outputs == {f"{[shard_of(f'pdu{n}', 7) for n in range(50)]}\n"}


def rows(rows: int, racks: int, each: int = 2) -> tuple[Device, ...]:
    """So many racks of so many devices in each row."""
    return tuple(
        Device(f"w{row}-r{rack}-{n}", f"tcp://w{row}r{rack}:{n + 1}", rack=f"w{row}-r{rack}", row=f"w{row}")
        for row in range(rows)
        for rack in range(racks)
        for n in range(each)
    )


def loads(divided: dict[str, int], shards: int) -> list[int]:
    return [list(divided.values()).count(shard) for shard in range(shards)]


@pytest.mark.parametrize("shape", [(4, 10, 2), (3, 10, 2), (1, 8, 3), (7, 3, 1)])
def test_racks_are_whole_rows_stay_together_where_balance_permits(shape: tuple[int, int, int]) -> None:
    devices = rows(*shape)
    divided = divide({}, devices, 2)
    racks = {device.rack: {divided[d.name] for d in devices if d.rack == device.rack} for device in devices}
    assert all(len(shards) == 1 for shards in racks.values())
    assert max(loads(divided, 2)) - min(loads(divided, 2)) <= shape[2]
    split = [row for row in range(shape[0]) if len({divided[d.name] for d in devices if d.row == f"w{row}"}) > 1]
    assert len(split) <= 1
    assert divided == divide({}, devices, 2)


def test_whoever_has_a_shard_keeps_it_and_a_new_device_joins_its_rack() -> None:
    before = divide({}, rows(2, 4), 2)
    new = Device("new", "tcp://new:1", rack="w1-r0", row="w1")
    other = Device("other", "tcp://other:1", rack="w9-r0", row="w9")
    after = divide(before, (new, other, *rows(2, 4)[4:]), 2)  # and two racks of the first row go
    assert all(after[name] == before[name] for name in before.keys() & after.keys())
    assert after["new"] == before["w1-r0-0"]
    assert after["other"] == before["w0-r3-0"], "where there is room"


def test_devices_without_racks_are_divided_too_and_a_single_shard_has_all() -> None:
    plain = tuple(Device(name, f"tcp://{name}:1") for name in devices(9))
    assert sorted(loads(divide({}, plain, 3), 3)) == [3, 3, 3]
    assert set(divide({}, plain, 1).values()) == {0}


def test_devices_of_an_ingest_share_their_shard_of_the_sums() -> None:
    config = PipelineConfig(rows(4, 3), "", 0, devices_per_actor=5, fleet=Fleet(shards=3), store_shards=2)
    groups, divided = arranged(config)
    for members in groups.values():
        assert len({divided[device] for device in members}) == 1
    assert sorted(device for members in groups.values() for device in members) == sorted(divided)
