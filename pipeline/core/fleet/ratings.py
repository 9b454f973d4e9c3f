"""What the breakers of a place carry, and what would have to be carried should one of two feeds fail.

Must not know: currents over time, where ratings are from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.config import LEVELS, Breaker, Device
from pipeline.core.fleet.membership import ALL, Place

CONTINUOUS: Final = 0.8  # of its rating a breaker carries for hours
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """Ratings of places and phases, in A; NaN where unknown. A place's `all` has none: phases are no one current.

    `whole_a`: of the place. `one_feed_a`: what carries all of it if a feed fails: the lesser of its two feeds, or its
    own breaker if that is rated lower; of a feed its own; NaN where there are not two. `other`: the row of the other
    feed, of a place that is a feed, else -1.
    """

    whole_a: Floats
    one_feed_a: Floats
    other: NDArray[np.int64]

    @classmethod
    def of(cls, places: Sequence[Place], devices: Sequence[Device], breakers: Sequence[Breaker]) -> Ratings:
        """A place has the rating of its own breaker, else the sum of its devices'; a feed within it that of its
        devices there."""
        own: Mapping[tuple[str, str], float] = {(breaker.level, breaker.name): breaker.rating_a for breaker in breakers}
        summed: dict[Place, float] = defaultdict(float)
        by_feed: dict[Place, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for device in devices:
            for level in LEVELS:
                for phase in set(device.phases) - {""}:
                    place = Place(level, getattr(device, level), phase)
                    summed[place] += device.breaker_a or np.nan
                    by_feed[place][device.feed] += device.breaker_a or np.nan
        whole_a = np.array(
            [np.nan if p.phase == ALL else own.get((p.level, p.name), summed.get(p, np.nan)) for p in places],
            np.float64,
        )
        one_feed_a = np.full(len(places), np.nan)
        other = np.full(len(places), -1, np.int64)
        row = {place: index for index, place in enumerate(places)}
        feeds = sorted({place.name for place in places if place.level == "feed"})
        for index, place in enumerate(places):
            if place.phase != ALL and place.level != "feed" and "" not in by_feed[place] and len(by_feed[place]) == 2:
                least_a = own.get((place.level, place.name), np.inf)
                one_feed_a[index] = np.min([least_a, *by_feed[place].values()])  # NaN where either is
            elif place.phase != ALL and place.level == "feed" and len(feeds) == 2:
                other[index] = row.get(place._replace(name=next(name for name in feeds if name != place.name)), -1)
                one_feed_a[index] = whole_a[index] if other[index] >= 0 else np.nan
        return cls(whole_a, one_feed_a, other)

    def redundancy_a(self, current_a: Floats) -> Floats:
        """What one feed would have left below its continuous limit if it carried both, where both are known."""
        together_a = current_a + np.where(self.other >= 0, current_a[self.other], 0.0)
        return CONTINUOUS * self.one_feed_a - together_a
