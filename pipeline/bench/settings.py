"""What a load is.

Must not know: how it is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PACKED: Final = 250  # devices that share an ingest: 15,000 messages a second, a quarter of a core


@dataclass(frozen=True, slots=True)
class Load:
    """So many devices, each on an endpoint of its own, for so long."""

    devices: int
    seconds: float
    devices_per_actor: int = PACKED
    rate_hz: float = 60.0
    both_channels: bool = True
    store: bool = True  # into a database; else batches are counted and let go
    store_shards: int = 1  # writers to the database
