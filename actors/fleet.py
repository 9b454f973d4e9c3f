"""The fleet: adds up what all devices draw, cycle by cycle, along the topology.

It answers the Prometheus writer, and writes each second to the store, where a second that is written again replaces
itself. Its totals are on the board: a restarted one goes on with them, and the ingests send again what they retain,
which has the seconds that were told since.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from actors import board, topology
from actors.board import Applied
from actors.edge import Edge
from pipeline.core.config import Fleet, PipelineConfig
from pipeline.core.delivery import FENCED, Inbox, furthest
from pipeline.core.envelope import rows_from_bytes, rows_to_bytes
from pipeline.core.fleet import checkpoint, table
from pipeline.core.fleet.checkpoint import Counted
from pipeline.core.fleet.membership import ratings_a
from pipeline.core.fleet.shard import FleetShard, slots_of
from pipeline.core.fleet.summary import FleetSummary, Totals
from pipeline.core.fleet.told import Told
from pipeline.core.metrics import Queue
from pipeline.core.retention import is_retained

log = logging.getLogger(__name__)

ADVANCE_S: Final = 0.2  # how often it looks whether a second is complete
OUTBOX_BYTES: Final = 32 << 20  # towards the store: half an hour of fifty racks while the database is away
SETTLE_S: Final = 5.0
CATCH_UP_S: Final = 10.0  # a restarted one waits so long for what the ingests send again, before it tells a second
CAUGHT_UP_US: Final = 1_500_000


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What the Prometheus writer gets."""

    told: Told | None
    queue: Queue


class FleetActor:
    """A synchronous actor: what it does, it does when it is given rows or asked."""

    def __init__(self, config: PipelineConfig) -> None:
        board.take_turn(topology.FLEET)
        config = board.current(config).config
        self._keeper = board.Keeper(topology.FLEET)
        self._settings = config.fleet_settings or Fleet()
        totals, self._counted = self._kept(config)
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
        self._unwritten_s = 0
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
        """The figures of the newest second."""
        self._advance()
        edge = self._store
        queue = Queue(topology.FLEET, edge.target, edge.outbox.nbytes, OUTBOX_BYTES, edge.calls, edge.failures)
        return FleetReport(self._newest, queue)

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
            lost = self._store.offer(rows_to_bytes(table.rows(self._summary.places, figures)))
            self._unwritten_s += len(lost)
            self._newest = Told(
                self._summary.places,
                self._summary.ratings_a,
                figures,
                self._summary.quantiles_w(),
                now_us,
                self._shard.membership.devices,
                self._shard.offsets_us(),
                self._shard.excluded.copy(),
                self._unwritten_s,
            )
            if self._keeper.due:
                self._keep()

    def _keep(self) -> None:
        """While what the predecessor had is sent again, the inbox stands behind it."""
        counted = furthest(self._counted, self._inbox.positions())
        self._keeper.keep(checkpoint.to_bytes(self._summary.totals(), counted))

    def _kept(self, config: PipelineConfig) -> tuple[Totals | None, Counted]:
        """What a process before us left; nothing at the start, or if it has another grid."""
        kept = self._keeper.found()
        if kept is None:
            return None, {}
        try:
            totals, counted = checkpoint.from_bytes(kept)
        except ValueError as error:
            log.warning("the totals of a predecessor cannot be used: %s", error)
            return None, {}
        if totals.slots != slots_of(config.nominal_hz) or not totals.closed:
            return None, {}
        log.warning("goes on with the totals of its predecessor")
        return totals, counted
