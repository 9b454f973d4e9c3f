"""Counters of a restarted source are held until it has caught up."""

from __future__ import annotations

import numpy as np

from pipeline.core.counters import Added, Greatest


def test_no_counter_goes_back_whatever_the_order_of_keys() -> None:
    greatest = Greatest()
    assert greatest.hold(["a", "b"], np.array([[1.0, 5.0], [2.0, 6.0]])).tolist() == [[1, 5], [2, 6]]
    assert greatest.hold(["c", "b", "a"], np.array([[0.0, 0.0], [1.0, 7.0], [np.nan, 6.0]])).tolist() == [
        [0, 0],
        [2, 7],
        [1, 6],
    ]
    assert greatest.hold(["b"], np.array([[9.0, 1.0]])).tolist() == [[9, 7]]
    assert greatest.hold([], np.empty((0, 2))).shape == (0, 2)


def test_one_figure_a_key() -> None:
    greatest = Greatest()
    assert greatest.hold([("rack", "r1")], np.array([3.0])).tolist() == [3]
    assert greatest.hold([("rack", "r1"), ("rack", "r2")], np.array([2.0, 4.0])).tolist() == [3, 4]


def test_one_that_is_gone_and_comes_back_begins_anew() -> None:
    greatest = Greatest()
    greatest.keep(["a"])
    greatest.hold(["a", "b", "c"], np.array([1.0, 2.0, 3.0]))
    greatest.keep(["c", "a"])
    assert greatest.hold(["a", "b", "c"], np.zeros(3)).tolist() == [1, 0, 3]


def test_what_began_anew_goes_on() -> None:
    added = Added()
    assert [added.add("a", count) for count in (0, 5, 7, 2, 2, 3, 0, 1)] == [0, 5, 7, 9, 9, 10, 10, 11]
    assert [added.add("b", count) for count in (1.5, 0.25)] == [1.5, 1.75]
