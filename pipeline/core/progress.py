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
            for key, course in courses(rows):
                for position in course:
                    _move(self.positions[product], key, position)
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
    """Move positions to what came after: a device may have begun its numbers anew, and its clock may be set back."""
    for key, position in newer.items():
        _move(known, key, position)


def _move(known: dict[Key, Position], key: Key, position: Position) -> None:
    before = known.get(key)
    if before is None or not position.is_behind(before):
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


def courses(rows: pa.RecordBatch) -> Iterator[tuple[Key, list[Position]]]:
    """Of each stream of a batch the positions to go through, of its rows that carry a sequence, in their order.

    Where the numbers only grow, as nearly always, the last one is enough.
    """
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
    falls = np.append(False, (sequence[1:] <= sequence[:-1]) & (code[1:] == code[:-1]))
    grows = ~np.logical_or.reduceat(falls, starts)
    places = zip(code[starts].tolist(), grows.tolist(), sequence[last].tolist(), time_us[last].tolist(), strict=True)
    for at, (key, only_grows, *ends) in enumerate(places):
        course = [Position(*ends)]
        if not only_grows:
            whole = slice(starts[at], last[at] + 1)
            course = [Position(*row) for row in zip(sequence[whole].tolist(), time_us[whole].tolist(), strict=True)]
        yield (devices[key // len(streams)], streams[key % len(streams)]), course
