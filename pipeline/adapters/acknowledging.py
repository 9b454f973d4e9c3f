"""Accepts batches in order, and acknowledges each once it is kept; one that could not be kept is expected again.

Must not know: Ray, what a batch is, where it is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future

from pipeline.core.delivery import FENCED, Inbox


class Acknowledging:
    """The receiver's half of an edge whose batches take a while to be kept. All in one event loop."""

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._last: dict[str, Future[None]] = {}  # by producer

    def refuse(self, producer: str, now_us: int) -> int:
        """Take nothing of a producer any more, until it begins with a later epoch than the one that is answered."""
        epoch, _ = self._inbox.positions().get(producer, (0, 0))
        refused = max(now_us, epoch + 1)  # the clock may have been set back
        self._inbox.begin(producer, refused)
        return refused

    def begin(self, producer: str, epoch: int) -> None:
        """A new incarnation of a producer; calls of older ones are refused."""
        self._inbox.begin(producer, epoch)

    async def settle(self, producer: str, seconds: float) -> None:
        """Wait for what a producer has handed over, but so long at most."""
        if producer in self._last:
            await asyncio.wait([asyncio.wrap_future(self._last[producer])], timeout=seconds)

    async def keep(
        self, producer: str, epoch: int, number: int, oldest: int, hand_in: Callable[[], Future[None]]
    ) -> int:
        """Hand in a batch if it is the next one.

        Returns:
            Once it is kept, the number expected next, or that the sender was replaced.

        Raises:
            Exception: what kept it from being kept.
        """
        if self._inbox.replaced(producer, epoch):
            return FENCED
        accepted = self._inbox.accept(producer, epoch, number, oldest)
        expected = self._inbox.expected(producer)
        mine: Future[None] | None = None
        try:
            if accepted:
                mine = self._last[producer] = hand_in()
            if producer in self._last:  # the answer acknowledges everything before `expected`
                await asyncio.shield(asyncio.wrap_future(self._last[producer]))
        except Exception:
            if accepted:
                self._inbox.give_back(producer, epoch, number)
                if self._last.get(producer) is mine:
                    self._last.pop(producer, None)
            raise
        return min(expected, self._inbox.expected(producer))  # less, where a batch before could not be kept
