"""A Ray cluster of several nodes on this machine: a head that takes no actors, and workers that can be killed.

Nodes are processes here, and share the machine's disk and address. One that is killed closes its connections; one that
is frozen is as a machine whose power has failed: whoever asks it waits.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

import psutil
import ray
from ray.cluster_utils import Cluster

# How soon a node that vanished is given up; see docs/operations.md.
HEALTH_CHECKS: Final = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
_OBJECT_STORE_BYTES: Final = 80 << 20


class LocalCluster:
    """Nodes by the beginning of their ids, as `karman status` tells them."""

    def __init__(self, workers: int) -> None:
        os.environ.update(HEALTH_CHECKS)
        os.environ.setdefault("RAY_worker_niceness", "0")
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
            },
        )
        self.address: str = self._cluster.address
        self._nodes: dict[str, Any] = {}
        self._frozen: list[psutil.Process] = []
        for _ in range(workers):
            self.add()

    @property
    def nodes(self) -> list[str]:
        """The workers that live."""
        return list(self._nodes)

    def add(self) -> str:
        """Another worker."""
        node = self._cluster.add_node(num_cpus=4, object_store_memory=_OBJECT_STORE_BYTES)
        self._nodes[node.node_id] = node
        return str(node.node_id)

    def kill(self, told: str) -> None:
        """kill -9 on a node: `told` is what an actor says of it, which ends with the beginning of its id."""
        self._cluster.remove_node(self._nodes.pop(self._full(told)), allow_graceful=False)

    def freeze(self, told: str) -> None:
        """Stop a node's processes, and leave them so; `told` as for `kill`."""
        for started in self._nodes.pop(self._full(told)).all_processes.values():
            for process in (psutil.Process(one.process.pid) for one in started):
                for frozen in (process, *process.children(recursive=True)):
                    frozen.suspend()
                    self._frozen.append(frozen)

    def close(self) -> None:
        """End it."""
        self._cluster.shutdown()
        for process in self._frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _full(self, told: str) -> str:
        return next(name for name in self._nodes if name.startswith(told.rpartition(" ")[2]))


@contextlib.contextmanager
def local_cluster(workers: int = 2) -> Iterator[LocalCluster]:
    """A cluster that ends with us."""
    cluster = LocalCluster(workers)
    try:
        yield cluster
    finally:
        if ray.is_initialized():
            ray.shutdown()
        cluster.close()
