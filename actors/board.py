"""What must outlive every actor of ours: kept in the key-value store of Ray's head, in a namespace of the pipeline.

Ray restarts an actor with the arguments that it was first made with. What was applied since then, and how often an
actor has begun, it reads here when it begins; never in the hot path, for each look is a call to Ray's head.
"""

from __future__ import annotations

import json
import logging
import pickle
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ray.experimental import internal_kv

from actors import memory
from pipeline.core.assignment import Groups, Subtrees
from pipeline.core.backoff import recent, wait_s
from pipeline.core.config import Device, PipelineConfig
from pipeline.core.fleet.membership import standing

log = logging.getLogger(__name__)

_SPACE: Final = b"karman"
_APPLIED: Final = b"applied"
_STARTS: Final = b"starts/"
_STATES: Final = b"states/"
KEEP_S: Final = 2.0  # senders retain what is five times as old


@dataclass(frozen=True, slots=True)
class Applied:
    """The configuration in force, which ingest hosts which devices by it, and which shard adds them up."""

    config: PipelineConfig
    groups: Groups = field(default_factory=dict)
    subtrees: Subtrees = field(default_factory=dict)

    def devices_of(self, ingest: str) -> tuple[Device, ...]:
        """The devices of an ingest."""
        by_name = {device.name: device for device in self.config.devices}
        return tuple(by_name[name] for name in self.groups.get(ingest, ()))

    @property
    def shards(self) -> frozenset[int]:
        """The shards of the sums that have devices."""
        return frozenset(self.subtrees.get(device.name, 0) for device in self.config.devices)

    def devices_in(self, shard: int) -> tuple[Device, ...]:
        """The devices that a shard of the sums adds up."""
        fleet = standing(self.config.devices)
        return tuple(device for device in fleet if self.subtrees.get(device.name, 0) == shard)

    def shard_of(self, devices: Iterable[str]) -> int:
        """The shard that adds up the devices of an ingest, which share it; those that are gone are in none."""
        return next((self.subtrees[device] for device in devices if device in self.subtrees), 0)


@dataclass(frozen=True, slots=True)
class Starts:
    """How often an actor has begun in this pipeline, and until when it waits before it does anything."""

    count: int = 0
    recent_s: tuple[float, ...] = ()
    waits_until_s: float = 0.0


def publish(applied: Applied) -> None:
    """From now on this is in force, for whoever begins."""
    internal_kv._internal_kv_put(_APPLIED, pickle.dumps(applied), overwrite=True, namespace=_SPACE)


def current(config: PipelineConfig) -> Applied:
    """What is in force in the run that an actor was made for with `config`."""
    found = internal_kv._internal_kv_get(_APPLIED, namespace=_SPACE)
    if found is not None:
        applied: Applied = pickle.loads(found)  # noqa: S301 - our own, from the same cluster that runs our code
        if applied.config.run_us == config.run_us:
            return applied
    return Applied(config)


def written() -> bool:
    """Whether a configuration is in force: of this run, or of one that did not end in order."""
    return bool(internal_kv._internal_kv_exists(_APPLIED, namespace=_SPACE))


def starts(name: str) -> Starts:
    """How an actor has begun so far."""
    found = internal_kv._internal_kv_get(_STARTS + name.encode(), namespace=_SPACE)
    if found is None:
        return Starts()
    count, recent_s, waits_until_s = json.loads(found)
    return Starts(count, tuple(recent_s), waits_until_s)


def take_turn(name: str) -> None:
    """The first thing an actor does: one that dies over and over waits here, longer each time, instead of spinning."""
    memory.keep_freed()
    now_s = time.time()
    before = starts(name)
    recent_s = (*recent(before.recent_s, now_s), now_s)
    wait = wait_s(recent_s, now_s)
    noted = json.dumps([before.count + 1, recent_s, now_s + wait if wait else 0.0]).encode()
    internal_kv._internal_kv_put(_STARTS + name.encode(), noted, overwrite=True, namespace=_SPACE)
    if wait:
        log.warning("%s has begun %d times lately: it waits %.0f s", name, len(recent_s), wait)
        time.sleep(wait)


class Keeper:
    """Keeps on the board the newest state of an actor, written beside its work: Ray's head may be slow, or away."""

    def __init__(self, name: str) -> None:
        self._key = _STATES + name.encode()
        self._newest: bytes | None = None
        self._due_s = 0.0
        self._wake = threading.Event()
        threading.Thread(target=self._run, name="keep", daemon=True).start()

    def found(self) -> bytes | None:
        """What was kept last, by us or by a process before us."""
        state: bytes | None = internal_kv._internal_kv_get(self._key, namespace=_SPACE)
        return state

    @property
    def due(self) -> bool:
        """Whether it is time to keep something again; once asked, it is not for a while."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return False
        self._due_s = now_s + KEEP_S
        return True

    def keep(self, state: bytes) -> None:
        """Let this be what is found."""
        self._newest = state
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            state, self._newest = self._newest, None
            if state is not None:
                try:
                    internal_kv._internal_kv_put(self._key, state, overwrite=True, namespace=_SPACE)
                except Exception:
                    log.exception("the state could not be kept; it is tried again with the next one")


def clear() -> None:
    """Forget everything: a pipeline begins, or has ended."""
    keys: Sequence[Any] = internal_kv._internal_kv_list(b"", namespace=_SPACE)
    for key in keys:
        internal_kv._internal_kv_del(key, namespace=_SPACE)
