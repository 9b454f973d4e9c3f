"""The supervisor: starts the actors in order, watches them, applies changes, and ends them so that nothing is lost.

What is in force stands on the board before it is carried out, and carrying out means to compare what runs with it: so
a supervisor that is started anew, in the middle of a change too, finds the others by name and goes on.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import ray

from actors import board, topology
from actors.aggregator import PhaseAggregatorActor
from actors.board import Applied
from actors.fleet import FleetActor
from actors.fleet_shard import FleetShardActor
from actors.ingest import IngestActor
from actors.prometheus_writer import PrometheusWriterActor
from actors.replay import ReplayActor
from actors.timescale_writer import TimescaleWriterActor
from actors.watch import WATCH_S, Watch
from pipeline.core.assignment import arranged
from pipeline.core.change import Change, change, fixed_changes, same_link
from pipeline.core.config import Device, PipelineConfig
from pipeline.core.errors import KarmanError
from pipeline.core.model import CHANNELS
from pipeline.core.pairing import sender

log = logging.getLogger(__name__)

ASK_S: Final = 5.0
FIRST_ANSWER_S: Final = 60.0
STOP_S: Final = 190.0  # an ingest hands on all that it has, as long as the store takes it
HOST_S: Final = 20.0
LINGER_S: Final = 10.0  # after the end: for the driver to fetch the balance, if there still is one
_CLASS: Final = re.compile(r"^[\w.]+(Error|Exception): ")  # what Ray puts before the words of an actor that failed


class SupervisorActor:
    """Owns the life of one pipeline's actors."""

    def __init__(self, config: PipelineConfig) -> None:
        self._applied = board.current(config)
        self._fresh = not self._applied.groups
        if self._fresh:
            self._begin(config)
        board.take_turn(topology.SUPERVISOR)
        self._restarts = board.starts(topology.SUPERVISOR).count - 1
        self._watch = Watch()
        self._changing = threading.RLock()
        self._carried_out = False
        self._stopping = threading.Event()
        self._final: dict[str, Any] | None = None
        self._started = threading.Event()
        self._failure: str | None = None
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def health(self) -> dict[str, Any]:
        """Who answers."""
        return topology.identity()

    def ready(self, stall_s: float) -> str | None:
        """Wait until every actor has answered; None, or why one could not start.

        Hundreds of processes take minutes: it waits as long as another one is up within `stall_s`.
        """
        up, since_s = 0, time.monotonic()
        while not self._started.wait(0.2) and time.monotonic() - since_s < stall_s:
            if (now_up := sum(entry["up"] for entry in self._watch.status().values())) > up:
                up, since_s = now_up, time.monotonic()
        return self._failure if self._failure or self._started.is_set() else "the actors do not start in time"

    def config(self) -> PipelineConfig:
        """The configuration in force."""
        return self._applied.config

    def status(self) -> dict[str, dict[str, Any]]:
        """Process, node and restarts of every actor."""
        own = {**topology.identity(), "restarts": self._restarts, "up": True, "waits_s": 0.0}
        return {topology.SUPERVISOR: own, **self._watch.status()}

    def apply(self, config: PipelineConfig) -> Change:
        """Let another configuration be in force; devices that it does not concern notice nothing.

        Raises:
            KarmanError: it is being stopped.
        """
        with self._changing:
            before = self._applied
            refused = fixed_changes(before.config, config)
            if refused:
                return Change(refused=refused)
            config = replace(config, run_us=before.config.run_us)
            applied = Applied(config, *arranged(config, before.groups, before.subtrees))
            found = change(before.config, before.groups, config, applied.groups)
            if found and self._stopping.is_set():
                raise KarmanError("the pipeline is ending")
            if found:
                self._applied = applied
                board.publish(self._applied)
                self._try_to_carry_out()
            return found

    def stop(self) -> dict[str, Any]:
        """Stop the sources, let everything received be stored, end every actor. Answers their last stats.

        It goes on if whoever asked for it dies; then it ends itself too.
        """
        self._stopping.set()
        with self._changing:
            if self._final is None:
                self._final = self._stop()
                threading.Timer(LINGER_S, self._end_self).start()
            return self._final

    def _begin(self, config: PipelineConfig) -> None:
        """A new pipeline: what one before may have left behind goes first."""
        if board.written():
            for name in topology.running():
                if name != topology.SUPERVISOR:
                    _kill(name)
            board.clear()
        self._applied = Applied(config, *arranged(config))
        board.publish(self._applied)

    def _run(self) -> None:
        try:
            with self._changing:
                self._carry_out()
        except Exception as error:
            log.exception("the pipeline cannot start")
            if self._fresh:
                cause = getattr(error, "cause", None) or error
                self._failure = _CLASS.sub("", str(cause).strip().splitlines()[-1])
                self._started.set()
                return
        self._started.set()
        while not self._stopping.wait(WATCH_S):
            try:
                with self._changing:
                    if not self._carried_out:
                        self._try_to_carry_out()
                    if not self._stopping.is_set():
                        self._watch.look()
                        self._part_pairs()
            except Exception:
                log.exception("the supervisor goes on")

    def _try_to_carry_out(self) -> None:
        try:
            self._carry_out()
        except (ValueError, ray.exceptions.RayError):
            log.exception("not all is in place: it is tried again")

    def _carry_out(self) -> None:
        """Make what runs be what is in force: devices are given up where they were before others take them."""
        self._carried_out = False
        applied, config = self._applied, self._applied.config
        wanted = {
            name: applied.devices_of(topology.producer_of(name))
            for name in topology.ingest_members(config, applied.groups)
        }
        hosted = self._hosted()
        for name, devices in hosted.items():
            if name not in wanted:
                self._retire(name)
                continue
            staying = [d for d in wanted[name] if d.name in devices and same_link(d, devices[d.name])]
            if len(staying) < len(devices):
                self._host(name, staying)
        for step in self._steps():
            for name, make in step:
                self._watch.add(name, make)
            for name, _ in step:
                self._watch.first_answer(name, FIRST_ANSWER_S)
        for name, devices in wanted.items():
            if name in hosted and tuple(hosted[name].values()) != devices:
                self._host(name, devices)
        told = [topology.EXPORTER, *([topology.FLEET] if config.fleet_settings is not None else [])]
        told += [*topology.fleet_shard_names(config), *topology.aggregator_names(config)]
        ray.get([self._watch.handle(name).configure.remote(applied) for name in told], timeout=ASK_S)
        self._carried_out = True

    def _hosted(self) -> dict[str, Any]:
        """The devices of every ingest that runs."""
        names = list(filter(topology.is_ingest, topology.running()))
        asked = {name: topology.find(name).hosted.remote() for name in names}
        return {name: ray.get(reference, timeout=ASK_S) for name, reference in asked.items()}

    def _host(self, name: str, devices: Sequence[Device]) -> None:
        if not ray.get(topology.find(name).host.remote(devices), timeout=HOST_S):
            raise ray.exceptions.RayError(f"the receivers of {name} do not acknowledge")

    def _retire(self, name: str) -> None:
        """End an ingest that has no devices any more."""
        self._watch.forget(name)
        ray.get(topology.find(name).stop.remote(), timeout=STOP_S)
        _kill(name)

    def _part_pairs(self) -> None:
        """Where both of a pair are on one node, and there is another, move the one that stands by."""
        applied = self._applied
        status = self._watch.status()
        if not applied.config.standby or len(topology.worker_nodes(topology.INGEST_NODE)) < 2:
            return
        for first in applied.groups:
            pair = (first, topology.standby_of(first))
            if not all(name in status and status[name]["up"] for name in pair):
                continue
            if status[pair[0]]["node"] != status[pair[1]]["node"]:
                continue
            idle = [n for n, standing in _answers(pair, "standing", 0.0).items() if not standing.sends]
            if len(idle) == 1:
                log.warning("%s moves to another node", idle[0])
                _kill(idle[0])  # the watch finds it dead, and makes it again, apart from the other

    def _steps(self) -> list[list[tuple[str, Callable[[], Any]]]]:
        """All actors and how each is made, in the order in which they have to be there."""
        config, groups = self._applied.config, self._applied.groups

        def maker(cls: type, name: str, *args: object, **options: Any) -> tuple[str, Callable[[], Any]]:
            return name, lambda: topology.spawn(cls, name, *args, **options)

        stores = [
            maker(TimescaleWriterActor, name, shard, config, node=topology.spool_node(shard))
            for shard, name in enumerate(topology.store_names(config))
        ]
        aggregators = [
            maker(PhaseAggregatorActor, name, name, channel, config)
            for shard in range(config.aggregator_shards)
            for channel in CHANNELS
            for name in [topology.aggregator_name(channel, shard)]
        ]
        fleet = [maker(FleetActor, topology.FLEET, config)] if config.fleet_settings is not None else []
        fleet += [
            maker(FleetShardActor, name, shard, config) for shard, name in enumerate(topology.fleet_shard_names(config))
        ]
        gateway = maker(PrometheusWriterActor, topology.EXPORTER, config, threads=4, node=topology.GATEWAY_NODE)
        ingests = [
            maker(
                IngestActor, name, name, config, threads=8, node=topology.INGEST_NODE, apart_from=topology.peer_of(name)
            )
            for name in topology.ingest_members(config, groups)
        ]
        replay = [maker(ReplayActor, topology.REPLAY, config, threads=2)] if config.replay else []
        return [[*stores, *aggregators, *fleet, gateway], ingests[: len(groups)], ingests[len(groups) :], replay]

    def _stop(self) -> dict[str, Any]:
        config, groups = self._applied.config, self._applied.groups
        final: dict[str, Any] = {"devices": len(config.devices), "replay": None, "ingests": {}, "stores": {}}
        if config.replay:
            final["replay"] = _answers([topology.REPLAY], "stop").get(topology.REPLAY)
        ingests = _answers(topology.ingest_members(config, groups), "stop")
        for name in groups:
            members = (name, topology.standby_of(name))
            final["ingests"][name] = sender(ingests[member] for member in members if member in ingests)
        _answers(topology.fleet_shard_names(config), "stop")  # they hand on their last seconds
        final["fleet_unwritten_s"] = sum(_answers([topology.FLEET], "stop").values())  # it hands them to the store
        final["stores"] = _answers(topology.store_names(config), "stop")
        for name in topology.running():
            if name != topology.SUPERVISOR:
                _kill(name)
        board.clear()
        return final

    def _end_self(self) -> None:
        _kill(topology.SUPERVISOR)


def _answers(names: Any, method: str, *arguments: object) -> dict[str, Any]:
    """What the actors of these names answer, of those that do."""
    asked = {}
    for name in names:
        with contextlib.suppress(ValueError):
            asked[name] = getattr(topology.find(name), method).remote(*arguments)
    answers = {}
    for name, reference in asked.items():
        try:
            answers[name] = ray.get(reference, timeout=STOP_S)
        except ray.exceptions.RayError:
            log.warning("%s did not answer '%s'", name, method)
    return answers


def _kill(name: str) -> None:
    with contextlib.suppress(ValueError, ray.exceptions.RayError):
        ray.kill(topology.find(name), no_restart=True)
