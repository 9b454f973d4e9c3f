"""What of a fleet, or of a shard of it, outlives its process, as bytes: versioned, small (most buckets are empty), and
read by nobody else's code.

Must not know: where it is kept.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from pipeline.core.fleet.membership import Place
from pipeline.core.fleet.percentiles import BUCKETS
from pipeline.core.fleet.shard import ShardState
from pipeline.core.fleet.summary import Totals
from pipeline.core.fleet.windows import Records

VERSION: Final = 3
_WINDOWS: Final = ("peaks", "troughs")

Counted = dict[str, tuple[int, int]]  # by producer: epoch, and the number from which on rows were not taken yet


@dataclass(frozen=True, slots=True)
class Kept:
    """`totals` of whoever combines, `shard` and `counted`, the batches of rows that were taken, of whoever has rows."""

    totals: Totals | None = None
    shard: ShardState | None = None
    counted: Counted | None = None


def to_bytes(kept: Kept) -> bytes:
    """As one byte string."""
    head: dict[str, Any] = {"version": VERSION, "counted": kept.counted}
    arrays: dict[str, Any] = {}
    if (totals := kept.totals) is not None:
        head["totals"] = [totals.places, totals.closed, totals.slots, totals.period]
        where = np.flatnonzero(totals.counts)
        arrays |= {"energy": totals.energy, "where": where, "counts": totals.counts.reshape(-1)[where]}
        arrays |= {name: np.stack([getattr(getattr(totals, name), n) for n in Records.__slots__]) for name in _WINDOWS}
    if (shard := kept.shard) is not None:
        head["shard"] = [shard.closed, shard.slots, shard.devices]
        arrays["excluded"] = shard.excluded
    sink = io.BytesIO()
    np.savez(sink, head=np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays)
    return sink.getvalue()


def from_bytes(data: bytes) -> Kept:
    """All again.

    Raises:
        ValueError: not what was kept of a fleet, or by another version.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            if head["version"] != VERSION:
                raise ValueError(f"totals of version {head['version']}, this program reads {VERSION}")
            totals = shard = counted = None
            if "totals" in head:
                names, closed, slots, period = head["totals"]
                places = tuple(Place(*place) for place in names)
                counts = np.zeros((2, len(places), BUCKETS), np.int32)
                counts.reshape(-1)[arrays["where"]] = arrays["counts"]
                windows = [Records(*arrays[name]) for name in _WINDOWS]
                totals = Totals(places, closed, slots, arrays["energy"], period, counts, *windows)
            if "shard" in head:
                closed, slots, devices = head["shard"]
                shard = ShardState(closed, slots, tuple(devices), arrays["excluded"])
            if head["counted"] is not None:
                counted = {producer: (epoch, number) for producer, (epoch, number) in head["counted"].items()}
            return Kept(totals, shard, counted)
    except (OSError, KeyError, TypeError, IndexError, EOFError) as error:
        raise ValueError(f"not the totals of a fleet: {error}") from error
