"""The ingest: receives its devices' messages in a thread of its own and hands the rows on.

Towards the aggregators in small batches, towards the store in larger ones; each edge keeps what its receiver has not
acknowledged. The other methods answer while the thread runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Final

import ray

from actors import topology
from actors.edge import Edge
from pipeline.adapters import link, wire
from pipeline.adapters.silence import SilenceWatch
from pipeline.core.aggregation import KEY_COLUMNS
from pipeline.core.config import Device, PipelineConfig
from pipeline.core.envelope import pack, rows_to_bytes, unpack
from pipeline.core.intake import Arrival, Intake
from pipeline.core.live import RecentRows
from pipeline.core.metrics import Queue
from pipeline.core.model import CHANNELS, value_columns

log = logging.getLogger(__name__)

QUIET_S: Final = 0.5  # at the end: nothing came for so long, so nothing is under way any more
LONGEST_DRAIN_S: Final = 2.0  # a live device never falls quiet
SETTLE_S: Final = 30.0  # at the end: how long the store may take to acknowledge the rest


class IngestActor:
    """Hosts the intake of one or more devices."""

    def __init__(self, name: str, devices: tuple[Device, ...], config: PipelineConfig) -> None:
        self._name = name
        self._devices = devices
        self._config = config
        self._stop = threading.Event()
        self._intake: Intake | None = None
        limits, now_us = config.limits, time.time_ns() // 1000
        self._recent = RecentRows(int(limits.recent_s * 1e6), limits.recent_bytes, first_mark=now_us)
        self._epoch = 0
        self._edges: list[Edge] = []
        self._links: dict[str, link.LinkState] = {}
        self._notices: deque[str] = deque(maxlen=20)
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def health(self) -> dict[str, int]:
        """Who answers.

        Raises:
            RuntimeError: the receiving thread has died.
        """
        if not self._thread.is_alive() and not self._stop.is_set():
            raise RuntimeError(f"the receiving thread of {self._name} has died: {self._failure}")
        return topology.identity()

    def stats(self) -> dict[str, Any]:
        """Counts since this process started, by device, and the state of links and edges."""
        intake = self._intake
        return {
            "devices": {
                device.name: {
                    "endpoint": device.endpoint,
                    "tally": intake.totals[device.name] if intake else None,
                    "last_received_us": intake.last_received_us.get(device.name, 0) if intake else 0,
                    "connected": device.name in self._links and self._links[device.name].connected,
                    "connections": self._links[device.name].connections if device.name in self._links else 0,
                }
                for device in self._devices
            },
            "queues": [
                Queue(self._name, e.target, e.outbox.nbytes, self._config.limits.outbox_bytes, e.calls, e.failures)
                for e in self._edges
            ],
            "epoch": self._epoch,
            "notices": list(self._notices),
        }

    def recent(self, device: str, mark: int) -> tuple[int, bytes]:
        """For the live page: the cycles of a device that came after `mark`, and the next mark."""
        following, rows = self._recent.since(device, mark)
        return following, rows_to_bytes(rows)

    def stop(self) -> dict[str, Any]:
        """Receive what is still under way, hand everything on, wait for the store; answers the final stats."""
        self._stop.set()
        self._thread.join(LONGEST_DRAIN_S + SETTLE_S + 5)
        return self.stats()

    def _run(self) -> None:
        try:
            self._receive()
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            log.exception("%s cannot go on", self._name)

    def _receive(self) -> None:
        names = [device.name for device in self._devices]
        opening = self._open_store(names)
        limits = self._config.limits
        topics = [device.topic.encode() for device in self._devices]
        decoder = wire.Decoder(names, topics, int(limits.time_bound_s * 1e6), limits.calculation_names)
        self._intake = intake = Intake(names, decoder.decode, opening["positions"])
        self._epoch = epoch = opening["epoch"]
        store = Edge(topology.STORE, "write", self._name, epoch, limits.outbox_bytes, window=4)
        channels = {
            channel: Edge(
                topology.aggregator_name(channel),
                "push",
                self._name,
                epoch,
                limits.outbox_bytes,
                window=2,
                retain_s=limits.aggregator_retain_s,
            )
            for channel in CHANNELS
        }
        self._edges = [store, *channels.values()]
        subscriber = link.Subscriber({device.name: (device.endpoint, device.topic) for device in self._devices})
        self._links = subscriber.states
        watch = SilenceWatch(subscriber, limits.silence_s, self._notices)
        arrivals: list[Arrival] = []
        next_push_s = next_cut_s = next_watch_s = time.monotonic()
        quiet_since_s = stopped_s = None
        while True:
            arrived = subscriber.receive(max(0.0, next_push_s - time.monotonic()))
            for index, received_us, parts in arrived:
                arrivals.append(Arrival(index, received_us, wire.payload_of(parts, topics[index])))
            now_s = time.monotonic()
            if now_s >= next_push_s:
                next_push_s = now_s + limits.aggregator_flush_s
                self._push(intake, arrivals, channels)
                arrivals = []
            if now_s >= next_cut_s:
                next_cut_s = now_s + limits.store_flush_s
                self._cut(intake, store, epoch)
            for edge in self._edges:
                edge.pump()
            if now_s >= next_watch_s:
                next_watch_s = now_s + 1.0
                watch.look()
            if self._stop.is_set():
                stopped_s = stopped_s or now_s
                quiet_since_s = now_s if arrived or quiet_since_s is None else quiet_since_s
                if now_s - quiet_since_s > QUIET_S or now_s - stopped_s > LONGEST_DRAIN_S:
                    break
        subscriber.close()
        self._push(intake, arrivals, channels)
        self._cut(intake, store, epoch)
        deadline_s = time.monotonic() + SETTLE_S
        while not store.settled and time.monotonic() < deadline_s:
            store.pump()
            time.sleep(0.005)

    def _push(self, intake: Intake, arrivals: list[Arrival], channels: dict[str, Edge]) -> None:
        if not arrivals:
            return
        rows = intake.take(arrivals)
        self._recent.push(rows, arrivals[-1].received_us)
        for channel, edge in channels.items():
            columns = [*KEY_COLUMNS, *value_columns(channel)]
            if any(rows.column(name).null_count < rows.num_rows for name in value_columns(channel)):
                edge.offer(rows_to_bytes(rows.select(columns)))

    def _cut(self, intake: Intake, store: Edge, epoch: int) -> None:
        batch = intake.cut(self._name, epoch, store.outbox.next_number)
        if batch is not None:
            for lost in store.offer(pack(batch)):
                intake.give_up(unpack(lost))

    def _open_store(self, names: list[str]) -> dict[str, Any]:
        """Ask the store where the streams stand; it may be starting, or restarting."""
        while True:
            try:
                return dict(ray.get(topology.find(topology.STORE).open.remote(self._name, names), timeout=30))
            except (ray.exceptions.RayError, ValueError):
                if self._stop.wait(0.2):
                    raise
