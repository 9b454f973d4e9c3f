"""What of a fleet outlives its process, as bytes: versioned, small (most buckets are empty), and read by nobody else's
code.

Must not know: where it is kept.
"""

from __future__ import annotations

import io
import json
from typing import Final

import numpy as np

from pipeline.core.fleet.membership import Place
from pipeline.core.fleet.percentiles import BUCKETS
from pipeline.core.fleet.summary import Totals

VERSION: Final = 1


Counted = dict[str, tuple[int, int]]  # by producer: epoch, and the number from which on rows were not taken yet


def to_bytes(totals: Totals, counted: Counted) -> bytes:
    """The totals, and which batches of rows were taken, as one byte string."""
    head = {
        "version": VERSION,
        "places": totals.places,
        "closed": totals.closed,
        "slots": totals.slots,
        "period": totals.period,
        "counted": counted,
    }
    where = np.flatnonzero(totals.counts)
    sink = io.BytesIO()
    np.savez(
        sink,
        head=np.frombuffer(json.dumps(head).encode(), np.uint8),
        energy=totals.energy,
        where=where,
        counts=totals.counts.reshape(-1)[where],
    )
    return sink.getvalue()


def from_bytes(data: bytes) -> tuple[Totals, Counted]:
    """Both again.

    Raises:
        ValueError: not totals, or those of another version.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as parts:
            head = json.loads(parts["head"].tobytes())
            if head["version"] != VERSION:
                raise ValueError(f"totals of version {head['version']}, this program reads {VERSION}")
            places = tuple(Place(*place) for place in head["places"])
            counts = np.zeros((2, len(places), BUCKETS), np.int32)
            counts.reshape(-1)[parts["where"]] = parts["counts"]
            counted = {producer: (epoch, number) for producer, (epoch, number) in head["counted"].items()}
            totals = Totals(places, head["closed"], head["slots"], parts["energy"], head["period"], counts)
            return totals, counted
    except (OSError, KeyError, TypeError, IndexError, EOFError) as error:
        raise ValueError(f"not the totals of a fleet: {error}") from error
