"""The ingest: hears its devices in a thread of its own, and hands on what they say. The other methods answer meanwhile.

It begins by retaining what it hears. Alone, it opens the store at once and sends; of a pair, one sends and the other
stands by until that one is gone. Whoever opens the store gets a new epoch, and whoever had one before is refused from
then on: it stands by again, with what it has retained. When its devices change it hands everything on and takes over
from itself: so those that stay lose nothing.
"""

from __future__ import annotations

import logging
import math
import queue
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import ray

from actors import board, topology
from actors.peer import Peer
from actors.sending import Sending
from pipeline.adapters import link, wire
from pipeline.adapters.curve import read_pair
from pipeline.adapters.silence import SilenceWatch
from pipeline.core.change import same_link
from pipeline.core.config import Device, PipelineConfig
from pipeline.core.draining import Draining
from pipeline.core.envelope import rows_to_bytes
from pipeline.core.intake import Arrivals, Opening
from pipeline.core.live import Mark, RecentRows
from pipeline.core.model import Tally
from pipeline.core.pairing import Standing
from pipeline.core.retention import Retention, last_heard
from pipeline.core.rhythm import AT_ONCE, Rhythm, rhythm, until_beat_s

log = logging.getLogger(__name__)

LONGEST_OPENING_S: Final = 60.0  # at the end: what was heard while the store is asked is handed on once it answers
SETTLE_S: Final = 60.0  # at the end, twice: how long the store may take to acknowledge an outbox, when it is busy
STALL_S: Final = 30.0  # at the end: for so long it may acknowledge nothing, while it restarts
OPEN_S: Final = 30.0
REOPEN_S: Final = 0.2  # the store may be starting, or restarting
HANDED_IN_AT_ONCE: Final = 1 / 8  # of what the outbox may keep: with what a push adds it still fits three
TURN_S: Final = 0.2  # how soon it sees what there is to do; and between two pushes while somebody looks
WATCHED_FOR_S: Final = 5.0  # after a question for cycles
CHANGE_S: Final = 5.0  # how long a change of devices waits for the receivers, while messages wait at the sockets


class IngestActor:
    """Hosts one or more devices; which they are stands on the board."""

    def __init__(self, name: str, config: PipelineConfig) -> None:
        board.take_turn(name)
        self._name = name
        self._config = config
        self._keys = read_pair(Path(config.curve_keys_file)) if config.curve_keys_file else None
        self._devices: Mapping[str, Device] = {}
        self._names: list[str] = []  # by the index of arrivals, which a device keeps for good
        self._topics: list[bytes] = []
        self._rename({d.name: d for d in board.current(config).devices_of(topology.producer_of(name))})
        self._changes: queue.SimpleQueue[tuple[Mapping[str, Device], Future[bool]]] = queue.SimpleQueue()
        limits = self._limits
        self._recent = RecentRows(int(limits.recent_s * 1e6), limits.recent_bytes, secrets.randbits(63))
        self._watched_s = -math.inf  # when somebody asked for cycles
        self._since_us = time.time_ns() // 1000
        self._arrivals = Arrivals()  # since the last push
        self._heard_us: dict[str, int] = {}  # the newest of each device
        self._retention = Retention(limits.standby_retain_s, limits.standby_bytes)
        self._opening: _Opening | None = None
        self._sending: Sending | None = None
        self._subscriber: link.Subscriber | None = None
        self._silence: SilenceWatch | None = None
        self._failure: str | None = None
        self._stop = threading.Event()
        self._drain: Draining | None = None
        self._peer = Peer(topology.peer_of(name), lambda: self.standing(0)) if config.standby else None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def health(self) -> dict[str, Any]:
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
        totals, until_us = intake.totals_until if intake else ({}, {})
        links = self._subscriber.states if self._subscriber else {}
        return {
            "name": self._name,
            "time_us": time.time_ns() // 1000,
            "devices": {
                name: {
                    "endpoint": device.endpoint,
                    "tally": totals.get(name),
                    "until_us": until_us.get(name, 0),  # the newest arrival in the tally
                    "last_received_us": self._heard_us.get(name, 0) if intake else 0,
                    "connected": name in links and links[name].connected,
                    "connections": links[name].connections if name in links else 0,
                    "handshakes_failed": links[name].handshakes_failed if name in links else 0,
                }
                for name, device in self._devices.items()
            },
            "queues": [edge.queue(self._name) for edge in (sending.edges if sending else ())],
            "epoch": sending.epoch if sending else 0,  # 0: it stands by
            "counted": intake.counted if intake else Tally(),
            "notices": self._silence.notices if self._silence else [],
        }

    def hosted(self) -> Mapping[str, Device]:
        """The devices that are heard here, by name."""
        return self._devices

    def host(self, devices: Sequence[Device]) -> bool:
        """Hear these devices from now on, and no others; those that go have been handed on and acknowledged.

        False: the receivers do not acknowledge, and nothing is changed.
        """
        changed: Future[bool] = Future()
        self._changes.put(({device.name: device for device in devices}, changed))
        return changed.result(3 * CHANGE_S)

    def recent(self, device: str, mark: Mark | None) -> tuple[Mark, bytes]:
        """For the live page: the cycles of a device that came after `mark`, and the next mark."""
        self._watched_s = time.monotonic()
        following, rows = self._recent.since(device, mark)
        return following, rows_to_bytes(rows)

    def stop(self) -> dict[str, Any]:
        """Receive what is still under way, hand everything on, wait for the store; answers the final stats."""
        self._stop.set()
        if self._peer is not None:
            self._peer.close()
        self._thread.join(LONGEST_OPENING_S + 2 * SETTLE_S + 5)
        return self.stats()

    def _run(self) -> None:
        try:
            self._receive()
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            log.exception("%s cannot go on", self._name)

    def _receive(self) -> None:
        limits = self._limits
        addresses = {name: _address(device) for name, device in self._devices.items()}
        config = board.current(self._config).config
        pace = rhythm(len(config.devices), limits, config.fleet_settings is not None)  # kept, whatever devices come
        self._subscriber = subscriber = link.Subscriber(addresses, pace.rest_s, self._keys)
        self._silence = watch = SilenceWatch(subscriber, limits.silence_s)
        next_turn_s = next_push_s = next_cut_s = next_watch_s = time.monotonic()
        while True:
            arrived = self._hear(subscriber, max(0.0, min(TURN_S, next_push_s - time.monotonic())))
            now_s = time.monotonic()
            hurried = moved = False
            if now_s >= next_turn_s:
                next_turn_s = now_s + TURN_S
                hurried = self._hurried(now_s, pace)
            if hurried or now_s >= next_push_s or len(self._arrivals) >= AT_ONCE:
                next_push_s, moved = _next_beat_s(pace.push_s, pace.after_s), True
                self._take_all(now_s)
                self._change(subscriber)
                self._turn(now_s)
            if self._sending is not None:
                beat = now_s >= next_cut_s
                if beat:
                    next_cut_s = _next_beat_s(pace.hand_in_s, pace.after_s)
                if beat or self._sending.intake.waiting_bytes >= self._limits.outbox_bytes * HANDED_IN_AT_ONCE:
                    self._sending.cut(beat and pace.whole_seconds)  # what is too much does not wait for its second
                    moved = True
                if moved or not self._sending.settled:
                    self._sending.pump()
            if now_s >= next_watch_s:
                next_watch_s = now_s + 1.0
                watch.look()
            if self._stop.is_set() and self._drained(subscriber, arrived):
                break
        subscriber.close()
        self._take_all(time.monotonic())
        if self._sending is not None:
            self._sending.settle(SETTLE_S, STALL_S)  # there may be no room for what is left
            self._sending.cut()
            self._sending.settle(SETTLE_S, STALL_S)

    def _hear(self, subscriber: link.Subscriber, longest_s: float) -> bool:
        """Wait for messages; whether any came."""
        arrived = subscriber.receive(longest_s)
        for received in arrived:
            self._arrivals.add(*received)
            self._heard_us[self._names[received.device]] = received.at_us
        return bool(arrived)

    def _hurried(self, now_s: float, pace: Rhythm) -> bool:
        """Whether there is something to do at this turn: to begin, to change or to end, or to show."""
        watched = now_s - self._watched_s < WATCHED_FOR_S and pace.push_s > TURN_S and not pace.whole_seconds
        return watched or self._sending is None or not self._changes.empty() or self._stop.is_set()

    def _drained(self, subscriber: link.Subscriber, arrived: bool) -> bool:
        """At the end: let the devices send no more; whether what they had sent is in."""
        now_s = time.monotonic()
        if self._drain is None:
            subscriber.unsubscribe()
            self._drain = Draining(now_s)
            return False
        over = self._drain.over(now_s, arrived, subscriber.behind)
        if self._opening is not None:
            return now_s - self._drain.since_s > LONGEST_OPENING_S
        return over or self._sending is None  # who stands by has nothing to hand on

    def _take_all(self, now_s: float) -> None:
        """Take what has arrived since the last time."""
        arrivals, self._arrivals = self._arrivals, Arrivals()
        if self._peer is not None or self._sending is None:
            self._retention.keep(arrivals, now_s, ages=self._opening is None)  # the store may be away for longer
        if self._sending is not None:
            self._sending.push(arrivals, self._recent)

    def _turn(self, now_s: float) -> None:
        """Send, stand by, or go on."""
        if self._sending is not None:
            if self._sending.fenced:
                self._stand_by()
        elif self._opening is None:
            if not self._stop.is_set() and (self._peer is None or self._peer.gone):
                self._opening = _Opening(self._name, self._names, self._config)
        else:
            opening = self._opening.answer(now_s)
            if opening is not None:
                self._begin(opening, self._opening.since_us)

    def _begin(self, opening: Opening, since_us: int) -> None:
        names = tuple(self._names)
        applied = board.current(self._config)
        shard = applied.shard_of(self._devices)
        config = replace(applied.config, limits=self._limits)
        sending = Sending(topology.producer_of(self._name), names, self._decoder.decode, opening, config, shard)
        retained = [arrival for arrival in self._retention.arrivals() if names[arrival.device] in self._devices]
        sending.resume(retained, since_us, self._recent)
        for name, at_us in last_heard(retained, names, opening, since_us).items():
            self._heard_us[name] = max(at_us, self._heard_us.get(name, 0))
        self._sending, self._opening, self._drain = sending, None, None  # what came meanwhile waits at the sockets
        if self._peer is None:
            self._retention = Retention(self._limits.standby_retain_s, self._limits.standby_bytes)
        else:
            self._peer.heard()
            log.warning("%s sends from now on; it had retained %d messages", self._name, len(retained))

    def _change(self, subscriber: link.Subscriber) -> None:
        """Take up what `host` wishes. Whoever sends hands all on first, and then asks the store again."""
        while not self._changes.empty():
            devices, changed = self._changes.get()
            gone = [n for n, d in self._devices.items() if n not in devices or not same_link(d, devices[n])]
            new = [name for name in devices if name not in self._devices or name in gone]
            sends = self._sending is not None or self._opening is not None
            if (gone or new) and self._sending is not None:
                if not self._hand_on(self._sending, subscriber):
                    changed.set_result(False)
                    continue
                self._sending = None
            for name in gone:
                subscriber.disconnect(name)
            self._rename(devices)
            for name in new:
                subscriber.connect(name, _address(devices[name]))
            if (gone or new) and sends:
                since_us = self._opening.since_us if self._opening is not None else None  # nothing was sent meanwhile
                self._opening = _Opening(self._name, self._names, self._config, since_us)
            changed.set_result(True)

    def _hand_on(self, sending: Sending, subscriber: link.Subscriber) -> bool:
        """Hand on all that was heard; whether the receivers have acknowledged it."""
        subscriber.hurry()
        for _ in range(2):  # the second time what came in meanwhile
            self._hear(subscriber, 0.0)
            self._take_all(time.monotonic())
            sending.cut()
            if not sending.settle(CHANGE_S, CHANGE_S, everywhere=True):
                return False
        return True

    def _rename(self, devices: Mapping[str, Device]) -> None:
        for name, device in devices.items():
            if name not in self._names:
                self._names.append(name)
                self._topics.append(b"")
            self._topics[self._names.index(name)] = device.topic.encode()
        self._limits = limits = self._config.limits.of_ingest(len(devices))
        self._decoder = wire.Decoder(
            self._names,
            self._topics,
            int(limits.time_bound_s * 1e6),
            limits.calculation_names,
            self._config.streams,
        )
        self._devices = devices

    def _stand_by(self) -> None:
        if self._peer is None:
            raise RuntimeError("another process of this name has taken over")
        log.warning("%s was replaced, and stands by", self._name)
        self._sending = None
        self._peer.heard()


def _address(device: Device) -> link.Address:
    return link.Address(device.endpoint, device.topic, device.server_key)


def _next_beat_s(period_s: float, after_s: float) -> float:
    """When the next turn is, by the monotonic clock."""
    return time.monotonic() + until_beat_s(period_s, after_s, time.time())


class _Opening:
    """Asks the store for an epoch and how far the devices have come, while messages go on being received."""

    def __init__(
        self, ingest: str, devices: Sequence[str], config: PipelineConfig, since_us: int | None = None
    ) -> None:
        self._producer = topology.producer_of(ingest)
        self._store = topology.store_of(devices[0] if devices else "", config)
        self._devices = tuple(devices)  # with those that are gone: their totals are kept for whoever has them next
        self._asked: Future[Opening] | None = None
        self._again_s = 0.0
        self._expires_s = 0.0
        self.since_us = since_us if since_us is not None else time.time_ns() // 1000

    def answer(self, now_s: float) -> Opening | None:
        """What the store says, once it does; to be asked for again and again."""
        if self._asked is not None and self._asked.done():
            if self._asked.exception() is None:
                return self._asked.result()
            self._asked, self._again_s = None, now_s + REOPEN_S
        if (self._asked is None and now_s >= self._again_s) or (self._asked is not None and now_s >= self._expires_s):
            self._expires_s = now_s + OPEN_S
            try:
                self._asked = topology.find(self._store).open.remote(self._producer, self._devices).future()
            except (ray.exceptions.RayError, ValueError):
                self._again_s = now_s + REOPEN_S
        return None
