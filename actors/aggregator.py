"""The aggregator of a phase channel: keeps statistics and energy, and answers with a summary when asked.

Every two seconds it keeps a checkpoint on the board. A restarted aggregator goes on from it, whatever died with it: the
ingests send again what they retain, which fills the windows; the energy of what the checkpoint knows is not counted
twice.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any, Final

from actors import board, topology
from actors.board import Applied
from pipeline.core.aggregation import ChannelAggregator, Checkpoint, Summary
from pipeline.core.channel_intake import ChannelIntake
from pipeline.core.checkpoint import Counted, from_bytes, to_bytes
from pipeline.core.config import PipelineConfig
from pipeline.core.delays import Counts

log = logging.getLogger(__name__)

_NOTHING: Final[tuple[Checkpoint | None, Counted]] = (None, {})


class PhaseAggregatorActor:
    """One per channel, a or b, and shard."""

    def __init__(self, name: str, channel: str, config: PipelineConfig) -> None:
        board.take_turn(name)
        self._keeper = board.Keeper(name)
        self._config, self._run_us = config, config.run_us
        self._hz: dict[str, float] = {}  # by device
        kept = self._keeper.found()
        checkpoint, counted = (kept and from_bytes(kept, config.run_us)) or _NOTHING
        if checkpoint is not None:
            log.warning("%s goes on with the energy counters of its predecessor", name)
        aggregator = ChannelAggregator(
            channel,
            config.streams,
            int(config.window_s * 1e6),
            int(config.metrics.hold_s * 1e6),
            self._nominal_hz,
            checkpoint,
        )
        self._intake = ChannelIntake(aggregator, counted, time.monotonic())

    def configure(self, applied: Applied) -> None:
        """Another configuration is in force: devices may have other cycles a second."""
        self._note_hz(applied.config, self._hz)
        self._intake.aggregator.rate_anew()

    def push(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Take a batch of rows if it is the next one; answers the number expected next, or that it was replaced."""
        expected = self._intake.push(producer, epoch, number, oldest, data, time.time_ns() // 1000)
        if self._keeper.due:
            checkpoint = self._intake.aggregator.checkpoint()
            self._keeper.keep(to_bytes(checkpoint, self._intake.counted(), self._run_us))
        return expected

    def report(self) -> Summary | None:
        """The figures as they stand; None while they stand behind those that our predecessor told."""
        return self._intake.summary(time.monotonic())

    def health(self) -> dict[str, Any]:
        """Who answers."""
        return topology.identity()

    def delays(self) -> Counts:
        """From a row's time until it counted here."""
        return self._intake.delays.counts

    def _nominal_hz(self, device: str) -> float:
        """Frames a second of a device. A new one may be heard before we are told of it."""
        if device not in self._hz:
            self._note_hz(board.current(self._config).config, {*self._hz, device})
        return self._hz[device]

    def _note_hz(self, config: PipelineConfig, heard: Iterable[str]) -> None:
        """By a configuration; those that were heard, and are in it no more, are asked for again all the same."""
        configured = {device.name: config.hz_of(device) for device in config.devices}
        self._hz = dict.fromkeys(heard, config.nominal_hz) | configured
