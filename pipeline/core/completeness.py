"""Which share of the frames that devices sent lately has arrived.

Must not know: clocks; one look after the other is all it is told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from pipeline.core.model import Tally

LOOKS: Final = 60  # with a look a second: the last minute


class Completeness:
    """Compares the counts of each look with those of `looks` before it."""

    def __init__(self, looks: int = LOOKS) -> None:
        self._before: deque[Mapping[str, Tally]] = deque(maxlen=looks)

    def look(self, tallies: Mapping[str, Tally]) -> dict[str, float]:
        """Received over received and missing since the oldest look, by device; none where nothing was expected."""
        self._before.append(dict(tallies))
        ratios = {}
        for device, now in tallies.items():
            since = next((look[device] for look in self._before if device in look), now)
            received, missing = now.received - since.received, max(0, now.missing - since.missing)
            if received < 0:  # its ingest was restarted and counts from 0
                received, missing = now.received, max(0, now.missing)
            if received + missing:
                ratios[device] = received / (received + missing)
        return ratios
