"""How long things take, counted in classes, so that quantiles can be told of any stretch of time at little cost.

A class is a sixteenth of an octave wide, so a quantile is told to 4.4 %.

Must not know: clocks, what is timed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

CLASSES_AN_OCTAVE: Final = 16
FIRST_US: Final = 10.0  # what is shorter counts as this
OCTAVES: Final = 25  # up to 336 s; what is longer counts as that

Counts = NDArray[np.int64]


class Delays:
    """Counts of delays. `add` is its only mutator; `counts` of two moments subtract to those of the time between."""

    def __init__(self, counts: Counts | None = None) -> None:
        self.counts: Counts = np.zeros(OCTAVES * CLASSES_AN_OCTAVE, np.int64) if counts is None else counts

    def add(self, delays_us: NDArray[np.int64]) -> None:
        """Count delays in microseconds, shape (n,)."""
        octaves = np.log2(np.maximum(delays_us, FIRST_US) / FIRST_US)
        classes = np.minimum(octaves * CLASSES_AN_OCTAVE, len(self.counts) - 1).astype(np.int64)
        self.counts = self.counts + np.bincount(classes, minlength=len(self.counts))

    def quantile_ms(self, share: float) -> float | None:
        """The delay that this share of all stays within, at most; None without any."""
        total = int(self.counts.sum())
        if total == 0:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), max(1.0, share * total)))
        return float(FIRST_US * 2.0 ** ((place + 1) / CLASSES_AN_OCTAVE) / 1e3)
