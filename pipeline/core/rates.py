"""Messages a second of each device, by when they arrived: the same whenever one looks, and whatever waits meanwhile.

Must not know: clocks (arrivals come in, microseconds since the epoch), who counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

OFF: Final = 0.03  # of the rate that is configured: no mains is so far off, and 50 Hz is a sixth off 60
OFF_FOR_US: Final = 10_000_000
MOST: Final = 3  # devices that are named


@dataclass(frozen=True, slots=True)
class _Count:
    received: int
    until_us: int  # the newest arrival among them
    rate_hz: float | None


class Rates:
    """`look` is its only mutator."""

    def __init__(self) -> None:
        self._last: dict[str, _Count] = {}

    def look(self, device: str, received: int, until_us: int, heard_us: int, now_us: int) -> float | None:
        """The rate of a device since what was counted last; None before two looks, and where its count began anew.

        While nothing new is counted it is the last one, and less the longer the device has been quiet.

        Args:
            received: messages counted, and `until_us` the newest arrival among them.
            heard_us: its newest arrival, which may not be counted yet.
            now_us: by the same clock, when all this stood so.
        """
        last = self._last.get(device)
        rate_hz = None
        if last is not None and 0 < last.until_us <= until_us and received >= last.received:
            if until_us > last.until_us:
                rate_hz = 1e6 * (received - last.received) / (until_us - last.until_us)
            elif last.rate_hz is not None:
                rate_hz = min(last.rate_hz, 1e6 / max(1, now_us - heard_us))
        self._last[device] = _Count(received, until_us, rate_hz)
        return rate_hz


class OffRates:
    """Devices that are heard at another rate than the one that is configured. `look` is its only mutator.

    The energy of a device without times or sequence numbers of its own is counted by the rate that is configured.
    """

    def __init__(self) -> None:
        self._since_us: dict[str, int] = {}

    def look(self, rates_hz: Mapping[str, float | None], hz_of: Callable[[str], float], now_us: int) -> list[str]:
        """What is to be said of those that have been so for a while; `rates_hz`: None of one that is silent."""
        off = {name for name, hz in rates_hz.items() if hz is not None and abs(hz - hz_of(name)) > OFF * hz_of(name)}
        self._since_us = {name: self._since_us.get(name, now_us) for name in sorted(off)}
        long = [name for name, since_us in self._since_us.items() if now_us - since_us >= OFF_FOR_US]
        said = [
            f"{name} is heard {rates_hz[name]:.1f} times a second, and {hz_of(name):g} are configured:"
            " is its 'mains_hz' right, or are messages lost?"
            for name in long[:MOST]
        ]
        return said + ([f"and {len(long) - MOST} devices more have another rate"] if len(long) > MOST else [])
