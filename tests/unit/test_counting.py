"""Counts by device: what is cut, what stands in all, what is given back."""

from __future__ import annotations

import numpy as np

from pipeline.core.counting import Counting
from pipeline.core.model import Tally, total

DEVICES = ("a", "b", "c")


def count(counting: Counting, *received: int, **rare: Tally) -> None:
    """So many messages of each device, one of each dropped where it is among `rare`, three rows a message."""
    there = np.array(received)
    delivered = there - np.array([total([rare.get(name, Tally())]).dropped.get("empty", 0) for name in DEVICES])
    counting.add(there, delivered, 3 * delivered, list(rare.items()))


def test_a_cut_holds_what_came_since_the_last_one_and_totals_hold_all() -> None:
    counting = Counting(DEVICES, {"a": Tally(10, 10, 30, missing=1), "gone": Tally(5, 5, 15)})
    count(counting, 2, 0, 1, c=Tally(dropped={"empty": 1}))
    count(counting, 3, 0, 0, a=Tally(missing=4))
    since = {"a": Tally(5, 5, 15, missing=4), "c": Tally(1, 0, 0, dropped={"empty": 1})}
    assert counting.totals == {"a": Tally(15, 15, 45, missing=5), "b": Tally(), "c": since["c"]}
    assert counting.cut() == since
    assert counting.cut() == {}
    count(counting, 0, 1, 0)
    assert counting.cut() == {"b": Tally(1, 1, 3)}
    assert counting.totals == {"a": Tally(15, 15, 45, missing=5), "b": Tally(1, 1, 3), "c": since["c"]}
    assert counting.counted == total([*since.values(), Tally(1, 1, 3)])


def test_what_waits_counts_with_the_next_cut() -> None:
    counting = Counting(DEVICES, {"a": Tally(10, 10, 30)})
    count(counting, 5, 1, 1, c=Tally(dropped={"empty": 1}))
    assert counting.unusual == {"c"}
    assert counting.cut(np.array([[2, 1, 0], [2, 1, 0], [6, 3, 0]])) == {
        "a": Tally(3, 3, 9),
        "c": Tally(1, 0, 0, dropped={"empty": 1}),
    }
    assert counting.unusual == frozenset()
    assert (counting.totals_cut["a"], counting.totals["a"]) == (Tally(13, 13, 39), Tally(15, 15, 45))
    assert counting.counted == Tally(7, 6, 18, dropped={"empty": 1})
    assert counting.cut() == {"a": Tally(2, 2, 6), "b": Tally(1, 1, 3)}
    assert counting.totals_cut == counting.totals


def test_what_only_happened_is_cut_too() -> None:
    counting = Counting(DEVICES, {})
    counting.add(*np.zeros((3, 3), np.int64), [("b", Tally(resets=1)), ("b", Tally(missing=2))])
    assert counting.cut() == {"b": Tally(missing=2, resets=1)}


def test_what_is_given_back_counts_once_with_the_next_cut_and_otherwise() -> None:
    counting = Counting(DEVICES, {})
    count(counting, 4, 1, 0, a=Tally(missing=2))
    cut = counting.cut()
    count(counting, 1, 0, 0)
    refused = {name: tally + Tally(delivered=-tally.delivered, rows=-tally.rows) for name, tally in cut.items()}
    counting.give_back(cut, refused)
    wanted = {"a": Tally(5, 1, 3, missing=2), "b": Tally(1, 0, 0)}
    assert counting.totals == {**wanted, "c": Tally()}
    assert counting.counted == total(wanted.values())
    assert counting.cut() == wanted
    assert counting.cut() == {}
    assert counting.totals == {**wanted, "c": Tally()}


def test_what_others_see_meanwhile_is_not_changed() -> None:
    counting = Counting(DEVICES, {})
    count(counting, 1, 1, 1)
    before = counting.totals
    count(counting, 1, 1, 1)
    counting.cut()
    assert before == dict.fromkeys(DEVICES, Tally(1, 1, 3))


def test_totals_and_the_newest_arrival_in_them_belong_together() -> None:
    counting = Counting(DEVICES, {"a": Tally(10, 10, 30)})
    assert counting.totals_until[1] == dict.fromkeys(DEVICES, 0)
    one = np.ones(len(DEVICES), np.int64)
    counting.add(one, one, 3 * one, arrived_us={0: 500})
    counting.cut()
    counting.add(one, one, 3 * one, arrived_us={1: 700})
    counting.give_back({"a": Tally(1, 1, 3)}, {"a": Tally(1, dropped={"outbox_full": 1})})
    totals, until_us = counting.totals_until
    assert totals["a"].received == 12
    assert (until_us[DEVICES[0]], until_us[DEVICES[1]]) == (500, 700)
