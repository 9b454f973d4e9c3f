"""A per-cycle power meter: cuts waveforms into cycles and computes the figures of each. It sees only samples.

A cycle runs from one rising zero crossing of phase A's voltage to the next; the other phases are cut at the same
instants, so that a frame is one interval of time for all three. The figures are those of `core.electrical`.

Must not know: what made the waveforms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.electrical import CycleFigures, cycle_figures

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cycles:
    """Consecutive cycles of all phases. `figures` are of shape (3, n)."""

    start: Floats  # position of the first sample in samples since the meter started, shape (n,); not whole
    end: Floats
    figures: CycleFigures


class CycleMeter:
    """Gives each cycle once its end was seen. `push` is its only mutator.

    How the samples are cut into pushes does not matter.
    """

    def __init__(self) -> None:
        self._voltage_v = np.empty((3, 0))
        self._current_a = np.empty((3, 0))
        self._first = 0  # the number of the first sample that is kept

    def push(self, voltage_v: Floats, current_a: Floats) -> Cycles | None:
        """Take samples of phases A, B, C, shape (3, m), and give the cycles that they complete, if any."""
        voltage = np.concatenate((self._voltage_v, voltage_v), axis=1)
        current = np.concatenate((self._current_a, current_a), axis=1)
        bounds = rising_zero_crossings(voltage[0])
        # From the last crossing on, the samples belong to a cycle that is still open.
        kept = int(bounds[-1]) if bounds.size else 0
        first, self._first = self._first, self._first + kept
        self._voltage_v, self._current_a = voltage[:, kept:], current[:, kept:]
        if bounds.size < 2:
            return None
        return Cycles(first + bounds[:-1], first + bounds[1:], cycle_figures(voltage, current, bounds))


def rising_zero_crossings(signal: Floats) -> Floats:
    """Where the straight lines between samples cross zero upwards, as positions in samples.

    Expects noise well below the slope per sample (here 0.04 V against 2 V): it does not look for chatter.
    """
    before = np.flatnonzero((signal[:-1] < 0.0) & (signal[1:] >= 0.0))
    return np.asarray(before + signal[before] / (signal[before] - signal[before + 1]), np.float64)
