"""The ingest: hears its devices in a thread of its own, and hands on what they say. The other methods answer meanwhile.

It begins by retaining what it hears. Alone, it opens the store at once and sends; of a pair, one sends and the other
stands by until that one is gone. Whoever opens the store gets a new epoch, and whoever had one before is refused from
then on: it stands by again, with what it has retained.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import Any, Final

import ray

from actors import topology
from actors.peer import Peer
from actors.sending import Sending
from pipeline.adapters import link, wire
from pipeline.adapters.silence import SilenceWatch
from pipeline.core.config import Device, PipelineConfig
from pipeline.core.envelope import rows_to_bytes
from pipeline.core.intake import Arrivals, Opening
from pipeline.core.live import RecentRows
from pipeline.core.metrics import Queue
from pipeline.core.model import Tally
from pipeline.core.pairing import Standing
from pipeline.core.retention import Retention
from pipeline.core.rhythm import rhythm, until_beat_s

log = logging.getLogger(__name__)

QUIET_S: Final = 0.5  # at the end: nothing came for so long, so nothing is under way any more
LONGEST_DRAIN_S: Final = 2.0  # a live device never falls quiet
SETTLE_S: Final = 30.0  # at the end: how long the store may take to acknowledge the rest
OPEN_S: Final = 30.0
REOPEN_S: Final = 0.2  # the store may be starting, or restarting


class IngestActor:
    """Hosts one or more devices."""

    def __init__(self, name: str, devices: tuple[Device, ...], config: PipelineConfig) -> None:
        self._name = name
        self._devices = devices
        self._config = config
        limits, now_us = config.limits, time.time_ns() // 1000
        names = [device.name for device in devices]
        self._topics = [device.topic.encode() for device in devices]
        self._decoder = wire.Decoder(names, self._topics, int(limits.time_bound_s * 1e6), limits.calculation_names)
        self._recent = RecentRows(int(limits.recent_s * 1e6), limits.recent_bytes, first_mark=now_us)
        self._since_us = now_us
        self._retention = Retention(limits.standby_retain_s, limits.standby_bytes)
        self._opening: _Opening | None = None
        self._sending: Sending | None = None
        self._links: dict[str, link.LinkState] = {}
        self._notices: deque[str] = deque(maxlen=20)
        self._failure: str | None = None
        self._stop = threading.Event()
        self._peer = Peer(topology.peer_of(name), lambda: self.standing(0)) if config.standby else None
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

    def standing(self, hold_s: float) -> Standing:
        """For the other one of the pair: what we do, told after a moment, so that it notices when we die meanwhile."""
        time.sleep(hold_s)
        sends = self._sending is not None or self._opening is not None
        return Standing(self._name, sends or self._stop.is_set(), self._since_us)

    def stats(self) -> dict[str, Any]:
        """Counts by device in this run, those of this epoch, and the state of links and edges."""
        sending = self._sending
        intake = sending.intake if sending else None
        return {
            "name": self._name,
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
                for e in (sending.edges if sending else ())
            ],
            "epoch": sending.epoch if sending else 0,  # 0: it stands by
            "counted": intake.counted if intake else Tally(),
            "retained_bytes": self._retention.nbytes,
            "notices": list(self._notices),
        }

    def recent(self, device: str, mark: int) -> tuple[int, bytes]:
        """For the live page: the cycles of a device that came after `mark`, and the next mark."""
        following, rows = self._recent.since(device, mark)
        return following, rows_to_bytes(rows)

    def stop(self) -> dict[str, Any]:
        """Receive what is still under way, hand everything on, wait for the store; answers the final stats."""
        self._stop.set()
        if self._peer is not None:
            self._peer.close()
        self._thread.join(LONGEST_DRAIN_S + SETTLE_S + 5)
        return self.stats()

    def _run(self) -> None:
        try:
            self._receive()
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            log.exception("%s cannot go on", self._name)

    def _receive(self) -> None:
        limits = self._config.limits
        pace = rhythm(len(self._config.devices), limits)
        endpoints = {device.name: (device.endpoint, device.topic) for device in self._devices}
        subscriber = link.Subscriber(endpoints, pace.rest_s)
        self._links = subscriber.states
        watch = SilenceWatch(subscriber, limits.silence_s, self._notices)
        arrivals = Arrivals()
        next_push_s = next_cut_s = next_watch_s = time.monotonic()
        quiet_since_s = stopped_s = None
        while True:
            arrived = subscriber.receive(max(0.0, next_push_s - time.monotonic()))
            for received in arrived:
                arrivals.add(*received)
            now_s = time.monotonic()
            if now_s >= next_push_s:
                next_push_s = now_s + until_beat_s(pace.push_s, time.time())
                self._take(arrivals, now_s)
                arrivals = Arrivals()
                self._turn(now_s)
            if self._sending is not None:
                if now_s >= next_cut_s:
                    next_cut_s = now_s + until_beat_s(pace.hand_in_s, time.time())
                    self._sending.cut()
                self._sending.pump()
            if now_s >= next_watch_s:
                next_watch_s = now_s + 1.0
                watch.look()
            if self._stop.is_set():
                stopped_s = stopped_s or now_s
                quiet_since_s = now_s if arrived or quiet_since_s is None else quiet_since_s
                stands_by = self._sending is None and self._opening is None
                if stands_by or now_s - quiet_since_s > QUIET_S or now_s - stopped_s > LONGEST_DRAIN_S:
                    break
        subscriber.close()
        self._take(arrivals, time.monotonic())
        if self._sending is not None:
            self._sending.cut()
            self._sending.settle(SETTLE_S)

    def _take(self, arrivals: Arrivals, now_s: float) -> None:
        if self._peer is not None or self._sending is None:
            self._retention.keep(arrivals, now_s)
        if self._sending is not None:
            self._sending.push(arrivals, self._recent)

    def _turn(self, now_s: float) -> None:
        """Send, stand by, or go on."""
        if self._sending is not None:
            if self._sending.fenced:
                self._stand_by()
        elif self._opening is None:
            if not self._stop.is_set() and (self._peer is None or self._peer.gone):
                self._opening = _Opening(self._name, [device.name for device in self._devices])
        else:
            opening = self._opening.answer(now_s)
            if opening is not None:
                self._begin(opening, self._opening.since_us)

    def _begin(self, opening: Opening, since_us: int) -> None:
        names = [device.name for device in self._devices]
        sending = Sending(topology.producer_of(self._name), names, self._decoder.decode, opening, self._config)
        retained = self._retention.arrivals()
        sending.resume(retained, since_us, self._recent)
        self._sending, self._opening = sending, None
        if self._peer is None:
            self._retention = Retention(self._config.limits.standby_retain_s, self._config.limits.standby_bytes)
        else:
            self._peer.heard()
            log.warning("%s sends from now on; it had retained %d messages", self._name, len(retained))

    def _stand_by(self) -> None:
        if self._peer is None:
            raise RuntimeError("another process of this name has taken over")
        log.warning("%s was replaced, and stands by", self._name)
        self._sending = None
        self._peer.heard()


class _Opening:
    """Asks the store for an epoch and how far the devices have come, while messages go on being received."""

    def __init__(self, ingest: str, devices: list[str]) -> None:
        self._producer = topology.producer_of(ingest)
        self._devices = devices
        self._asked: Future[Opening] | None = None
        self._again_s = 0.0
        self._expires_s = 0.0
        self.since_us = time.time_ns() // 1000

    def answer(self, now_s: float) -> Opening | None:
        """What the store says, once it does; to be asked for again and again."""
        if self._asked is not None and self._asked.done():
            if self._asked.exception() is None:
                return self._asked.result()
            self._asked, self._again_s = None, now_s + REOPEN_S
        if (self._asked is None and now_s >= self._again_s) or (self._asked is not None and now_s >= self._expires_s):
            self._expires_s = now_s + OPEN_S
            try:
                self._asked = topology.find(topology.STORE).open.remote(self._producer, self._devices).future()
            except (ray.exceptions.RayError, ValueError):
                self._again_s = now_s + REOPEN_S
        return None
