"""Quantiles of delays from counts."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.delays import Delays


def test_quantiles_are_told_to_a_sixteenth_of_an_octave() -> None:
    delays = Delays()
    values_us = np.random.default_rng(1).lognormal(9, 1.5, 20_000).astype(np.int64)
    for part in np.array_split(values_us, 7):
        delays.add(part)
    for share in (0.5, 0.99, 0.999, 1.0):
        told_ms, true_ms = delays.quantile_ms(share), float(np.quantile(values_us, share)) / 1e3
        assert told_ms is not None
        assert true_ms * 0.999 <= told_ms <= true_ms * 1.05


def test_counts_of_two_moments_subtract() -> None:
    delays = Delays()
    delays.add(np.array([1_000_000] * 100))
    before = delays.counts
    delays.add(np.array([2_000] * 100))
    assert Delays(delays.counts - before).quantile_ms(1.0) == pytest.approx(2.0, rel=0.05)


def test_nothing_is_unknown_and_the_impossible_stays_in_bounds() -> None:
    assert Delays().quantile_ms(0.5) is None
    delays = Delays()
    delays.add(np.array([-(10**15), 0, 10**15]))
    assert delays.counts.sum() == 3
    assert delays.quantile_ms(0.1) == pytest.approx(0.01, rel=0.05)
