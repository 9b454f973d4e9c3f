"""Messages a second of each device, by when they arrived: the same whenever one looks, and whatever waits meanwhile.

Must not know: clocks (arrivals come in, microseconds since the epoch), who counts.
"""

from __future__ import annotations

from dataclasses import dataclass


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
