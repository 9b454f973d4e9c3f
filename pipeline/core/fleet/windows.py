"""Greatest and least values of the last second, minute and quarter of an hour, exactly: one value a second is kept.

All windows end now, so of a window only those values matter that no later one exceeds: they are few, and what outlives
a process.

Must not know: what the rows are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.core.fleet.concentrator import Ints
from pipeline.core.fleet.membership import carried

WINDOWS_S: Final = (1, 60, 900)
NONE: Final = np.iinfo(np.int64).min  # no value


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """What of a window still matters: values with their second, row and members, each of shape (records,)."""

    second: Ints
    row: Ints
    value: Ints
    members: Ints

    @staticmethod
    def none() -> Records:
        """Of a window of which nothing is known."""
        return Records(*np.zeros((4, 0), np.int64))

    @staticmethod
    def joined(parts: list[Records]) -> Records:
        """All of several."""
        names = Records.__slots__
        return Records(*(np.concatenate([getattr(part, n) for part in [Records.none(), *parts]]) for n in names))


class Greatest:
    """The greatest value of each row in each window. Mutators: `push` and `carry`.

    Args:
        before: the records of a predecessor, which ended with the second `closed`.
    """

    def __init__(self, rows: int, before: Records | None = None, closed: int | None = None) -> None:
        self._values = np.full((WINDOWS_S[-1], rows), NONE, np.int64)
        self._second = closed
        if before is not None:
            self._values[before.second % len(self._values), before.row] = before.value

    def records(self) -> Records:
        """What a successor goes on from."""
        best = np.full(self._values.shape[1], NONE, np.int64)
        found = []
        for second, index in _backwards(self._second, len(self._values)):
            values = self._values[index]
            row = np.flatnonzero(values > best)
            if len(row):
                best[row] = values[row]
                found.append(Records(np.full(len(row), second), row, values[row], np.zeros(len(row), np.int64)))
        return Records.joined(found)

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

    Args:
        before: the records of a predecessor, which ended with the second `closed`.
    """

    def __init__(self, rows: int, before: Records | None = None, closed: int | None = None) -> None:
        self._values = np.zeros((WINDOWS_S[-1], rows), np.int64)
        self._members = np.zeros((WINDOWS_S[-1], rows), np.int64)
        self._second = closed
        if before is not None:
            index = before.second % len(self._values)
            self._values[index, before.row], self._members[index, before.row] = before.value, before.members

    def records(self) -> Records:
        """What a successor goes on from."""
        most, least = np.zeros((2, self._values.shape[1]), np.int64)
        found = []
        for second, index in _backwards(self._second, len(self._values)):
            values, members = self._values[index], self._members[index]
            row = np.flatnonzero((members > most) | ((members == most) & (members > 0) & (values < least)))
            if len(row):
                most[row], least[row] = members[row], values[row]
                found.append(Records(np.full(len(row), second), row, values[row], members[row]))
        return Records.joined(found)

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


def _backwards(second: int | None, length: int) -> Iterator[tuple[int, int]]:
    """The seconds of a ring from the newest on, and where they stand."""
    for age in range(length if second is not None else 0):
        yield (second or 0) - age, ((second or 0) - age) % length


def _recent(second: int, window: int) -> slice | Ints:
    """Where the last so many seconds stand."""
    longest = WINDOWS_S[-1]
    return slice(None) if window == longest else np.arange(second - window + 1, second + 1) % longest


def _clear(ring: Ints, before: int | None, second: int, value: int) -> None:
    """Forget the seconds between, of which nothing came."""
    if before is not None:
        skipped = np.arange(max(before + 1, second - len(ring) + 1), second)
        ring[skipped % len(ring)] = value
