"""The last seconds of every cycle: what is kept, and who gets what."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.live import Mark, RecentRows
from tests.rows import cycles

SECOND = 1_000_000


def rows(*messages: int, device: str = "pdu1") -> Any:
    return cycles({"device": device, "message": message} for message in messages)


def seen(recent: RecentRows, device: str, mark: Mark | None) -> tuple[Mark, list[int]]:
    following, found = recent.since(device, mark)
    assert set(found.column("device").to_pylist()) <= {device}
    return following, found.column("message").to_pylist()


def test_each_asks_on_from_where_it_stood() -> None:
    recent = RecentRows(10 * SECOND, 1 << 20, origin=7)
    assert seen(recent, "pdu1", None) == ((7, 0), [])
    recent.push(rows(0, 1), 0)
    recent.push(rows(2), 1)
    following, found = seen(recent, "pdu1", None)
    assert found == [0, 1, 2]
    recent.push(rows(3), 2)
    assert seen(recent, "pdu1", following)[1] == [3]
    assert seen(recent, "pdu1", None)[1] == [0, 1, 2, 3]


def test_a_device_gets_its_own_rows_alone() -> None:
    recent = RecentRows(10 * SECOND, 1 << 20, origin=1)
    recent.push(cycles([{"device": "pdu2", "message": 1}, {"message": 2}, {"device": "pdu2", "message": 3}]), 0)
    recent.push(rows(4), 0)
    assert seen(recent, "pdu1", None)[1] == [2, 4]
    assert seen(recent, "pdu2", None)[1] == [1, 3]
    assert seen(recent, "nobody", None)[1] == []


def test_what_is_old_goes_also_when_nothing_comes() -> None:
    recent = RecentRows(10 * SECOND, 1 << 20, origin=1)
    recent.push(rows(0), 0)
    recent.push(rows(1), 10 * SECOND)
    assert seen(recent, "pdu1", None)[1] == [0, 1]
    recent.push(rows(), 10 * SECOND + 1)
    assert seen(recent, "pdu1", None)[1] == [1]


def test_no_more_is_kept_than_the_bound() -> None:
    one = rows(0).nbytes
    recent = RecentRows(10 * SECOND, 3 * one, origin=1)
    for message in range(10):
        recent.push(rows(message), message)
    assert seen(recent, "pdu1", None)[1] == [7, 8, 9]


@pytest.mark.parametrize("pushed_before", [0, 1, 50])
def test_one_who_followed_another_sees_everything(pushed_before: int) -> None:
    before = RecentRows(10 * SECOND, 1 << 20, origin=1)
    for message in range(pushed_before):
        before.push(rows(message), 0)
    mark, _ = before.since("pdu1", None)
    after = RecentRows(10 * SECOND, 1 << 20, origin=2)
    after.push(rows(5), 0)
    assert seen(after, "pdu1", mark)[1] == [5]
