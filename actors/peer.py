"""The other one of a pair of ingests, watched by the one that stands by: is it gone, so that we have to send?

A call that the peer answers only after a moment is always under way: it fails at once when the peer's process dies,
and is not answered in time when the peer hangs or its host has vanished.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import ray

from actors import topology
from pipeline.core.pairing import Standing, takes_over

log = logging.getLogger(__name__)

HOLD_S: Final = 0.5  # how long the peer holds a question: two questions a second cost nothing
PATIENCE_S: Final = 3.0  # for an answer beyond that: a third of what is retained, and more than a busy process needs
NAP_S: Final = 0.2


class Peer:
    """Watches the other ingest of the pair from a thread of its own.

    Args:
        name: the other one's name.
        own: what we say of ourselves.
    """

    def __init__(self, name: str, own: Callable[[], Standing]) -> None:
        self._name = name
        self._own = own
        self._handle: Any = None
        self._gone = threading.Event()
        self._closing = threading.Event()
        threading.Thread(target=self._watch, name="peer", daemon=True).start()

    @property
    def gone(self) -> bool:
        """Whether we have to send. Once we do, `heard` starts the watch anew."""
        return self._gone.is_set()

    def heard(self) -> None:
        """We do send, or stand by again: what was found before does not count any more."""
        self._gone.clear()

    def close(self) -> None:
        """Watch no more."""
        self._closing.set()

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                self._look()
            except Exception:  # whatever Ray says: who watched no more would never take over
                log.exception("cannot ask %s; it is tried again", self._name)
                self._closing.wait(NAP_S)

    def _look(self) -> None:
        if self._own().sends or self._gone.is_set():
            self._closing.wait(NAP_S)
            return
        peer = self._ask()
        own = self._own()
        if not own.sends and not self._closing.is_set() and takes_over(own, peer):
            log.warning("%s takes over: %s %s", own.name, self._name, "stands by" if peer else "does not answer")
            self._gone.set()

    def _ask(self) -> Standing | None:
        """What the peer says of itself; None if it does not answer."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self._handle is None:
                    self._handle = topology.find(self._name)
                standing: Standing = ray.get(self._handle.standing.remote(HOLD_S), timeout=HOLD_S + PATIENCE_S)
                return standing
            except ValueError:  # not made yet: who comes second waits for the first
                if topology.is_first(self._own().name) or time.monotonic() > deadline_s:
                    return None
                self._closing.wait(NAP_S)
            except ray.exceptions.RayError:
                self._handle = None
                return None
