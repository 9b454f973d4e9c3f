"""Sees to the actors that Ray cannot see to: those that hang, and those that Ray has given up.

Ray starts an actor anew whose process dies. One that no longer answers is killed here, and so started anew; one whose
constructor failed is dead for Ray, and made again. An actor that dies over and over waits in `board.take_turn`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import ray

from actors import board

log = logging.getLogger(__name__)

WATCH_S: Final = 2.0  # a question and its answer cost 1.5 ms, and whoever hangs gets 15 s anyway
ANSWER_S: Final = 5.0  # Ray restarts a killed actor within 1 s; one that is silent for longer hangs
STRIKES: Final = 3  # unanswered questions before a hanging actor is killed


@dataclass(slots=True)
class Watched:
    """What is known of an actor."""

    handle: Any
    make: Callable[[], Any]  # makes it again, should it be dead
    pid: int | None = None
    node: str = ""
    starts: int = 0
    strikes: int = 0
    up: bool = False
    waits_until_s: float = 0.0  # it has died too often lately


class Watch:
    """The actors of a pipeline, but for the supervisor."""

    def __init__(self) -> None:
        self._watched: dict[str, Watched] = {}

    def add(self, name: str, make: Callable[[], Any]) -> Any:
        """Make an actor, or find it, and watch it from now on. Returns its handle."""
        if name not in self._watched:
            self._watched[name] = Watched(make(), make, starts=board.starts(name).count)  # there may be one already
        return self._watched[name].handle

    def handle(self, name: str) -> Any:
        """The handle of an actor that is watched."""
        return self._watched[name].handle

    def forget(self, name: str) -> None:
        """Watch an actor no more."""
        self._watched.pop(name, None)

    def status(self) -> Mapping[str, dict[str, Any]]:
        """Process, node and restarts of each; `waits_s` is how long it waits before it begins again."""
        now_s = time.time()
        return {
            name: {
                "pid": entry.pid,
                "node": entry.node,
                "restarts": max(0, entry.starts - 1),
                "up": entry.up,
                "waits_s": max(0.0, entry.waits_until_s - now_s),
            }
            for name, entry in list(self._watched.items())
        }

    def first_answer(self, name: str, timeout_s: float) -> None:
        """Wait until an actor that was just made answers.

        Raises:
            RayError: it does not, or it cannot be made.
        """
        self._note(name, self._watched[name], ray.get(self.handle(name).health.remote(), timeout=timeout_s))

    def look(self) -> None:
        """Ask everybody once."""
        asked = {name: entry.handle.health.remote() for name, entry in list(self._watched.items())}
        deadline_s = time.monotonic() + ANSWER_S
        for name, reference in asked.items():
            entry = self._watched[name]
            try:
                answer = ray.get(reference, timeout=max(0.01, deadline_s - time.monotonic()))
            except ray.exceptions.ActorDiedError as error:
                entry.up = False
                log.warning("%s is dead and made again: %s", name, str(error).strip().splitlines()[-1])
                entry.handle = entry.make()
            except ray.exceptions.ActorUnavailableError:
                self._missed(name, entry)  # its process died and Ray is starting it anew
            except ray.exceptions.RayError:
                self._missed(name, entry)
                entry.strikes += entry.waits_until_s < time.time()
            else:
                self._note(name, entry, answer)
            if entry.strikes >= STRIKES:
                log.warning("%s does not answer: it is started anew", name)
                entry.strikes = 0
                ray.kill(entry.handle, no_restart=False)

    def _missed(self, name: str, entry: Watched) -> None:
        entry.up = False
        entry.waits_until_s = board.starts(name).waits_until_s

    def _note(self, name: str, entry: Watched, answer: Mapping[str, Any]) -> None:
        if entry.pid != answer["pid"]:
            entry.starts = board.starts(name).count
            if entry.pid is not None:
                log.warning("%s was restarted", name)
        entry.pid, entry.node, entry.strikes = answer["pid"], answer["node"], 0
        entry.up, entry.waits_until_s = True, 0.0
