"""The fleet: adds up what all devices draw, cycle by cycle, along the topology.

It answers the Prometheus writer, and writes each second to the store, where a second that is written again replaces
itself. A restarted one goes on with the totals that the Prometheus writer keeps for it: the ingests send again what
they retain, which has the seconds that were not told yet.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import ray

from actors import board, topology
from actors.board import Applied
from actors.edge import Edge
from pipeline.core.config import Fleet, PipelineConfig
from pipeline.core.delivery import FENCED, Inbox
from pipeline.core.envelope import rows_from_bytes, rows_to_bytes
from pipeline.core.fleet import checkpoint, table
from pipeline.core.fleet.membership import ratings_a
from pipeline.core.fleet.shard import FleetShard, slots_of
from pipeline.core.fleet.summary import FleetSummary, Totals
from pipeline.core.fleet.told import Told
from pipeline.core.metrics import Queue
from pipeline.core.retention import is_retained

log = logging.getLogger(__name__)

ASK_S: Final = 2.0
ADVANCE_S: Final = 0.2  # how often it looks whether a second is complete
OUTBOX_BYTES: Final = 32 << 20  # towards the store: half an hour of fifty racks while the database is away
SETTLE_S: Final = 5.0
CATCH_UP_S: Final = 10.0  # a restarted one waits so long for what the ingests send again, before it tells a second
CAUGHT_UP_US: Final = 1_500_000


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What the Prometheus writer gets: the figures, and what a successor needs."""

    told: Told | None
    totals: bytes
    counted: dict[str, tuple[int, int]]  # by producer: epoch, and the number from which on rows were not taken yet
    queue: Queue
    unwritten: int  # seconds that were dropped because the database was away for too long


class FleetActor:
    """A synchronous actor: what it does, it does when it is given rows or asked."""

    def __init__(self, config: PipelineConfig) -> None:
        board.take_turn(topology.FLEET)
        config = board.current(config).config
        before = self._predecessor()
        self._counted = before.counted if before else {}
        self._settings = config.fleet_settings or Fleet()
        totals = self._totals(before, config)
        self._shard = FleetShard(
            config.devices, config.streams, config.nominal_hz, self._settings, totals.closed if totals else None
        )
        places, slots = self._shard.membership.places, self._shard.slots
        ratings = ratings_a(places, config.devices, config.breakers)
        self._summary = FleetSummary(places, slots, ratings, self._settings.percentile_s, totals)
        self._behind = set(self._counted)  # producers that have not sent again yet what we had when we died
        self._catch_up_until_s = time.monotonic() + CATCH_UP_S
        self._inbox = Inbox()
        epoch = time.time_ns() // 1000
        self._store = Edge(topology.STORE, "write_fleet", topology.FLEET, epoch, OUTBOX_BYTES, window=2)
        self._newest: Told | None = None
        self._next_s = 0.0
        self._unwritten = 0
        self._batches = 0

    def configure(self, applied: Applied) -> None:
        """Another configuration is in force; devices that it does not concern go on in the sums."""
        config = applied.config
        self._settings = config.fleet_settings or Fleet()
        self._shard.carry(config.devices, self._settings)
        places = self._shard.membership.places
        self._summary.carry(places, ratings_a(places, config.devices, config.breakers))

    def push(self, producer: str, epoch: int, number: int, after: int, oldest: int, data: bytes) -> int:
        """Take a batch of rows if it is the next one; answers the number expected next, or that it was replaced."""
        if self._inbox.replaced(producer, epoch):
            return FENCED
        if self._inbox.accept(producer, epoch, number, after, oldest):
            counted_epoch, counted_below = self._counted.get(producer, (-1, 0))
            rows = rows_from_bytes(data)
            again = is_retained(rows) or (epoch, number) < (counted_epoch, counted_below)
            self._shard.push(rows, again)
            newest_us = int(rows.column("received").view(pa.int64()).to_numpy().max(initial=0))
            if newest_us > time.time_ns() // 1000 - CAUGHT_UP_US:
                self._behind.discard(producer)
            self._batches += 1
        self._advance()
        return self._inbox.expected(producer)

    def report(self) -> FleetReport:
        """The figures of the newest second, and what a successor goes on from."""
        self._advance()
        edge = self._store
        queue = Queue(topology.FLEET, edge.target, edge.outbox.nbytes, OUTBOX_BYTES, edge.calls, edge.failures)
        totals = checkpoint.to_bytes(self._summary.totals())
        return FleetReport(self._newest, totals, self._counted | self._inbox.positions(), queue, self._unwritten)

    def stop(self) -> None:
        """Tell the seconds that are still waited for, the present one too, and hand them to the store."""
        self._tell(time.time_ns() // 1000 + int(self._settings.wait_s * 1e6) + 1_000_000)
        deadline_s = time.monotonic() + SETTLE_S
        while not self._store.settled and time.monotonic() < deadline_s:
            self._store.pump()
            time.sleep(0.005)

    def health(self) -> dict[str, Any]:
        """Who answers."""
        return topology.identity()

    def stats(self) -> dict[str, int]:
        """Counters since the last restart."""
        return {"batches": self._batches}

    def _advance(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s and (not self._behind or now_s > self._catch_up_until_s):
            self._next_s = now_s + ADVANCE_S
            self._tell(time.time_ns() // 1000)
        self._store.pump()

    def _tell(self, now_us: int) -> None:
        for sums in self._shard.advance(now_us):
            figures = self._summary.push(sums)
            self._newest = Told(
                self._summary.places,
                self._summary.ratings_a,
                figures,
                self._summary.quantiles_w(),
                now_us,
                self._shard.membership.devices,
                self._shard.offsets_us(),
                self._shard.excluded.copy(),
            )
            rows = rows_to_bytes(table.rows(self._summary.places, figures))
            self._unwritten += len(self._store.offer(rows))

    @staticmethod
    def _predecessor() -> FleetReport | None:
        """The last report of this actor's previous process; None at the start, or if nobody has it."""
        try:
            asked = topology.find(topology.EXPORTER).last_answer.remote(topology.FLEET)
            report: FleetReport | None = ray.get(asked, timeout=ASK_S)
        except (ValueError, ray.exceptions.RayError):
            return None
        if report is not None:
            log.warning("goes on with the totals of its predecessor")
        return report

    @staticmethod
    def _totals(before: FleetReport | None, config: PipelineConfig) -> Totals | None:
        """The totals to go on from; None where there are none, or of another grid."""
        if before is None:
            return None
        try:
            totals = checkpoint.from_bytes(before.totals)
            return totals if totals.slots == slots_of(config.nominal_hz) and totals.closed else None
        except ValueError as error:
            log.warning("the totals of a predecessor cannot be used: %s", error)
            return None
