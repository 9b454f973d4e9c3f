"""Percentiles of power over a day, from counts in buckets that grow by 2 %: off by 1 % at most, whatever the load.

Counts add up, so histograms of other times or processes merge exactly. A watt and less, either way, is one bucket.

Must not know: what the power is of.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.fleet.concentrator import Ints

GROWTH: Final = 1.02  # a value is told as its bucket's geometric middle: off by at most a factor of sqrt(1.02)
DECADES: Final = 9  # from a watt to a gigawatt; beyond, the last bucket
SIDE: Final = int(np.ceil(DECADES * np.log(10) / np.log(GROWTH)))
BUCKETS: Final = 2 * SIDE + 1  # feeding back, about zero, drawing
QUANTILES: Final = (0.5, 0.95, 0.99, 0.999)


class Histograms:
    """A histogram for each row. `push` is its mutator."""

    def __init__(self, rows: int) -> None:
        self.counts = np.zeros((rows, BUCKETS), np.int32)  # two days of cycles are ten million

    def push(self, power_mw: Ints, counted: NDArray[np.bool_]) -> None:
        """Count the chosen values of each row, both of shape (rows, values)."""
        row, _ = np.nonzero(counted)
        np.add.at(self.counts, (row, bucket_of(power_mw[counted])), 1)


def bucket_of(power_mw: Ints) -> Ints:
    """The bucket of each value."""
    watts = np.abs(power_mw) / 1000.0
    distance = np.floor(np.log(np.maximum(watts, 1.0)) / np.log(GROWTH)).astype(np.int64) + 1
    distance = np.where(watts < 1.0, 0, np.minimum(distance, SIDE))
    return SIDE + np.where(power_mw < 0, -distance, distance)


def quantiles_w(counts: NDArray[np.int32]) -> NDArray[np.float64]:
    """The `QUANTILES` of each row of counts, shape (rows, quantiles); NaN for rows without any.

    The quantile q is the least value that at least a share q of all does not exceed.
    """
    below = counts.cumsum(axis=1, dtype=np.int64)
    total = below[:, -1:]
    wanted = np.ceil(np.array(QUANTILES) * total).astype(np.int64)
    bucket = np.stack([(below < wanted[:, [column]]).sum(axis=1) for column in range(len(QUANTILES))], axis=1)
    distance = np.minimum(bucket, BUCKETS - 1) - SIDE
    watts = np.sign(distance) * GROWTH ** (np.abs(distance) - 0.5)
    return np.where(total > 0, watts, np.nan)
