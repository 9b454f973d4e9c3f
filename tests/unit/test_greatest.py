"""Counters of a restarted source are held until it has caught up."""

from __future__ import annotations

import numpy as np

from pipeline.core.greatest import Greatest, held
from pipeline.core.model import Tally


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


def test_counts_that_died_with_an_ingest_are_not_taken_back() -> None:
    shown = Tally(1000, 880, 2640, missing=5, reordered=2, resets=1, dropped={"malformed": 120})
    successor = Tally(1010, 905, 2715, missing=6, dropped={"malformed": 100, "duplicate": 5})
    after = held(shown, successor)
    assert (after.received, after.delivered) == (1010, 905)
    assert after.dropped == {"malformed": 120, "duplicate": 5}
    assert (after.reordered, after.resets) == (2, 1)
    assert after.missing + after.reordered == 7
    assert held(after, Tally(2000, 1700, missing=20, reordered=4, resets=2, dropped={"malformed": 300})) == Tally(
        2000, 1700, missing=20, reordered=4, resets=2, dropped={"malformed": 300, "duplicate": 5}
    )
