"""What an ingest that sends does with what it hears: judge and count it, and hand it on.

Towards the aggregators in small batches, towards the store in larger ones; each edge keeps what its receiver has not
acknowledged. Not thread-safe: it lives in the receiving thread, others read its counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from actors import board, topology
from actors.edge import Edge, GatheringEdge
from pipeline.core.aggregation import of_channel
from pipeline.core.config import PipelineConfig
from pipeline.core.continuity import Continuity
from pipeline.core.envelope import pack
from pipeline.core.fleet.shard import FIGURES, KEYS
from pipeline.core.intake import Arrival, Arrivals, Decode, Intake, Opening
from pipeline.core.live import RecentRows
from pipeline.core.model import CHANNELS
from pipeline.core.retention import as_retained, what_follows

CHUNK: Final = 2000  # retained messages in a batch: 450 kB a channel; of smaller ones the calls cost more than the rows


class Sending:
    """One epoch of a producer.

    Args:
        producer: the name under which batches are sent, the same for both ingests of a pair.
        devices: the names behind the arrivals' device indices.
        opening: what the store said of them, and the epoch.
        shard: of the sums, that adds them up.
    """

    def __init__(
        self,
        producer: str,
        devices: Sequence[str],
        decode: Decode,
        opening: Opening,
        config: PipelineConfig,
        shard: int = 0,
    ) -> None:
        limits = config.limits
        self._producer = producer
        self._devices = devices
        self._decode = decode
        self._opening = opening
        self.epoch = opening.epoch
        self.intake = Intake(devices, decode, opening.positions, opening.totals)
        anyone = devices[0] if devices else ""  # devices of one ingest share their shards
        self._store = Edge(
            topology.store_of(anyone, config), "write", producer, self.epoch, limits.outbox_bytes, window=4
        )
        self._channels = {
            channel: Edge(
                topology.aggregator_of(anyone, channel, config),
                "push",
                producer,
                self.epoch,
                limits.outbox_bytes,
                window=2,
                retain_s=max(limits.aggregator_retain_s, config.window_s + board.KEEP_S),
            )
            for channel in CHANNELS
        }
        self._fleet = self._fleet_edge(config, shard)
        self.edges = (self._store, *self._channels.values(), *([self._fleet] if self._fleet else []))

    def resume(self, retained: Sequence[Arrival], since_us: int, recent: RecentRows) -> None:
        """Send what was heard before this epoch: to the store what follows its positions, to the aggregators all.

        They tell by their own positions what they have; and one that has lost its memory fills its windows again.
        """
        continuity = Continuity("cycle")
        for chunk in _chunks(retained, CHUNK):
            usable = [arrival for arrival in chunk if arrival.payload is not None]
            device = np.array([arrival.device for arrival in usable], np.int32)
            received_us = np.array([arrival.received_us for arrival in usable], np.int64)
            rows = self._decode([arrival.payload or b"" for arrival in usable], device, received_us, 0).cycles
            self._offer(as_retained(rows.filter(pa.array(continuity.observe(rows).kept))))
        following = what_follows(retained, self._decode, self._devices, self._opening, since_us)
        for chunk in _chunks(following, CHUNK):
            self._take(Arrivals.of(chunk), recent)
            self.cut()

    def push(self, arrivals: Arrivals, recent: RecentRows) -> None:
        """Take what was heard, hand its rows to the aggregators; for the store they wait for the next `cut`."""
        if arrivals:
            self._offer(self._take(arrivals, recent))

    def cut(self, whole_seconds: bool = False) -> None:
        """Hand to the store what was taken since the last cut, or only the seconds of it that are over."""
        batch = self.intake.cut(self._producer, self.epoch, self._store.outbox.next_number, whole_seconds)
        if batch is not None and not self._store.offer(pack(batch)):
            self.intake.give_up(batch)

    def pump(self) -> None:
        """Take in answers, send what is due."""
        for edge in self.edges:
            edge.pump()

    @property
    def settled(self) -> bool:
        """Whether everything handed on was acknowledged."""
        return all(edge.settled for edge in self.edges)

    @property
    def fenced(self) -> bool:
        """Whether a receiver has said that another has taken our place."""
        return any(edge.fenced for edge in self.edges)

    def settle(self, longest_s: float, stall_s: float, everywhere: bool = False) -> bool:
        """Wait until the store and the fleet, or all receivers, have acknowledged everything; whether they have.

        Args:
            longest_s: for how long in all.
            stall_s: for how long while nothing is acknowledged.
            everywhere: wait for all receivers.
        """
        edges = self.edges if everywhere else tuple(edge for edge in (self._store, self._fleet) if edge)
        if self._fleet is not None:
            self._fleet.flush()
        now_s = progress_s = time.monotonic()
        deadline_s, least = now_s + longest_s, None
        while not self.fenced and now_s < min(deadline_s, progress_s + stall_s):
            for edge in edges:
                edge.pump()
            waiting = sum(len(edge.outbox.waiting) for edge in edges)
            if waiting == 0 and all(edge.settled for edge in edges):
                return True
            now_s = time.monotonic()
            if least is None or waiting < least:
                least, progress_s = waiting, now_s
            time.sleep(0.005)
        return False

    def _take(self, arrivals: Arrivals, recent: RecentRows) -> pa.RecordBatch:
        rows = self.intake.take(arrivals)
        recent.push(rows, arrivals.newest_us)
        return rows

    def _fleet_edge(self, config: PipelineConfig, shard: int) -> GatheringEdge | None:
        if config.fleet_settings is None:
            return None
        limits = config.limits
        return GatheringEdge(
            topology.adding_up(shard, config),
            "push",
            self._producer,
            self.epoch,
            limits.outbox_bytes,
            window=2,
            retain_s=limits.aggregator_retain_s + config.fleet_settings.wait_s,
            columns=[*KEYS, *FIGURES],
            every_s=config.fleet_settings.flush_s,
        )

    def _offer(self, rows: pa.RecordBatch) -> None:
        if self._fleet is not None and rows.num_rows:
            self._fleet.gather(rows)
        for channel, edge in self._channels.items():
            mine = of_channel(rows, channel)
            if mine.num_rows:
                edge.offer(mine)


def _chunks(arrivals: Sequence[Arrival], size: int) -> Iterator[Sequence[Arrival]]:
    for start in range(0, len(arrivals), size):
        yield arrivals[start : start + size]
