"""Tallies of a group of devices: in all, and since the last cut.

What every message adds to is counted in arrays; what is rare is added up as tallies. One thread counts, others may read
meanwhile: all is replaced at once, so that what they see belongs together.

Must not know: what is counted, when it is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.core.model import Tally, total


@dataclass(frozen=True, slots=True)
class _Counts:
    """Counts by device: received, delivered and rows, shape (3, devices), and beside them what is rare."""

    common: NDArray[np.int64]
    rare: Mapping[str, Tally]

    @staticmethod
    def none(devices: int) -> _Counts:
        return _Counts(np.zeros((3, devices), np.int64), {})

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(self.common + other.common, _added(self.rare, other.rare.items()))

    def tallies(self, devices: Sequence[str]) -> dict[str, Tally]:
        return _added(dict(zip(devices, map(Tally, *self.common.tolist()), strict=True)), self.rare.items())


@dataclass(frozen=True, slots=True)
class _State:
    """Counts up to the last cut and since, and the newest arrival of each device in them, shape (devices,)."""

    cut: _Counts
    since: _Counts
    newest_us: NDArray[np.int64]


class Counting:
    """The counts of some devices. `add`, `cut` and `give_back` are its mutators.

    Args:
        devices: their names; arrays are in this order.
        totals: what was counted of them before.
    """

    def __init__(self, devices: Sequence[str], totals: Mapping[str, Tally]) -> None:
        self._devices = tuple(devices)
        before = {name: totals[name] for name in self._devices if name in totals}
        self._before = total(before.values())
        none = _Counts.none(len(self._devices))
        self._state = _State(_Counts(none.common, before), none, np.zeros(len(self._devices), np.int64))

    def add(
        self,
        received: NDArray[np.int64],
        delivered: NDArray[np.int64],
        rows: NDArray[np.int64],
        rare: Iterable[tuple[str, Tally]] = (),
        arrived_us: Mapping[int, int] | None = None,
    ) -> None:
        """Count messages and rows of each device, shape (devices,), and what else happened to whom.

        `arrived_us`: the newest arrival, by the index of its device.
        """
        state = self._state
        newest_us = state.newest_us.copy()
        if arrived_us:
            newest_us[list(arrived_us)] = list(arrived_us.values())
        since = state.since + _Counts(np.stack([received, delivered, rows]), _added({}, rare))
        self._state = replace(state, since=since, newest_us=newest_us)

    @property
    def totals(self) -> dict[str, Tally]:
        """By device, in all."""
        return self.totals_until[0]

    @property
    def totals_until(self) -> tuple[dict[str, Tally], dict[str, int]]:
        """By device, in all; and the newest arrival that is counted in it, 0 while there is none."""
        state = self._state
        newest_us = dict(zip(self._devices, state.newest_us.tolist(), strict=True))
        return (state.cut + state.since).tallies(self._devices), newest_us

    @property
    def totals_cut(self) -> dict[str, Tally]:
        """By device, in all up to the last cut."""
        return self._state.cut.tallies(self._devices)

    @property
    def unusual(self) -> frozenset[str]:
        """The devices of which anything rare was counted since the last cut."""
        return frozenset(self._state.since.rare)

    @property
    def counted(self) -> Tally:
        """Over all devices, without what was counted before."""
        state = self._state
        both = state.cut + state.since
        counted = Tally(*both.common.sum(axis=1).tolist()) + total(both.rare.values()) - self._before
        return replace(counted, dropped={reason: count for reason, count in counted.dropped.items() if count})

    def cut(self, waiting: NDArray[np.int64] | None = None) -> dict[str, Tally]:
        """What was counted since the last cut, by device; only of those of which there is something.

        `waiting`: received, delivered and rows that count with the next cut only, shape (3, devices).
        """
        state = self._state
        since = state.since
        later = _Counts.none(len(self._devices)) if waiting is None else _Counts(waiting, {})
        counted = _Counts(since.common - later.common, since.rare)
        self._state = replace(state, cut=state.cut + counted, since=later)
        tallies = counted.tallies(self._devices).items()
        return {name: tally for name, tally in tallies if tally.received or name in since.rare}

    def give_back(self, tallies: Mapping[str, Tally], otherwise: Mapping[str, Tally]) -> None:
        """What was cut is counted anew with the next cut, and otherwise."""
        state = self._state
        taken = {name: Tally() - tally for name, tally in tallies.items()}
        nothing = np.zeros_like(state.since.common)
        cut, since = state.cut + _Counts(nothing, taken), state.since + _Counts(nothing, otherwise)
        self._state = replace(state, cut=cut, since=since)


def _added(first: Mapping[str, Tally], more: Iterable[tuple[str, Tally]]) -> dict[str, Tally]:
    """The sums by name."""
    sums = dict(first)
    for name, tally in more:
        sums[name] = sums[name] + tally if name in sums else tally
    return sums
