"""The aggregator of a phase channel: keeps statistics and energy, and answers with a summary when asked.

Every two seconds it keeps a checkpoint on the board. A restarted aggregator goes on from it, whatever died with it: the
ingests send again what they retain, which fills the windows; the energy of what the checkpoint knows is not counted
twice.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from actors import board, topology
from pipeline.core.aggregation import ChannelAggregator, Checkpoint, Summary
from pipeline.core.checkpoint import Counted, from_bytes, to_bytes
from pipeline.core.config import PipelineConfig
from pipeline.core.delays import Counts, Delays
from pipeline.core.delivery import FENCED, Inbox, furthest
from pipeline.core.envelope import rows_from_bytes
from pipeline.core.retention import Border, is_retained

log = logging.getLogger(__name__)


CATCH_UP_S: Final = 10.0  # how long a restarted one waits for what the ingests send again, before it tells anything
CAUGHT_UP_US: Final = 1_500_000
_NOTHING: tuple[Checkpoint | None, Counted] = (None, {})


@dataclass(frozen=True, slots=True)
class _Resumption:
    """An epoch of a producer that began: where its streams stood then, and whether we had heard it before."""

    border: Border
    empty: bool


class PhaseAggregatorActor:
    """One per channel, a or b, and shard."""

    def __init__(self, name: str, channel: str, config: PipelineConfig) -> None:
        board.take_turn(name)
        self._keeper = board.Keeper(name)
        self._config, self._run_us = config, config.run_us
        self._hz: dict[str, float] = {}  # by device
        kept = self._keeper.found()
        checkpoint, self._counted = (kept and from_bytes(kept, config.run_us)) or _NOTHING
        if checkpoint is not None:
            log.warning("%s goes on with the energy counters of its predecessor", name)
        self._aggregator = ChannelAggregator(
            channel,
            config.streams,
            int(config.window_s * 1e6),
            int(config.metrics.hold_s * 1e6),
            self._nominal_hz,
            checkpoint,
        )
        self._inbox = Inbox()
        self._resumptions: dict[str, _Resumption] = {}  # by producer
        self._behind = set(self._counted)  # producers that have not sent again yet what the checkpoint does not know
        self._catch_up_until_s = time.monotonic() + CATCH_UP_S
        self._batches = 0
        self._delays = Delays()

    def push(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Take a batch of rows if it is the next one; answers the number expected next, or that it was replaced."""
        if self._inbox.replaced(producer, epoch):
            return FENCED
        known = self._inbox.positions().get(producer)
        if self._inbox.accept(producer, epoch, number, oldest):
            if known is None or known[0] != epoch:
                self._resumptions[producer] = _Resumption(Border(self._aggregator.positions()), known is None)
            rows = rows_from_bytes(data)
            self._take(producer, rows, self._is_counted(producer, epoch, number))
            self._batches += 1
            if self._behind and _newest_us(rows) > time.time_ns() // 1000 - CAUGHT_UP_US:
                self._behind.discard(producer)
            self._delays.add(time.time_ns() // 1000 - rows.column("time").view(pa.int64()).to_numpy())
            if self._keeper.due:
                self._keep()
        return self._inbox.expected(producer)

    def _is_counted(self, producer: str, epoch: int, number: int) -> bool:
        """Whether the checkpoint that we began with knows the energy of a batch."""
        counted_epoch, counted_below = self._counted.get(producer, (-1, 0))
        return epoch < counted_epoch or (epoch == counted_epoch and number < counted_below)

    def _take(self, producer: str, rows: pa.RecordBatch, counted: bool) -> None:
        if counted or not is_retained(rows):
            self._aggregator.push(rows, counted)
            return
        # A successor sends what it has retained: what we know of it only fills windows that are empty.
        resumption = self._resumptions[producer]
        following = pa.array(resumption.border.following(rows))
        if resumption.empty:
            self._aggregator.push(rows.filter(pc.invert(following)), counted=True)
        self._aggregator.push(rows.filter(following))

    def report(self) -> Summary | None:
        """The figures as they stand; None while they stand behind those that our predecessor told."""
        if self._behind and time.monotonic() < self._catch_up_until_s:
            return None
        return self._aggregator.summary()

    def health(self) -> dict[str, Any]:
        """Who answers."""
        return topology.identity()

    def stats(self) -> dict[str, int]:
        """Counters since the last restart."""
        return {"batches": self._batches}

    def delays(self) -> Counts:
        """From a row's time until it counted here."""
        return self._delays.counts

    def _nominal_hz(self, device: str) -> float:
        """Frames a second of a device; asked for once, when it is first heard."""
        if device not in self._hz:
            config = board.current(self._config).config
            self._hz = {one.name: config.hz_of(one) for one in config.devices}
        return self._hz.get(device, self._config.nominal_hz)

    def _keep(self) -> None:
        counted = furthest(self._counted, self._inbox.positions())
        self._keeper.keep(to_bytes(self._aggregator.checkpoint(), counted, self._run_us))


def _newest_us(rows: pa.RecordBatch) -> int:
    return int(rows.column("received").view(pa.int64()).to_numpy().max(initial=0))
