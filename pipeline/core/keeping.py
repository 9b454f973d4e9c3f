"""When an ended job is started again: a rule about times alone.

Must not know: jobs, clocks.
"""

from __future__ import annotations

from typing import Final

SHORTEST_S: Final = 2.0  # a cluster that was rebuilt wants its job at once
LONGEST_S: Final = 60.0  # one that cannot run, for a wrong file say, is tried once a minute and does not flood the log
HEALTHY_S: Final = 300.0  # a job that ran for so long did not fail for what it was given


class Patience:
    """How long to wait before the next start: twice as long each time, from the beginning after a long run."""

    def __init__(self) -> None:
        self._wait_s = SHORTEST_S
        self._started_s: float | None = None

    def started(self, now_s: float) -> None:
        """The job was started."""
        self._started_s = now_s

    def ended(self, now_s: float) -> float:
        """It has ended. Answers the seconds until it should be started again."""
        if self._started_s is None or now_s - self._started_s >= HEALTHY_S:
            self._wait_s = SHORTEST_S
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, LONGEST_S)
        return wait_s
