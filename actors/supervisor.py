"""The supervisor: starts the actors in order, watches them, and stops them so that nothing received is lost.

Ray restarts an actor whose process dies. The supervisor sees to what Ray cannot see: one that no longer answers. Being
restarted itself it finds the others by name and goes on.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any, Final

import ray

from actors import topology
from actors.aggregator import PhaseAggregatorActor
from actors.ingest import IngestActor
from actors.prometheus_writer import PrometheusWriterActor
from actors.replay import ReplayActor
from actors.timescale_writer import TimescaleWriterActor
from pipeline.core.config import PipelineConfig
from pipeline.core.model import CHANNELS
from pipeline.core.pairing import sender

log = logging.getLogger(__name__)

WATCH_S: Final = 1.0
ANSWER_S: Final = 5.0  # Ray restarts a killed actor within 1 s; one that is silent for longer hangs
STRIKES: Final = 3  # unanswered questions before a hanging actor is killed, so that Ray starts it anew
STOP_S: Final = 45.0


@dataclass(slots=True)
class Watched:
    """What the supervisor knows of an actor."""

    pid: int | None = None
    restarts: int = 0
    strikes: int = 0


class SupervisorActor:
    """Owns the life of one pipeline's actors."""

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        self._watched = {name: Watched() for name in topology.worker_names(config)}
        self._stopping = threading.Event()
        self._handles: dict[str, Any] = {}
        self._started = threading.Event()
        self._failure: str | None = None
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def health(self) -> dict[str, int]:
        """Who answers."""
        return topology.identity()

    def ready(self, timeout_s: float) -> str | None:
        """Wait until every actor has answered; None, or why one could not start."""
        self._started.wait(timeout_s)
        return self._failure if self._failure or self._started.is_set() else "the actors do not start in time"

    def status(self) -> dict[str, dict[str, Any]]:
        """Process id of every actor, and its restarts since this supervisor watches."""
        return {topology.SUPERVISOR: {**topology.identity(), "restarts": 0}} | {
            name: {"pid": entry.pid, "restarts": entry.restarts} for name, entry in self._watched.items()
        }

    def stop(self) -> dict[str, Any]:
        """Stop the sources, then let everything received be stored. Answers the last stats of what was stopped."""
        self._stopping.set()
        final: dict[str, Any] = {"ingests": {}}
        if self._config.replay:
            final["replay"] = self._ask(topology.REPLAY, "stop", STOP_S)
        stops = {name: self._handles[name].stop.remote() for name in topology.ingest_members(self._config)}
        for name, reference in stops.items():
            try:
                stats, producer = ray.get(reference, timeout=STOP_S), topology.producer_of(name)
                final["ingests"][producer] = sender([stats, *filter(None, [final["ingests"].get(producer)])])
            except ray.exceptions.RayError:
                log.warning("%s did not stop in order", name)
        final["store"] = self._ask(topology.STORE, "stats", ANSWER_S)
        return final

    def _run(self) -> None:
        try:
            self._start()
        except Exception as error:
            cause = getattr(error, "cause", None) or error
            self._failure = str(cause).strip().splitlines()[-1]
            self._started.set()
            log.exception("the pipeline cannot start")
            return
        self._started.set()
        while not self._stopping.wait(WATCH_S):
            asked = {name: self._handles[name].health.remote() for name in self._watched}
            for name, reference in asked.items():
                self._look(name, reference)

    def _start(self) -> None:
        config = self._config
        spawned: list[list[tuple[str, Any]]] = [
            [(topology.STORE, topology.spawn(TimescaleWriterActor, topology.STORE, config))]
            + [
                (name, topology.spawn(PhaseAggregatorActor, name, channel, config))
                for channel in CHANNELS
                for name in [topology.aggregator_name(channel)]
            ]
            + [(topology.EXPORTER, topology.spawn(PrometheusWriterActor, topology.EXPORTER, config, threads=4))],
            [
                (name, topology.spawn(IngestActor, name, name, group, config, threads=6))
                for name, group in zip(topology.ingest_names(config), config.groups(), strict=True)
            ],
            [
                (name, topology.spawn(IngestActor, name, name, group, config, threads=6))
                for name, group in zip(
                    map(topology.standby_of, topology.ingest_names(config)), config.groups(), strict=True
                )
                if config.standby
            ],
        ]
        if config.replay:
            spawned.append([(topology.REPLAY, topology.spawn(ReplayActor, topology.REPLAY, config, threads=2))])
        for step in spawned:
            for name, handle in step:
                self._handles[name] = handle
                self._watched[name].pid = ray.get(handle.health.remote(), timeout=60)["pid"]

    def _look(self, name: str, reference: Any) -> None:
        entry = self._watched[name]
        try:
            pid = ray.get(reference, timeout=ANSWER_S)["pid"]
        except ray.exceptions.GetTimeoutError:
            entry.strikes += 1
        except ray.exceptions.ActorUnavailableError:
            return  # its process died and Ray is starting it anew
        except ray.exceptions.RayError:
            entry.strikes += 1
        else:
            if entry.pid is not None and pid != entry.pid:
                entry.restarts += 1
                log.warning("%s was restarted", name)
            entry.pid, entry.strikes = pid, 0
            return
        if entry.strikes >= STRIKES:
            log.warning("%s does not answer: it is started anew", name)
            entry.strikes = 0
            ray.kill(self._handles[name], no_restart=False)

    def _ask(self, name: str, method: str, timeout_s: float) -> Any:
        try:
            return ray.get(getattr(self._handles[name], method).remote(), timeout=timeout_s)
        except ray.exceptions.RayError:
            log.warning("%s did not answer '%s'", name, method)
            return None
