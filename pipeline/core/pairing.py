"""Which of two ingests that hear the same devices sends, and which stands by.

Each may err about the other, when the network between them is cut or a process hangs: then both send for a moment, and
the store's epochs see to it that only one is believed.

Must not know: how they ask each other, who stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Standing:
    """What one of a pair says of itself."""

    name: str
    sends: bool  # or is about to
    since_us: int  # from when on it has heard its devices: who has heard longer, misses less


def takes_over(own: Standing, peer: Standing | None) -> bool:
    """Whether one that stands by is to send. `peer` is None where the other one does not answer."""
    if peer is None:
        return True
    return not peer.sends and (own.since_us, own.name) < (peer.since_us, peer.name)


def sender(stats: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Of the stats of the ingests of a pair those of the one that sends: one that was replaced may not know it yet."""
    return max(stats, key=lambda one: int(one["epoch"]), default=None)
