"""Greatest and least values of the last second, minute and quarter of an hour, exactly: one value a second is kept.

Must not know: what the rows are.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pipeline.core.fleet.concentrator import Ints
from pipeline.core.fleet.membership import carried

WINDOWS_S: Final = (1, 60, 900)
NONE: Final = np.iinfo(np.int64).min  # no value


class Greatest:
    """The greatest value of each row in each window. Mutators: `push` and `carry`."""

    def __init__(self, rows: int) -> None:
        self._values = np.full((WINDOWS_S[-1], rows), NONE, np.int64)
        self._second: int | None = None

    def push(self, second: int, values: Ints) -> Ints:
        """Take in a second's values, `NONE` where there is none. Answers shape (rows, windows)."""
        _clear(self._values, self._second, second, NONE)
        self._values[second % len(self._values)] = values
        self._second = second
        return _greatest(self._values, second)

    def since(self, first: Ints) -> Ints:
        """As `push` answered, but of the seconds from `first` on, a second for each row."""
        if self._second is None:
            return np.full((len(first), len(WINDOWS_S)), NONE, np.int64)
        longest = len(self._values)
        seconds = self._second - (self._second - np.arange(longest)) % longest
        return _greatest(np.where(seconds[:, None] >= first, self._values, NONE), self._second)

    def carry(self, origin: Ints) -> None:
        """From now on for other rows: `origin` says where each was among those before."""
        self._values = carried(self._values, origin, NONE)


class LeastOfMost:
    """The least value of each row in each window, among the seconds that had the most members.

    A sum that lacks a member is too small: it must not pass for a trough of those that have all. Mutators: `push` and
    `carry`.
    """

    def __init__(self, rows: int) -> None:
        self._values = np.zeros((WINDOWS_S[-1], rows), np.int64)
        self._members = np.zeros((WINDOWS_S[-1], rows), np.int64)
        self._second: int | None = None

    def push(self, second: int, values: Ints, members: Ints) -> Ints:
        """Take in a second's least values and their members. Answers shape (rows, windows), `NONE` without members."""
        _clear(self._members, self._second, second, 0)
        self._values[second % len(self._values)] = values
        self._members[second % len(self._members)] = members
        self._second = second
        least = []
        for window in WINDOWS_S:
            recent = _recent(second, window)
            count = self._members[recent]
            most = count.max(axis=0)
            found = np.where(count == most, self._values[recent], np.iinfo(np.int64).max).min(axis=0)
            least.append(np.where(most > 0, found, NONE))
        return np.stack(least, axis=1)

    def carry(self, origin: Ints) -> None:
        """From now on for other rows: `origin` says where each was among those before."""
        self._values, self._members = (carried(ring, origin, 0) for ring in (self._values, self._members))


def _greatest(ring: Ints, second: int) -> Ints:
    return np.stack([ring[_recent(second, window)].max(axis=0) for window in WINDOWS_S], axis=1)


def _recent(second: int, window: int) -> slice | Ints:
    """Where the last so many seconds stand."""
    longest = WINDOWS_S[-1]
    return slice(None) if window == longest else np.arange(second - window + 1, second + 1) % longest


def _clear(ring: Ints, before: int | None, second: int, value: int) -> None:
    """Forget the seconds between, of which nothing came."""
    if before is not None:
        skipped = np.arange(max(before + 1, second - len(ring) + 1), second)
        ring[skipped % len(ring)] = value
