"""How actors are made and found: the only place where `ray.remote(Cls).options(...)` is written.

Every actor is detached and named in one namespace, so that a restarted supervisor finds what runs. The names of a
pipeline follow from its configuration alone.
"""

from __future__ import annotations

import os
from typing import Any, Final

import ray

from pipeline.core.config import PipelineConfig
from pipeline.core.model import CHANNELS

NAMESPACE: Final = "karman"
SUPERVISOR: Final = "supervisor"
STORE: Final = "timescale-writer"
EXPORTER: Final = "prometheus-writer"
REPLAY: Final = "replay"
_STANDBY: Final = "standby-of-"


def aggregator_name(channel: str) -> str:
    """The aggregator of a phase channel."""
    return f"aggregator-{channel}"


def ingest_names(config: PipelineConfig) -> list[str]:
    """The ingest actors, in the order of `config.groups()`."""
    return [f"ingest-{index}" for index in range(len(config.groups()))]


def standby_of(ingest: str) -> str:
    """The one that stands by for an ingest."""
    return f"{_STANDBY}{ingest}"


def producer_of(ingest: str) -> str:
    """The name under which an ingest sends: both of a pair send under that of the first."""
    return ingest.removeprefix(_STANDBY)


def peer_of(ingest: str) -> str:
    """The other one of a pair."""
    return producer_of(ingest) if ingest.startswith(_STANDBY) else standby_of(ingest)


def is_first(ingest: str) -> bool:
    """Whether it is the one of its pair that is made first."""
    return not ingest.startswith(_STANDBY)


def ingest_members(config: PipelineConfig) -> list[str]:
    """All ingest actors, those that stand by included."""
    names = ingest_names(config)
    return [*names, *map(standby_of, names)] if config.standby else names


def worker_names(config: PipelineConfig) -> list[str]:
    """All actors that the supervisor owns, in the order in which they are started."""
    replay = [REPLAY] if config.replay else []
    return [STORE, *map(aggregator_name, CHANNELS), EXPORTER, *ingest_members(config), *replay]


def spawn(cls: type, name: str, *args: object, threads: int | None = None) -> Any:
    """The actor of this name, made if it does not exist. `threads` lets that many of its methods run at a time.

    It restarts for ever with the same arguments. Its calls are never retried by Ray, which could repeat or reorder
    them: senders keep what is not acknowledged. Task events are off, for every call would be kept in Ray's head.
    A sliver of a CPU keeps it off a head node that offers none.
    """
    options: dict[str, Any] = {"max_concurrency": threads} if threads else {}
    return (
        ray.remote(cls)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=0,
            num_cpus=0.01,
            enable_task_events=False,
            **options,
        )
        .remote(*args)
    )


def find(name: str) -> Any:
    """The handle of a running actor.

    Raises:
        ValueError: there is none.
    """
    return ray.get_actor(name, namespace=NAMESPACE)


def running() -> list[str]:
    """The names of all actors of the namespace."""
    return [
        entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True) if entry["namespace"] == NAMESPACE
    ]


def identity() -> dict[str, int]:
    """What `health` of every actor answers: a changed process id is a restart."""
    return {"pid": os.getpid()}
