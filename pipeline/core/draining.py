"""Tells, at the end, when all that was under way has come in.

Must not know: sockets, clocks (`now_s` comes in, monotonic seconds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

QUIET_S: Final = 0.5  # nothing came for so long, so nothing is under way any more
LONGEST_S: Final = 20.0  # a device may not heed that it is no longer subscribed to
LONGEST_BEHIND_S: Final = 60.0  # while more waits than can be taken at once: it was sent before


@dataclass(slots=True)
class Draining:
    """Begins when the devices are asked to send no more. `over` is its mutator."""

    since_s: float
    quiet_since_s: float | None = None  # when a look found nothing first; what was done between looks is no quiet

    def over(self, now_s: float, arrived: bool, behind: bool) -> bool:
        """Whether it is over, after a look.

        Args:
            now_s: the time of the look.
            arrived: it found messages.
            behind: more than could be taken at once.
        """
        if arrived:
            self.quiet_since_s = None
        elif self.quiet_since_s is None:
            self.quiet_since_s = now_s
        if self.quiet_since_s is not None and now_s - self.quiet_since_s > QUIET_S:
            return True
        return now_s - self.since_s > (LONGEST_BEHIND_S if behind else LONGEST_S)
