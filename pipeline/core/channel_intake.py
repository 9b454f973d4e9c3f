"""The rows of a channel as ingests send them: energy counts once, whichever process of the aggregator took them.

Must not know: actors, clocks (`now_us` and the monotonic `now_s` come in), where its state is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.aggregation import ChannelAggregator, Summary
from pipeline.core.catching_up import CatchingUp
from pipeline.core.checkpoint import Counted
from pipeline.core.delays import Delays
from pipeline.core.delivery import FENCED, Inbox, furthest
from pipeline.core.envelope import rows_from_bytes
from pipeline.core.retention import Border, is_retained


@dataclass(frozen=True, slots=True)
class _Resumption:
    """An epoch of a producer that began: where its streams stood then, and whether we had heard it before."""

    border: Border
    empty: bool


class ChannelIntake:
    """`push` is its only mutator.

    Args:
        aggregator: made with the checkpoint, if there is one.
        counted: the batches whose energy the checkpoint knows.
    """

    def __init__(self, aggregator: ChannelAggregator, counted: Counted, now_s: float) -> None:
        self.aggregator = aggregator
        self.delays = Delays()  # from a row's time until it counted here
        self._counted = counted
        self._catching_up = CatchingUp(counted, now_s)
        self._inbox = Inbox()
        self._resumptions: dict[str, _Resumption] = {}  # by producer

    def push(self, producer: str, epoch: int, number: int, oldest: int, data: bytes, now_us: int) -> int:
        """Take a batch of rows if it is the next one; answers the number expected next, or that it was replaced."""
        if self._inbox.replaced(producer, epoch):
            return FENCED
        known_epoch, _ = self._inbox.positions().get(producer, (None, 0))
        if known_epoch != epoch:  # whether or not its first batch is the one that came: one before it may have failed
            self._resumptions[producer] = _Resumption(Border(self.aggregator.positions()), known_epoch is None)
        rows = rows_from_bytes(data)  # before it is accepted: what cannot be read is sent again
        if self._inbox.accept(producer, epoch, number, oldest):
            self._take(producer, rows, self._is_counted(producer, epoch, number))
            self._catching_up.heard(producer, rows, now_us)
            self.delays.add(now_us - rows.column("time").view(pa.int64()).to_numpy())
        return self._inbox.expected(producer)

    def summary(self, now_s: float) -> Summary | None:
        """The figures as they stand; None while they stand behind those that a predecessor told."""
        return self.aggregator.summary() if self._catching_up.over(now_s) else None

    def counted(self) -> Counted:
        """The batches whose energy is in the aggregator's checkpoint."""
        return furthest(self._counted, self._inbox.positions())

    def _is_counted(self, producer: str, epoch: int, number: int) -> bool:
        """Whether the checkpoint that we began with knows the energy of a batch."""
        return (epoch, number) < self._counted.get(producer, (-1, 0))

    def _take(self, producer: str, rows: pa.RecordBatch, counted: bool) -> None:
        if counted or not is_retained(rows):
            self.aggregator.push(rows, counted)
            return
        # A successor sends what it has retained: what we know of it only fills windows that are empty.
        resumption = self._resumptions[producer]
        following = pa.array(resumption.border.following(rows))
        if resumption.empty:
            self.aggregator.push(rows.filter(pc.invert(following)), counted=True)
        self.aggregator.push(rows.filter(following))
