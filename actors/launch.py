"""Starting, finding and ending a pipeline, from a driver."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import ray

from actors import topology
from actors.supervisor import STOP_S, SupervisorActor
from pipeline.core.config import PipelineConfig
from pipeline.core.errors import KarmanError

START_S: Final = 120.0
ASK_S: Final = 30.0
OBJECT_STORE_BYTES: Final = 100 << 20  # calls carry their data inline; Ray's default would take 30 % of memory


@contextlib.contextmanager
def local_ray() -> Iterator[None]:
    """A Ray of our own on this machine, which ends with us; nothing of it listens beyond loopback."""
    with _own_process_group():
        _init()
    try:
        yield
    finally:
        ray.shutdown()


def _init() -> None:
    # Ray's default of 15 is for batch jobs: any other program of the machine would go before us, and we lose messages.
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(
        address="local",
        num_cpus=max(4, os.cpu_count() or 1),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
        namespace=topology.NAMESPACE,
    )


@contextlib.contextmanager
def _own_process_group() -> Iterator[None]:
    """What is started inside gets a process group of its own; we come back to ours.

    A SIGTERM to our whole group, as `timeout` and some service managers send it, would otherwise end Ray before we had
    stored what was received. (Ray itself only blocks SIGINT.)
    """
    ours = os.getpgrp()
    # A group is named after its first process, which has to live until others have joined.
    with subprocess.Popen(["sleep", "600"], process_group=0) as leader:  # noqa: S607
        try:
            os.setpgid(0, leader.pid)
        except OSError:  # a session's leader may not move: then signals to its group reach Ray too
            ours = 0
        try:
            yield
        finally:
            if ours:
                os.setpgid(0, ours)
            leader.kill()


def start(config: PipelineConfig) -> Any:
    """Start a pipeline and wait until all its actors have answered. Returns the supervisor's handle.

    Raises:
        KarmanError: an actor could not start; the message says why.
    """
    supervisor = topology.spawn(SupervisorActor, topology.SUPERVISOR, config, threads=4)
    failure = ray.get(supervisor.ready.remote(START_S), timeout=START_S + 30)
    if failure:
        end(config)
        raise KarmanError(failure)
    return supervisor


def ask(name: str, method: str, timeout_s: float = ASK_S) -> Any:
    """What a method of an actor of ours answers.

    Raises:
        KarmanError: there is no such actor, or it does not answer.
    """
    try:
        return ray.get(getattr(topology.find(name), method).remote(), timeout=timeout_s)
    except (ValueError, ray.exceptions.RayError) as error:
        raise KarmanError(f"{name} does not answer '{method}'") from error


def stop(config: PipelineConfig) -> dict[str, Any]:
    """Stop the sources, store what was received, end every actor. Returns the last stats."""
    supervisor = topology.find(topology.SUPERVISOR)
    final: dict[str, Any] = ray.get(supervisor.stop.remote(), timeout=2 * STOP_S)
    end(config)
    return final


def end(config: PipelineConfig) -> None:
    """Kill every actor of the pipeline, the supervisor first so that nothing is started anew."""
    for name in [topology.SUPERVISOR, *topology.worker_names(config)]:
        with contextlib.suppress(ValueError, ray.exceptions.RayError):
            ray.kill(topology.find(name), no_restart=True)
