"""The aggregator of a phase channel: keeps rolling statistics, and answers with a summary when asked."""

from __future__ import annotations

from actors import topology
from pipeline.core.aggregation import ChannelAggregator, Summary
from pipeline.core.config import PipelineConfig
from pipeline.core.delivery import Inbox
from pipeline.core.envelope import rows_from_bytes


class PhaseAggregatorActor:
    """One per channel, a or b. Its state is rebuilt after a restart from what the ingests retain."""

    def __init__(self, channel: str, config: PipelineConfig) -> None:
        self._aggregator = ChannelAggregator(channel, config.streams, int(config.window_s * 1e6))
        self._inbox = Inbox()
        self._batches = 0

    def push(self, producer: str, epoch: int, number: int, oldest: int, data: bytes) -> int:
        """Take a batch of rows if it is the next one; answers the number expected next."""
        if self._inbox.accept(producer, epoch, number, oldest):
            self._aggregator.push(rows_from_bytes(data))
            self._batches += 1
        return self._inbox.expected(producer)

    def summary(self) -> Summary:
        """The statistics as they stand."""
        return self._aggregator.summary()

    def health(self) -> dict[str, int]:
        """Who answers."""
        return topology.identity()

    def stats(self) -> dict[str, int]:
        """Counters since the last restart."""
        return {"batches": self._batches}
