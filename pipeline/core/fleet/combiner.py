"""Makes one fleet of the parts that its shards tell, second by second.

A second is told once all shards have told it. One that is not heard of for long is not waited for any more, until it is
heard of again: its devices are then missing in the sums, as the members present say, and never counted as 0.

Must not know: rows, actors, clocks (`now_s` comes in, monotonic seconds).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

import numpy as np

from pipeline.core.fleet.clocks import fleet_delay_us
from pipeline.core.fleet.membership import Membership, carried, origins
from pipeline.core.fleet.part import Part
from pipeline.core.fleet.ratings import Floats
from pipeline.core.fleet.shard import REASONS
from pipeline.core.fleet.sums import Sums, combined

MOST_SECONDS: Final = 60  # that wait for a shard; no shard has more of them open


class Combiner:
    """Mutators: `push`, `advance` and `carry`.

    Args:
        membership: of the whole fleet.
        shards: the numbers of those that have devices.
        wait_s: how long a shard may be silent until it is not waited for.
        closed: the last second that a predecessor told.
    """

    def __init__(
        self, membership: Membership, shards: Collection[int], wait_s: float, now_s: float, closed: int | None = None
    ) -> None:
        self._membership, self._wait_s = membership, wait_s
        self._heard_s = dict.fromkeys(shards, now_s)
        self._told: dict[int, int] = {}  # the newest second of each shard
        self._waiting: dict[int, dict[int, Sums]] = {}  # by second and shard
        self._closed = closed
        self._delays_us = np.full(len(membership.devices), np.nan)
        self.excluded = np.zeros((len(REASONS), len(membership.devices)), np.int64)
        self.missed_s = dict.fromkeys(sorted(shards), 0)  # seconds that were told while a shard's part was to come

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the fleet, in the order of what is told of them."""
        return self._membership.devices

    def push(self, shard: int, part: Part, now_s: float) -> None:
        """Take in a second of a shard, the first time that it comes; each shard tells its seconds in order."""
        if shard not in self._heard_s:
            return
        second = part.sums.second
        self._heard_s[shard] = now_s
        self._told[shard] = max(second, self._told.get(shard, second))
        if self._closed is None or second > self._closed:
            self._waiting.setdefault(second, {}).setdefault(shard, part.sums)
        origin = origins(self.devices, part.devices)
        mine, theirs = np.flatnonzero(origin >= 0), origin[origin >= 0]
        self._delays_us[mine] = part.delays_us[theirs]
        self.excluded[:, mine] = part.excluded[:, theirs]

    def advance(self, now_s: float, at_once: bool = False) -> list[Sums]:
        """The seconds of which nothing more is waited for, in order; `at_once`: all there are."""
        awaited = [shard for shard, heard_s in self._heard_s.items() if now_s - heard_s <= self._wait_s]
        found = []
        for second in sorted(self._waiting):
            whole = all(self._told.get(shard, second - 1) >= second for shard in awaited)
            if not (whole or at_once or len(self._waiting) > MOST_SECONDS):
                break
            found.append(self._one(list(self._waiting.pop(second).values())))
            self._closed = second
            for shard, told in self._told.items():
                self.missed_s[shard] += told < second
        return found

    def carry(self, membership: Membership, shards: Collection[int], wait_s: float, now_s: float) -> None:
        """From now on for these devices, in these shards."""
        origin = origins(membership.devices, self.devices)
        self._delays_us = carried(self._delays_us, origin, np.nan)
        self.excluded = carried(self.excluded, origin, 0)
        self._heard_s = {shard: self._heard_s.get(shard, now_s) for shard in shards}
        self._told = {shard: second for shard, second in self._told.items() if shard in self._heard_s}
        self.missed_s = {shard: self.missed_s.get(shard, 0) for shard in sorted(shards)}
        self._membership, self._wait_s = membership, wait_s

    def fleet_delay_us(self) -> float:
        """The delay of the median device of all, by which the shards keep time."""
        return fleet_delay_us(self._delays_us)

    def offsets_us(self) -> Floats:
        """How far each device's clock is ahead of the fleet's, in their order; NaN where unknown."""
        return self.fleet_delay_us() - self._delays_us

    def _one(self, parts: list[Sums]) -> Sums:
        """The members are those of the whole fleet, also of shards that have told nothing."""
        sums = combined(parts, self._membership.places)
        known = sums.members >= self._membership.counts  # else the peaks of some members are not among theirs
        return replace(
            sums,
            members=np.maximum(sums.members, self._membership.counts),
            peaks_mw=np.where(known[:, None], sums.peaks_mw, 0),
        )
