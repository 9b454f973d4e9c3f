"""What a load is.

Must not know: how it is made.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """So many devices, each on an endpoint of its own, for so long."""

    devices: int
    seconds: float
    devices_per_actor: int = 64
    rate_hz: float = 60.0
    both_channels: bool = True
    store: bool = True  # into a database; else batches are counted and let go
