"""Counters that never go back, for those who read them.

A restarted aggregator begins from its checkpoint and is sent again what that does not know: for a moment it stands
behind what was already read (`Greatest`). Others count from 0 again (`Added`), which does not show where the counts of
several are told as one. A counter that goes back a little looks to Prometheus like one that began anew.

Must not know: what is counted.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Count = TypeVar("Count", int, float)


class Greatest:
    """The greatest value of each counter so far. Mutators: `hold` and `keep`."""

    def __init__(self) -> None:
        self._slots: dict[Hashable, int] = {}
        self._values: NDArray[np.float64] | None = None

    def hold(self, keys: Sequence[Hashable], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values, shape (keys,) or (keys, n), each at least what it was. Unknown (NaN) stays what was known."""
        if self._values is None:
            self._values = np.full((0, *values.shape[1:]), np.nan)
        slots = [self._slots.setdefault(key, len(self._slots)) for key in keys]
        missing = len(self._slots) - len(self._values)
        if missing:
            self._values = np.concatenate([self._values, np.full((missing, *values.shape[1:]), np.nan)])
        self._values[slots] = np.fmax(self._values[slots], values)
        held: NDArray[np.float64] = self._values[slots]
        return held

    def keep(self, keys: Collection[Hashable]) -> None:
        """There are these counters, and no others: one that is gone and comes back begins anew."""
        gone = self._slots.keys() - set(keys)
        if gone and self._values is not None:
            kept = {key: slot for key, slot in self._slots.items() if key not in gone}
            self._values = self._values[list(kept.values())]
            self._slots = {key: slot for slot, key in enumerate(kept)}


class Added:
    """Counts of processes that count from 0 whenever they begin. `add` is its only mutator."""

    def __init__(self) -> None:
        self._counts: dict[Hashable, tuple[float, float]] = {}  # of those that were before, and of the present one

    def add(self, key: Hashable, count: Count) -> Count:
        """The count, with those before the last ones that began anew."""
        before, last = self._counts.get(key, (0, 0))
        if count < last:
            before += last
        self._counts[key] = (before, count)
        return type(count)(before + count)
