"""Starting, finding and ending a pipeline, from a driver. Drivers come and go; what they start is detached."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import ray

from actors import board, topology
from actors.supervisor import STOP_S, SupervisorActor
from pipeline.core.change import Change
from pipeline.core.config import PipelineConfig
from pipeline.core.errors import InputError, KarmanError

START_S: Final = 120.0  # without any further actor that answers
APPLY_S: Final = 180.0  # hundreds of new ingests start at five a second and core pair
ASK_S: Final = 10.0
LOOK_S: Final = 3.0
NODES_S: Final = 600.0  # pods may have to wait for their image
CLUSTER: Final = "RAY_ADDRESS"
INLINE_BYTES: Final = 8 << 20
OBJECT_STORE_BYTES: Final = 100 << 20  # calls carry their data inline; Ray's default would take 30 % of memory

_SETTINGS: Final = {
    # Ray's default of 15 is for batch jobs: any other program of the machine would go before us, and we lose messages.
    "RAY_worker_niceness": "0",
    # What is larger than Ray's default of 100 kB goes by way of its object store, at two to three times the CPU; a
    # second of 64 devices is 1.3 MB.
    "RAY_max_direct_call_object_size": str(INLINE_BYTES),
    # Ray's account of its own event loops: it makes each of a hundred wake-ups a second of every process dearer.
    "RAY_event_stats": "0",
    # Nobody reads Ray's account of calls, nor the workers' logs by way of Ray: its search for new files ten times a
    # second is the dearest of what it does in rest.
    "RAY_task_events_report_interval_ms": "0",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "60",
}


@dataclass(frozen=True, slots=True)
class Joined:
    """A driver's relation to the pipeline: whether it has started it, and what it changed in one that ran already."""

    started: bool
    config: PipelineConfig  # in force
    change: Change


def in_cluster() -> bool:
    """Whether a Ray cluster is named, which outlives us."""
    return bool(os.environ.get(CLUSTER))


@contextlib.contextmanager
def a_ray() -> Iterator[None]:
    """The Ray cluster that RAY_ADDRESS names; without it one of our own, which ends with us.

    Raises:
        InputError: RAY_ADDRESS is no address that a driver can use.
        KarmanError: no cluster answers there.
    """
    address = os.environ.get(CLUSTER)
    if not address:
        with local_ray():
            yield
        return
    if "://" in address:
        raise InputError(
            f"RAY_ADDRESS is {address}: on a node of the cluster use HOST:6379 or auto; from elsewhere send the command"
            " there with 'ray job submit'"
        )
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, namespace=topology.NAMESPACE)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        reason = str(error).strip().splitlines()[0]
        raise KarmanError(f"no Ray cluster can be used at RAY_ADDRESS={address}: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def local_ray() -> Iterator[None]:
    """A Ray of our own on this machine, which ends with us; its ports ask for a token.

    Raises:
        KarmanError: it does not start.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    with _until_the_end(
        num_cpus=max(4, os.cpu_count() or 1),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        namespace=topology.NAMESPACE,
    ):
        yield


@contextlib.contextmanager
def ray_as_it_comes() -> Iterator[None]:
    """A Ray of our own with Ray's own settings, which ends with us: to compare with.

    Raises:
        KarmanError: it does not start.
    """
    settings = {name: os.environ.pop(name) for name, value in _SETTINGS.items() if os.environ.get(name) == value}
    try:
        with _until_the_end():
            yield
    finally:
        os.environ.update(settings)


@contextlib.contextmanager
def _until_the_end(**settings: Any) -> Iterator[None]:
    try:
        with _own_process_group():
            ray.init(address="local", log_to_driver=False, logging_level=logging.ERROR, **settings)
    except Exception as error:  # Ray raises the very class where its start takes too long
        ray.shutdown()
        reason = str(error).strip().splitlines()[0]
        raise KarmanError(f"Ray could not be started on this machine: {reason}") from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _own_process_group() -> Iterator[None]:
    """What is started inside gets a process group of its own; we come back to ours.

    A SIGTERM to our whole group, as `timeout` and some service managers send it, would otherwise end Ray before we had
    stored what was received. (Ray itself only blocks SIGINT.)
    """
    ours = os.getpgrp()
    # A group is named after its first process, which has to live until others have joined.
    leader = subprocess.Popen(["sleep", "600"], process_group=0)  # noqa: S607
    try:  # from the first moment: whoever breaks off would wait for it
        try:
            os.setpgid(0, leader.pid)
        except OSError:  # a session's leader may not move: then signals to its group reach Ray too
            ours = 0
        yield
    finally:
        leader.kill()
        leader.wait()
        if ours:
            with contextlib.suppress(OSError):  # all others of it have gone, as a script has that started us
                os.setpgid(0, ours)


def join(config: PipelineConfig) -> Joined:
    """Start a pipeline, or join the one that runs and let it have this configuration.

    Raises:
        InputError: settings differ that cannot change while it runs.
        KarmanError: an actor could not start; the message says why.
    """
    try:
        supervisor, started = topology.find(topology.SUPERVISOR), False
    except ValueError:
        supervisor, started = topology.spawn(SupervisorActor, topology.SUPERVISOR, config, threads=8), True
    try:
        failure = ray.get(supervisor.ready.remote(START_S))
    except ray.exceptions.RayError:
        failure = "the supervisor died while the pipeline started: see the logs of Ray"
    if failure:
        if started:
            end()
        raise KarmanError(failure)
    return Joined(True, config, Change()) if started else Joined(False, running_config(), apply(config))


def wait_for(resources: Collection[str]) -> None:
    """Wait until the cluster's nodes offer these custom resources: an actor is placed by what is there when it is made.

    Raises:
        KarmanError: they do not come.
    """
    deadline_s = time.monotonic() + NODES_S
    while missing := sorted(set(resources) - set(ray.cluster_resources())):
        if time.monotonic() > deadline_s:
            raise KarmanError(f"no node of the cluster offers {', '.join(missing)}: are all workers up?")
        time.sleep(1.0)


def start(config: PipelineConfig) -> None:
    """Start a pipeline, or join the one that runs, and wait until all its actors have answered."""
    join(config)


def apply(config: PipelineConfig) -> Change:
    """Let a running pipeline have another configuration.

    Raises:
        InputError: settings differ that cannot change while it runs.
        KarmanError: there is none, or it does not answer.
    """
    change: Change = ask(topology.SUPERVISOR, "apply", config, timeout_s=APPLY_S)
    if change.refused:
        raise InputError(
            f"{', '.join(change.refused)} cannot change while the pipeline runs: 'karman stop' it and start it anew"
        )
    return change


def note_refusal(said: str) -> None:
    """Let status and metrics say why a configuration is not in force; "" if it is."""
    with contextlib.suppress(KarmanError):  # whoever tells it is being restarted: then the driver has said it
        ask(topology.EXPORTER, "refused", said)


def running_config() -> PipelineConfig:
    """The configuration in force.

    Raises:
        KarmanError: no pipeline runs, or it does not answer.
    """
    config: PipelineConfig = ask(topology.SUPERVISOR, "config")
    return config


def runs() -> bool:
    """Whether there is a pipeline."""
    try:
        topology.find(topology.SUPERVISOR)
    except ValueError:
        return False
    return True


def status() -> dict[str, Any]:
    """The status document; empty while nobody has it.

    Raises:
        KarmanError: no pipeline runs, or it does not answer.
    """
    document: dict[str, Any] = ask(topology.EXPORTER, "status", timeout_s=LOOK_S)
    return document


def ask(name: str, method: str, *arguments: object, timeout_s: float = ASK_S) -> Any:
    """What a method of an actor answers.

    Raises:
        KarmanError: there is no such actor, or it does not answer; or what it says itself.
    """
    try:
        actor = topology.find(name)
    except ValueError as error:
        raise KarmanError("no pipeline runs here") from error
    try:
        return ray.get(getattr(actor, method).remote(*arguments), timeout=timeout_s)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, KarmanError):
            raise error.cause from error
        raise KarmanError(f"the pipeline's {name} cannot do it: {error.cause}; its log says more") from error
    except ray.exceptions.RayError as error:
        raise KarmanError(f"the pipeline's {name} does not answer: try again in a few seconds") from error


def stop() -> dict[str, Any]:
    """Stop the sources, store what was received, end every actor. Returns the last stats.

    Raises:
        KarmanError: no pipeline runs, or somebody else has just ended it.
    """
    final: dict[str, Any] = ask(topology.SUPERVISOR, "stop", timeout_s=2 * STOP_S + APPLY_S)
    end()
    return final


def end() -> None:
    """Kill every actor of the pipeline, the supervisor first so that nothing is started anew."""
    names = topology.running()
    for name in sorted(names, key=lambda name: name != topology.SUPERVISOR):
        with contextlib.suppress(ValueError, ray.exceptions.RayError):
            ray.kill(topology.find(name), no_restart=True)
    board.clear()
