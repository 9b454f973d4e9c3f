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


AHEAD_US: Final = 500_000  # more than a clock is put forward by slewing between two looks


class Steady:
    """The host's clock, which may be set forward: it goes on as before while the least delays are those of before.

    By arrival these are a minute old at most, and older by what the clock was set. Set back it is at once: so are they.
    """

    def __init__(self) -> None:
        self._offset_us: int | None = None
        self._ahead_s: float | None = None  # since when the clock has been ahead of ours

    def now_us(self, now_us: int, now_s: float) -> int:
        """What time it is; `now_us` by the clock, `now_s` monotonic."""
        own_us = int(now_s * 1e6)
        offset_us = now_us - own_us
        ahead_us = 0 if self._offset_us is None else offset_us - self._offset_us
        if self._offset_us is None or ahead_us <= AHEAD_US:
            self._offset_us, self._ahead_s = offset_us, None
        elif self._ahead_s is None:
            self._ahead_s = now_s
        if self._ahead_s is not None and (now_s - self._ahead_s) * 1e6 + ahead_us > BUCKETS * BUCKET_US:
            self._offset_us, self._ahead_s = offset_us, None
        return own_us + self._offset_us


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
