"""A shard of the fleet: adds up its devices, and tells each second to the `FleetActor`, which combines the shards.

Its state is on the board. A restarted one tells its last seconds again, from what the ingests send again; what the
other has, it does not take twice.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from actors import board, topology
from actors.board import Applied
from actors.edge import Edge
from pipeline.core.config import Fleet, PipelineConfig
from pipeline.core.fleet import checkpoint
from pipeline.core.fleet.checkpoint import Kept
from pipeline.core.fleet.intake import ShardIntake
from pipeline.core.fleet.membership import changed_places, whole
from pipeline.core.fleet.part import Part
from pipeline.core.fleet.shard import FleetShard, slots_of
from pipeline.core.metrics import Queue

log = logging.getLogger(__name__)

OUTBOX_BYTES: Final = 32 << 20  # towards the one that combines: half a minute of five hundred racks
RETAIN_S: Final = 10.0  # for one that is restarted: its totals are two seconds old at most
SETTLE_S: Final = 5.0


def found_before(keeper: board.Keeper, config: PipelineConfig) -> Kept:
    """What a process before us left; nothing at the start, or if it has another grid."""
    kept = keeper.found()
    if kept is None:
        return Kept()
    try:
        found = checkpoint.from_bytes(kept)
    except ValueError as error:
        log.warning("what a predecessor kept cannot be used: %s", error)
        return Kept()
    if any(part.slots != slots_of(config.nominal_hz) for part in (found.totals, found.shard) if part is not None):
        return Kept()
    log.warning("goes on where its predecessor ended")
    return found


def intake(applied: Applied, shard: int, before: Kept) -> ShardIntake:
    """Takes the rows of a shard's devices, going on from what was kept."""
    config = applied.config
    settings = config.fleet_settings or Fleet()
    made = FleetShard(applied.devices_in(shard), config.streams, config.nominal_hz, settings, before.shard)
    return ShardIntake(made, before.counted or {}, time.monotonic())


class FleetShardActor:
    """A synchronous actor: what it does, it does when it is given rows or asked."""

    def __init__(self, shard: int, config: PipelineConfig) -> None:
        self._name = topology.fleet_shard_name(shard)
        board.take_turn(self._name)
        applied = board.current(config)
        self._shard, self._config, self._settings = shard, applied.config, applied.config.fleet_settings or Fleet()
        self._keeper = board.Keeper(self._name)
        self._intake = intake(applied, shard, found_before(self._keeper, config))
        epoch = board.starts(self._name).count
        self._edge = Edge(topology.FLEET, "combine", self._name, epoch, OUTBOX_BYTES, window=4, retain_s=RETAIN_S)

    def configure(self, applied: Applied) -> None:
        """Another configuration is in force; devices that it does not concern go on in the sums."""
        before, now = whole(self._config), whole(applied.config)
        self._config, self._settings = applied.config, applied.config.fleet_settings or Fleet()
        self._intake.shard.carry(applied.devices_in(self._shard), self._settings, changed_places(before, now))

    def push(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Take a batch of rows if it is the next one; answers the number expected next, or that it was replaced."""
        expected = self._intake.push(producer, epoch, number, oldest, data, time.time_ns() // 1000)
        self._advance()
        return expected

    def keep_time(self, fleet_delay_us: float) -> None:
        """The fleet's time, which is that of the median device of all shards."""
        self._intake.shard.keep_time(fleet_delay_us)
        self._advance()

    def queue(self) -> Queue:
        """What waits to be combined."""
        self._advance()
        return self._edge.queue(self._name)

    def stop(self) -> None:
        """Tell the seconds that are still waited for, the present one too."""
        self._tell(self._intake.finish(time.time_ns() // 1000, self._settings.wait_s))
        self._edge.settle(SETTLE_S)

    def health(self) -> dict[str, Any]:
        """Who answers."""
        return topology.identity()

    def _advance(self) -> None:
        self._tell(self._intake.advance(time.monotonic(), time.time_ns() // 1000))
        self._edge.pump()

    def _tell(self, parts: list[Part]) -> None:
        for part in parts:
            self._edge.offer(part.to_bytes())
        if parts and self._keeper.due:
            kept = Kept(shard=self._intake.shard.state(), counted=self._intake.counted())
            self._keeper.keep(checkpoint.to_bytes(kept))
