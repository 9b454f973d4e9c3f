"""When each frame of a replay is due, and which time it carries: start + n / rate, without drift.

Must not know: clocks, sockets. Times are microseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Pace:
    """Frame n is due, and stamped, at `start_us` + n / `rate_hz`. `rate_hz` includes the speed."""

    start_us: int
    rate_hz: float

    def time_us(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """The time of each frame, rounded to microseconds."""
        return self.start_us + np.rint(frames * (1e6 / self.rate_hz)).astype(np.int64)

    def due(self, now_us: int) -> int:
        """How many frames are due at `now_us`: frames 0 ... due - 1."""
        return max(0, int((now_us - self.start_us) * self.rate_hz // 1e6) + 1)

    def frame_at(self, time_us: int) -> int:
        """The frame that carries this time."""
        return round((time_us - self.start_us) * self.rate_hz / 1e6)

    def wait_s(self, frame: int, now_us: int) -> float:
        """Seconds until `frame` is due; 0 if it is."""
        return max(0.0, (self.start_us + frame * 1e6 / self.rate_hz - now_us) / 1e6)

    @staticmethod
    def resumed(sequence: int, time_us: int, rate_hz: float) -> Pace:
        """The pace of a replay of which frame `sequence` is known to have carried `time_us`."""
        return Pace(time_us - round(sequence * 1e6 / rate_hz), rate_hz)
