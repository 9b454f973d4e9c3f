"""How far the devices' clocks are off, from when their cycles arrive.

Of a device's delays (arrival less its own time) the least of the last minute is nearly free of queueing. What it
differs by from the fleet's median is its clock's offset, together with the difference of its way to us, which on one
site is below a millisecond. A clock that is wrong for all devices alike does not show here, and does no harm.

Must not know: what is done about it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.fleet.membership import carried

BUCKET_US: Final = 10_000_000
BUCKETS: Final = 6  # a minute: a clock drifts by milliseconds meanwhile, and quiet moments come more often
_NONE: Final = np.iinfo(np.int64).max


class Clocks:
    """The least delay of each device, over the last minute. Mutators: `push` and `carry`."""

    def __init__(self, devices: int) -> None:
        self._least = np.full((BUCKETS, devices), _NONE, np.int64)
        self._bucket = np.full(BUCKETS, -1, np.int64)

    def push(self, device: NDArray[np.int64], time_us: NDArray[np.int64], received_us: NDArray[np.int64]) -> None:
        """Take in rows whose time is the device's own."""
        if len(device) == 0:
            return
        bucket = received_us // BUCKET_US
        same = bucket.min() == bucket.max()  # nearly always
        for number in bucket[:1].tolist() if same else np.unique(bucket).tolist():
            row = number % BUCKETS
            if number < self._bucket[row]:
                continue  # more than a minute old
            if number > self._bucket[row]:
                self._bucket[row], self._least[row] = number, _NONE
            mine = bucket == number
            np.minimum.at(self._least[row], device[mine], (received_us - time_us)[mine])

    def carry(self, origin: NDArray[np.int64]) -> None:
        """From now on for other devices: `origin` says where each was among those before."""
        self._least = carried(self._least, origin, _NONE)

    def delays_us(self) -> NDArray[np.float64]:
        """The least delay of each device; NaN where none is known. Negative where its clock is ahead of ours."""
        recent = self._bucket > self._bucket.max() - BUCKETS
        least = self._least[recent].min(axis=0, initial=_NONE)
        return np.where(least == _NONE, np.nan, least.astype(np.float64))


def fleet_delay_us(delays_us: NDArray[np.float64]) -> float:
    """The median of the devices' delays; 0 where none is known."""
    known = delays_us[np.isfinite(delays_us)]
    return float(np.median(known)) if len(known) else 0.0
