"""How far the streams have come, and what was counted of each device, by the batches that a receiver was given.

Must not know: where batches are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.core.continuity import Position
from pipeline.core.keys import Key, by_series, starts_of
from pipeline.core.model import Batch, Tally


class Progress:
    """Keeps the newest position of each stream and the newest totals of each device. Mutators: `note` and `take`."""

    def __init__(self) -> None:
        self.positions: dict[str, dict[Key, Position]] = {"cycle": {}, "spectrum": {}}
        self.totals: dict[str, Tally] = {}

    def note(self, batch: Batch) -> None:
        """A batch was given; those of a producer come in order."""
        for product, rows in (("cycle", batch.cycles), ("spectrum", batch.spectra)):
            for newer in ends(rows):
                advance(self.positions[product], newer)
        furthest(self.totals, batch.totals)

    def take(self, positions: Mapping[str, Mapping[Key, Position]], totals: Mapping[str, Tally]) -> None:
        """What batches told that were given."""
        for product, newer in positions.items():
            advance(self.positions[product], newer)
        furthest(self.totals, totals)

    def of(self, devices: Iterable[str]) -> tuple[dict[str, dict[Key, Position]], dict[str, Tally]]:
        """The positions and totals of some devices."""
        wanted = set(devices)
        positions = {
            product: {key: position for key, position in list(known.items()) if key[0] in wanted}
            for product, known in self.positions.items()
        }
        return positions, {name: tally for name, tally in list(self.totals.items()) if name in wanted}


def advance(known: dict[Key, Position], newer: Mapping[Key, Position]) -> None:
    """Move positions forward: to a later time, or to a greater number (a device's clock may have been set back)."""
    for key, position in newer.items():
        before = known.get(key)
        if before is None or position.time_us > before.time_us or position.sequence > before.sequence:
            known[key] = position


def furthest(known: dict[str, Tally], other: Mapping[str, Tally]) -> None:
    """Keep of each device the totals that have counted more."""
    for device, tally in other.items():
        if device not in known or tally.received >= known[device].received:
            known[device] = tally


def held(before: Tally, now: Tally) -> Tally:
    """A device's counts, none that is shown lower than before: what an ingest had not handed on dies with it."""
    reordered = max(before.reordered, now.reordered)
    return replace(
        now,
        missing=max(before.missing + before.reordered, now.missing + now.reordered) - reordered,
        reordered=reordered,
        resets=max(before.resets, now.resets),
        dropped={
            reason: max(before.dropped.get(reason, 0), now.dropped.get(reason, 0))
            for reason in sorted({*before.dropped, *now.dropped})
        },
    )


def ends(rows: pa.RecordBatch) -> Iterator[dict[Key, Position]]:
    """Of each stream of a batch, of its rows that carry a sequence: the one of the latest time, then the last one."""
    numbered = np.flatnonzero(rows.column("sequence").is_valid().to_numpy(zero_copy_only=False))
    if len(numbered) == 0:
        return
    devices, streams = (rows.column(kind).dictionary.to_pylist() for kind in ("device", "stream"))
    device, stream = (rows.column(kind).indices.to_numpy()[numbered].astype(np.int64) for kind in ("device", "stream"))
    code = device * len(streams) + stream
    sequence = rows.column("sequence").fill_null(0).to_numpy()[numbered]
    time_us = rows.column("time").view(pa.int64()).to_numpy()[numbered]
    order = by_series(code)
    code, sequence, time_us = code[order], sequence[order], time_us[order]
    starts = starts_of(code)
    last = np.append(starts[1:], len(code)) - 1
    latest_us = np.maximum.reduceat(time_us, starts).repeat(last + 1 - starts)
    is_latest = np.flatnonzero(time_us == latest_us)
    latest = np.full(len(starts), -1)
    latest[np.searchsorted(starts, is_latest, side="right") - 1] = is_latest  # of equals the last one
    for at in (latest[latest != last], last):  # nearly always they are the same rows
        yield {
            (devices[key // len(streams)], streams[key % len(streams)]): Position(number, moment)
            for key, number, moment in zip(code[at].tolist(), sequence[at].tolist(), time_us[at].tolist(), strict=True)
        }
