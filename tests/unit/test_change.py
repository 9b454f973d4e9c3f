"""What a new configuration changes in a running pipeline, and how several stores look like one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.core.balance import joined
from pipeline.core.change import FIXED, Change, change, fixed_changes, same_link
from pipeline.core.config import Device, Fleet, Metrics, PipelineConfig
from pipeline.core.model import Tally

DEVICES = tuple(Device(f"d{n}", f"tcp://x:{n + 1}") for n in range(4))
CONFIG = PipelineConfig(DEVICES, "postgresql://u:secret@h/d", 5)


def test_devices_by_what_becomes_of_them() -> None:
    elsewhere = replace(DEVICES[1], endpoint="tcp://y:9")
    after = replace(CONFIG, devices=(DEVICES[0], elsewhere, DEVICES[3], Device("new", "tcp://z:1")), run_us=9)
    found = change(
        CONFIG,
        {"ingest-0": ("d0", "d1"), "ingest-1": ("d2", "d3")},
        after,
        {"ingest-0": ("d0", "d1"), "ingest-2": ("d3", "new")},
    )
    assert found == Change(added=("new",), removed=("d2",), moved=("d3",), changed=("d1",))
    assert str(found) == "added new; removed d2; moved d3; changed d1"
    assert not same_link(DEVICES[1], elsewhere)
    assert same_link(DEVICES[1], replace(DEVICES[1], rack="r1"))


def test_nothing_is_nothing() -> None:
    found = change(CONFIG, {}, replace(CONFIG, run_us=9), {})
    assert not found
    assert str(found) == "nothing changed"


def test_many_names_are_not_all_said() -> None:
    assert str(Change(added=tuple("abcdefgh"))) == "added a, b, c, d, e and 3 more"


def test_what_cannot_change_is_named_without_its_value() -> None:
    after = replace(CONFIG, dsn="postgresql://u:other@h/d", store_shards=2, devices=DEVICES[:1], devices_per_actor=3)
    assert fixed_changes(CONFIG, after) == ("dsn", "store_shards")
    assert fixed_changes(CONFIG, replace(CONFIG, grafana_url="https://g", run_us=7)) == ()
    assert fixed_changes(CONFIG, replace(CONFIG, fleet=Fleet(wait_s=2.0), token="another")) == ()
    assert fixed_changes(CONFIG, replace(CONFIG, metrics=Metrics(compatible=False))) == ()
    for part, fixed in (("fleet", Fleet(shards=2, flush_s=0.5, percentile_s=60)), ("metrics", Metrics(hold_s=90))):
        refused = fixed_changes(CONFIG, replace(CONFIG, **{part: fixed}))
        assert refused == tuple(f"{part}.{name}" for name in FIXED[part])
    assert change(CONFIG, {}, replace(CONFIG, devices_per_actor=3), {}).settings == ("devices_per_actor",)


def test_of_several_views_of_an_account_the_fullest_counts() -> None:
    stores = [
        {
            "accounts": {("a", 1): Tally(10, 9), ("b", 1): Tally(3, 3)},
            "spooled": {("a", 1): Tally(1, 1)},
            "waiting": 2,
            "up": True,
            "error": None,
            "newest_us": 70,
        },
        {
            "accounts": {("a", 1): Tally(8, 8), ("b", 1): Tally(5, 5), ("c", 1): Tally(1, 1)},
            "spooled": {("b", 1): Tally(2, 2)},
            "waiting": 1,
            "up": False,
            "error": "gone",
            "newest_us": 50,
        },
        {"accounts": None, "spooled": {}, "waiting": 0, "up": True, "error": None, "newest_us": 0},
    ]
    assert joined(stores) == {
        "accounts": {("a", 1): Tally(10, 9), ("b", 1): Tally(5, 5), ("c", 1): Tally(1, 1)},
        "spooled": {("a", 1): Tally(1, 1), ("b", 1): Tally(2, 2)},
        "waiting": 3,
        "up": False,
        "error": "gone",
        "newest_us": 50,
    }
    assert joined([]) == {}
    assert joined(stores[:1]) == stores[0]


@pytest.mark.parametrize("part", ["added", "removed", "moved", "changed", "settings", "refused"])
def test_any_part_is_a_change(part: str) -> None:
    assert Change(**{part: ("x",)})


def test_settings_are_said_by_name() -> None:
    assert str(Change(added=("d4",), settings=("limits", "window_s"))) == "added d4; new limits, window_s"


@pytest.mark.parametrize("newest_us", [(50, 70), (70, 50), (0, 50), (50, 0)])
def test_of_several_stores_the_slowest_tells_how_new_the_database_is(newest_us: tuple[int, int]) -> None:
    assert joined([{"newest_us": one} for one in newest_us]) == {"newest_us": 50}
