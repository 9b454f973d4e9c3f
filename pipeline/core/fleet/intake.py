"""The rows of a shard as ingests send them: each batch counts once, whichever process of the shard took it.

Must not know: actors, clocks (`now_us` and the monotonic `now_s` come in), where its state is kept.
"""

from __future__ import annotations

from typing import Final

from pipeline.core.catching_up import CatchingUp
from pipeline.core.delivery import FENCED, Inbox, furthest
from pipeline.core.envelope import rows_from_bytes
from pipeline.core.fleet.checkpoint import Counted
from pipeline.core.fleet.clocks import AHEAD_US, Steady
from pipeline.core.fleet.part import Part
from pipeline.core.fleet.shard import FleetShard
from pipeline.core.retention import is_retained

ADVANCE_S: Final = 0.2  # how often it looks whether a second is complete


class ShardIntake:
    """Mutators: `push`, `advance`, `finish`, and those of `shard`.

    Args:
        counted: the batches that a predecessor has taken.
    """

    def __init__(self, shard: FleetShard, counted: Counted, now_s: float) -> None:
        self.shard = shard
        self._counted = counted
        self._catching_up = CatchingUp(counted, now_s)
        self._steady = Steady()
        self._next_s = now_s
        self._pushed_us = 0  # when, by the host's clock
        self._inbox = Inbox()

    def push(self, producer: str, epoch: int, number: int, oldest: int, data: bytes, now_us: int) -> int:
        """Take a batch of rows if it is the next one; answers the number expected next, or that it was replaced."""
        if self._inbox.replaced(producer, epoch):
            return FENCED
        if now_us < self._pushed_us - AHEAD_US:
            self.shard.forget_delays()
        self._pushed_us = now_us
        rows = rows_from_bytes(data)  # before it is accepted: what cannot be read is sent again
        if self._inbox.accept(producer, epoch, number, oldest):
            self.shard.push(rows, is_retained(rows) or (epoch, number) < self._counted.get(producer, (-1, 0)))
            self._catching_up.heard(producer, rows, now_us)
        return self._inbox.expected(producer)

    def advance(self, now_s: float, now_us: int) -> list[Part]:
        """The seconds that are complete."""
        if now_s < self._next_s or not self._catching_up.over(now_s):
            return []
        self._next_s = now_s + ADVANCE_S
        return self._parts(self._steady.now_us(now_us, now_s))

    def finish(self, now_us: int, wait_s: float) -> list[Part]:
        """The seconds that are still waited for, the present one too."""
        return self._parts(now_us + int(wait_s * 1e6) + 1_000_000)

    def counted(self) -> Counted:
        """The batches taken; while what the predecessor had is sent again, the inbox stands behind it."""
        return furthest(self._counted, self._inbox.positions())

    def _parts(self, now_us: int) -> list[Part]:
        shard = self.shard
        found = shard.advance(now_us)
        return [Part(s, shard.membership.devices, shard.delays_us(), shard.excluded.copy()) for s in found]
