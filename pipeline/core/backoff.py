"""How long a process that keeps dying waits before it begins again.

Must not know: what the process is, clocks (seconds since the epoch come in, for they outlive the process).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

WINDOW_S: Final = 120.0  # starts longer ago are forgiven
FREE: Final = 4  # starts within the window that cost nothing: somebody's test, a node that goes
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0  # what is repaired meanwhile must not wait long


def recent(starts_s: Sequence[float], now_s: float) -> tuple[float, ...]:
    """The starts that count."""
    return tuple(start_s for start_s in starts_s if now_s - start_s < WINDOW_S)


def wait_s(starts_s: Sequence[float], now_s: float) -> float:
    """Seconds to wait after these starts, of which the last is the one under way."""
    excess = len(recent(starts_s, now_s)) - FREE
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (excess - 1)) if excess > 0 else 0.0
