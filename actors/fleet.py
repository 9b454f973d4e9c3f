"""The fleet: combines what its shards add up, and tells what all devices draw, cycle by cycle, along the topology.

Where there is a single shard it takes the rows itself, without another actor between.

It answers the Prometheus writer, and writes each second to the store, where a second that is written again replaces
itself. Its totals are on the board: a restarted one goes on with them, and the ingests or shards send again what they
retain, which has the seconds that were told since.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import ray

from actors import board, topology
from actors.board import Applied
from actors.edge import Edge
from actors.fleet_shard import found_before, intake
from pipeline.core.config import Fleet, PipelineConfig
from pipeline.core.delivery import FENCED, Inbox
from pipeline.core.envelope import rows_to_bytes
from pipeline.core.fleet import checkpoint, table
from pipeline.core.fleet.checkpoint import Kept
from pipeline.core.fleet.combiner import Combiner
from pipeline.core.fleet.membership import standing, whole
from pipeline.core.fleet.part import Part
from pipeline.core.fleet.ratings import Ratings
from pipeline.core.fleet.shard import slots_of
from pipeline.core.fleet.summary import FleetSummary
from pipeline.core.fleet.sums import Sums
from pipeline.core.fleet.told import Told
from pipeline.core.metrics import Queue

OUTBOX_BYTES: Final = 32 << 20  # towards the store: half an hour of fifty racks while the database is away
SETTLE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What the Prometheus writer gets."""

    told: Told | None
    queue: Queue


class FleetActor:
    """A synchronous actor: what it does, it does when it is given rows, or parts of a second, or asked."""

    def __init__(self, config: PipelineConfig) -> None:
        board.take_turn(topology.FLEET)
        applied = board.current(config)
        config = applied.config
        self._keeper = board.Keeper(topology.FLEET)
        self._settings = config.fleet_settings or Fleet()
        kept = found_before(self._keeper, config)
        self._shards = {name: shard for shard, name in enumerate(topology.fleet_shard_names(config))}
        self._handles: dict[str, Any] = {}
        self._own = None if self._shards else intake(applied, 0, kept)
        fleet = standing(config.devices)
        membership = whole(config)
        closed = kept.totals.closed if kept.totals else None
        self._combiner = Combiner(membership, applied.shards, self._settings.shard_wait_s, time.monotonic(), closed)
        ratings = Ratings.of(membership.places, fleet, config.breakers)
        slots = slots_of(config.nominal_hz)
        self._summary = FleetSummary(membership.places, slots, ratings, self._settings.percentile_s, kept.totals)
        self._inbox = Inbox()  # of parts
        epoch = board.starts(topology.FLEET).count
        self._store = Edge(topology.STORE, "write_fleet", topology.FLEET, epoch, OUTBOX_BYTES, window=2)
        self._newest: Told | None = None
        self._unwritten_s = 0

    def configure(self, applied: Applied) -> None:
        """Another configuration is in force; devices that it does not concern go on in the sums."""
        config = applied.config
        self._settings = config.fleet_settings or Fleet()
        fleet = standing(config.devices)
        if self._own:
            self._own.shard.carry(fleet, self._settings)
        membership = whole(config)
        self._combiner.carry(membership, applied.shards, self._settings.shard_wait_s, time.monotonic())
        self._summary.carry(membership.places, Ratings.of(membership.places, fleet, config.breakers))

    def push(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Take a batch of rows if it is the next one; answers the number expected next, or that it was replaced."""
        if self._own is None:
            raise ValueError("rows are for the shards")
        expected = self._own.push(producer, epoch, number, oldest, data, time.time_ns() // 1000)
        self._advance()
        return expected

    def combine(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Take a shard's part of a second, as `push` takes rows."""
        known = self._inbox.positions().get(producer)
        if self._inbox.replaced(producer, epoch):
            return FENCED
        if known is None or known[0] < epoch:  # it began anew, and may be another actor of the same name
            self._handles.pop(producer, None)
        part = Part.from_bytes(data)  # before it is accepted: what cannot be read is sent again
        if self._inbox.accept(producer, epoch, number, oldest):
            self._combiner.push(self._shards[producer], part, time.monotonic())
        self._advance()
        return self._inbox.expected(producer)

    def report(self) -> FleetReport:
        """The figures of the newest second."""
        self._advance()
        return FleetReport(self._newest, self._store.queue(topology.FLEET))

    def stop(self) -> int:
        """Tell the seconds that are still waited for, the present one too, and hand them to the store.

        Answers how many seconds never came to be written since this process began.
        """
        now_s, now_us = time.monotonic(), time.time_ns() // 1000
        if self._own:
            self._take_own(self._own.finish(now_us, self._settings.wait_s), now_s)
        self._tell(self._combiner.advance(now_s, at_once=True))
        self._store.settle(SETTLE_S)
        return self._unwritten_s + len(self._store.outbox.waiting)

    def health(self) -> dict[str, Any]:
        """Who answers."""
        return topology.identity()

    def _advance(self) -> None:
        now_s = time.monotonic()
        if self._own:
            self._take_own(self._own.advance(now_s, time.time_ns() // 1000), now_s)
        self._tell(self._combiner.advance(now_s))
        self._store.pump()

    def _take_own(self, parts: list[Part], now_s: float) -> None:
        for part in parts:
            self._combiner.push(0, part, now_s)

    def _tell(self, seconds: list[Sums]) -> None:
        for sums in seconds:
            figures = self._summary.push(sums)
            if not self._store.offer(rows_to_bytes(table.rows(self._summary.places, figures))):
                self._unwritten_s += 1
            self._newest = Told(
                self._summary.places,
                self._summary.ratings.whole_a,
                figures,
                self._summary.quantiles_w(),
                time.time_ns() // 1000,
                self._combiner.devices,
                self._combiner.offsets_us(),
                self._combiner.excluded.copy(),
                self._unwritten_s,
                self._combiner.missed_s.copy(),
            )
        if seconds:
            self._keep_time()
            if self._keeper.due:
                self._keep()

    def _keep_time(self) -> None:
        """Tell the shards the fleet's time: nobody waits for it, and the next one comes within a second."""
        for name in self._shards:
            try:
                if name not in self._handles:
                    self._handles[name] = topology.find(name)
                self._handles[name].keep_time.remote(self._combiner.fleet_delay_us())
            except (ValueError, ray.exceptions.RayError):
                self._handles.pop(name, None)

    def _keep(self) -> None:
        own = self._own
        kept = Kept(self._summary.totals(), own.shard.state() if own else None, own.counted() if own else None)
        self._keeper.keep(checkpoint.to_bytes(kept))
