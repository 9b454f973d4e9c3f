"""Who hosts which device, and who has to move when that changes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.core.assignment import assign, shard_of


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
