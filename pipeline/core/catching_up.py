"""A receiver that begins anew, until its senders have sent again what its predecessor had taken and not kept.

Meanwhile it stands behind what that one told, and tells nothing itself.

Must not know: what is received, clocks (`now_us` and the monotonic `now_s` come in).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pyarrow as pa

LONGEST_S: Final = 10.0  # a sender that is gone sends nothing again
CAUGHT_UP_US: Final = 1_500_000  # rows that arrived no longer ago are new


class CatchingUp:
    """`heard` is its only mutator.

    Args:
        producers: those that the predecessor had heard.
    """

    def __init__(self, producers: Iterable[str], now_s: float) -> None:
        self._behind = set(producers)
        self._until_s = now_s + LONGEST_S

    def heard(self, producer: str, rows: pa.RecordBatch, now_us: int) -> None:
        """A producer has sent rows; new ones come after all that it sends again."""
        if producer in self._behind:
            newest_us = int(rows.column("received").view(pa.int64()).to_numpy().max(initial=0))
            if newest_us > now_us - CAUGHT_UP_US:
                self._behind.discard(producer)

    def over(self, now_s: float) -> bool:
        """Whether everything is there again, or was waited for long enough."""
        return not self._behind or now_s >= self._until_s
