"""How actors are made, placed and found: the only place where `ray.remote(Cls).options(...)` is written.

Every actor is detached and named in one namespace, so that a restarted supervisor finds what runs. The names of a
pipeline follow from its configuration and from which ingest hosts which devices.
"""

from __future__ import annotations

import functools
import os
import zlib
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.core.assignment import INGEST, Groups, arranged, shard_of
from pipeline.core.config import PipelineConfig
from pipeline.core.model import CHANNELS

NAMESPACE: Final = "karman"
SUPERVISOR: Final = "supervisor"
STORE: Final = "timescale-writer"
EXPORTER: Final = "prometheus-writer"
REPLAY: Final = "replay"
FLEET: Final = "fleet"
_STANDBY: Final = "standby-of-"
# Custom resources. Where a node of the cluster offers one, the actors that it is for run on such nodes.
GATEWAY_NODE: Final = "karman-gateway"  # whose address Prometheus and browsers know
SPOOL_NODE: Final = "karman-spool"  # whose disk keeps what the database does not take; -0, -1 ... of one shard alone
ASK_S: Final = 5.0
_ID: Final = 6  # digits of a node's id that are told
INGEST_NODE: Final = "karman-ingest"  # that has the memory for them
_SLIVER: Final = 0.001  # of a custom resource: a node that offers 1 has room for all
_offered: set[str] = set()  # custom resources that a node has offered since this process began


def _shard(name: str, shard: int) -> str:
    return f"{name}-{shard}" if shard else name


def store_name(shard: int = 0) -> str:
    """A shard of the store."""
    return _shard(STORE, shard)


def store_names(config: PipelineConfig) -> list[str]:
    """All shards of the store."""
    return [store_name(shard) for shard in range(config.store_shards)]


def store_of(device: str, config: PipelineConfig) -> str:
    """The store of a device."""
    return store_name(shard_of(device, config.store_shards))


def aggregator_name(channel: str, shard: int = 0) -> str:
    """A shard of the aggregator of a phase channel."""
    return _shard(f"aggregator-{channel}", shard)


def aggregator_names(config: PipelineConfig) -> list[str]:
    """All shards of the aggregators of all channels."""
    return [aggregator_name(channel, shard) for shard in range(config.aggregator_shards) for channel in CHANNELS]


def aggregator_of(device: str, channel: str, config: PipelineConfig) -> str:
    """The aggregator of a device's channel."""
    return aggregator_name(channel, shard_of(device, config.aggregator_shards))


def fleet_shard_name(shard: int) -> str:
    """A shard of the sums."""
    return f"{FLEET}-shard-{shard}"


def fleet_shard_names(config: PipelineConfig) -> list[str]:
    """All shards of the sums; none where whoever combines them adds up everything itself."""
    return [fleet_shard_name(shard) for shard in range(config.fleet_shards)] if config.fleet_shards > 1 else []


def adding_up(shard: int, config: PipelineConfig) -> str:
    """Who takes the rows of a shard of the sums."""
    return fleet_shard_name(shard) if config.fleet_shards > 1 else FLEET


def ingest_names(config: PipelineConfig) -> list[str]:
    """The ingests of a pipeline that begins."""
    return list(arranged(config)[0])


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


def is_ingest(name: str) -> bool:
    """Whether an actor of this name is an ingest."""
    return producer_of(name).startswith(f"{INGEST}-")


def ingest_members(config: PipelineConfig, groups: Groups) -> list[str]:
    """All ingest actors, those that stand by included."""
    return [*groups, *map(standby_of, groups)] if config.standby else [*groups]


def spawn(
    cls: type,
    name: str,
    *args: object,
    threads: int | None = None,
    node: str | None = None,
    apart_from: str | None = None,
) -> Any:
    """The actor of this name, made if it does not exist. `threads` lets that many of its methods run at a time.

    It restarts for ever with the same arguments. Its calls are never retried by Ray, which could repeat or reorder
    them: senders keep what is not acknowledged. Task events are off, for every call would be kept in Ray's head.
    A sliver of a CPU keeps it off a head node that offers none.

    Args:
        node: a custom resource: where any node offers it, the actor runs on one that does. Once one has offered it the
            actor is bound to it: made anew while that node is away it waits, for elsewhere are no spool and no port.
        apart_from: an actor on whose node it shall not run, where there is another. Otherwise actors are spread.
    """
    options: dict[str, Any] = {"max_concurrency": threads} if threads else {}
    if node is not None and node in ray.cluster_resources():
        _offered.add(node)
    if node in _offered:
        options["resources"] = {node: _SLIVER}
    other = None if apart_from is None else _another_node(name, apart_from, node)
    options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(other, soft=True) if other else "SPREAD"
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


def _another_node(name: str, than: str, offering: str | None) -> str | None:
    """The id of a node that `than` is not on; None if there is none, or if that actor is not there to tell."""
    try:
        taken = ray.get(find(than).health.remote(), timeout=ASK_S)["node"]
    except (ValueError, ray.exceptions.RayError):
        return None
    others = [node for node in worker_nodes(offering) if not taken.endswith(node[:_ID])]
    return others[zlib.crc32(name.encode()) % len(others)] if others else None


def worker_nodes(offering: str | None = None) -> list[str]:
    """The ids of the nodes that live and take actors; only of those that offer a custom resource, once one has."""
    wanted = offering if offering in _offered else "CPU"
    nodes = (node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))
    return sorted(node["NodeID"] for node in nodes if node["Resources"].get(wanted))


def spool_node(shard: int) -> str:
    """The custom resource of the nodes with a shard's disk: its own where a node offers it, else that of all shards."""
    own = f"{SPOOL_NODE}-{shard}"
    return own if own in ray.cluster_resources() or own in _offered else SPOOL_NODE


def running() -> list[str]:
    """The names of all actors of the namespace."""
    return [
        entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True) if entry["namespace"] == NAMESPACE
    ]


def identity() -> dict[str, Any]:
    """What `health` of every actor answers: a changed process id is a restart."""
    return {"pid": os.getpid(), "node": _node()}


@functools.cache
def _node() -> str:
    """The address of the node that we run on, and the beginning of its id: several may share an address."""
    return f"{ray.util.get_node_ip_address()} {ray.get_runtime_context().get_node_id()[:_ID]}"
