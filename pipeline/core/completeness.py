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
    """Compares the counts of each look with those of `looks` before it. `look` is its only mutator."""

    def __init__(self, looks: int = LOOKS) -> None:
        self._looks = looks
        self._courses: dict[str, _Course] = {}

    def look(self, tallies: Mapping[str, Tally]) -> dict[str, float]:
        """Delivered over delivered and missing since the oldest look, by device; none where nothing was expected.

        What comes under another topic, twice or malformed is none of the frames that are waited for.
        """
        self._courses = {device: self._courses.get(device) or _Course(self._looks) for device in tallies}
        ratios = {}
        for device, now in tallies.items():
            delivered, missing = self._courses[device].grown(now)
            if delivered + missing:
                ratios[device] = delivered / (delivered + missing)
        return ratios


class _Course:
    """The counts of one device from look to look, as if its ingest, which counts from 0, had never been restarted."""

    def __init__(self, looks: int) -> None:
        self._before = Tally()  # what the ingests before this one counted
        self._last = Tally()
        self._counts: deque[tuple[int, int]] = deque(maxlen=looks + 1)

    def grown(self, now: Tally) -> tuple[int, int]:
        """Delivered and missing since the oldest look."""
        if now.received < self._last.received:
            self._before += self._last
        self._last = now
        self._counts.append((self._before.delivered + now.delivered, self._before.missing + now.missing))
        (delivered, missing), (delivered_before, missing_before) = self._counts[-1], self._counts[0]
        return max(0, delivered - delivered_before), max(0, missing - missing_before)
