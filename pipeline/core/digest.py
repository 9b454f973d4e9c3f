"""What some batches tell without their rows: how far the streams have come, and what was counted.

Whoever begins where batches wait on disk needs that of all of them, and their rows one after the other later on.

Must not know: where batches are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import orjson

from pipeline.core.continuity import Position
from pipeline.core.envelope import figures_of, tally_of
from pipeline.core.keys import Key
from pipeline.core.model import Account, Batch, Tally, total
from pipeline.core.progress import Progress, furthest

_PRODUCTS: Final = ("cycle", "spectrum")


@dataclass(frozen=True, slots=True)
class Digest:
    """Counts by account, positions by product and stream, and the newest totals of devices by the epoch that told."""

    tallies: dict[Account, Tally]
    positions: dict[str, dict[Key, Position]]
    totals: dict[int, dict[str, Tally]]

    @staticmethod
    def of(batches: Iterable[Batch]) -> Digest:
        """Of batches; those of a producer stand in order."""
        tallies: dict[Account, Tally] = {}
        totals: dict[int, dict[str, Tally]] = {}
        progress = Progress()
        for batch in batches:
            account = batch.account
            tallies[account] = tallies.get(account, Tally()) + total(batch.tallies.values())
            if batch.totals:
                furthest(totals.setdefault(batch.epoch, {}), batch.totals)
            progress.note(replace(batch, totals={}))
        return Digest(tallies, progress.positions, totals)

    def to_bytes(self) -> bytes:
        """As one byte string."""
        return orjson.dumps(
            {
                "tallies": [[*account, figures_of(tally)] for account, tally in self.tallies.items()],
                "positions": [
                    [[*key, position.sequence, position.time_us] for key, position in self.positions[product].items()]
                    for product in _PRODUCTS
                ],
                "totals": [
                    [epoch, device, figures_of(tally)]
                    for epoch, told in self.totals.items()
                    for device, tally in told.items()
                ],
            }
        )

    @staticmethod
    def from_bytes(data: bytes) -> Digest:
        """From what `to_bytes` made.

        Raises:
            ValueError: it is something else.
        """
        try:
            told = orjson.loads(data)
            totals: dict[int, dict[str, Tally]] = {}
            for epoch, device, figures in told["totals"]:
                totals.setdefault(epoch, {})[device] = tally_of(figures)
            return Digest(
                {(producer, epoch): tally_of(figures) for producer, epoch, figures in told["tallies"]},
                {
                    product: {(device, stream): Position(number, us) for device, stream, number, us in positions}
                    for product, positions in zip(_PRODUCTS, told["positions"], strict=True)
                },
                totals,
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a digest: {error}") from error
