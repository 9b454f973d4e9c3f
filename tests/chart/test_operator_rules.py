"""What KubeRay refuses or silently gets wrong, and no schema says: read in its validation.go and pod.go at 1.7.0."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from tests.chart.rendering import SHAPES, Pod, cpus, merged, pods, render, setting, start_command, the, values_of

LARGE = setting("sizing/devices", 2000)
VARIANTS = [
    *((shape, {}) for shape in SHAPES),
    ("values-in-cluster.yaml", merged(LARGE, setting("ray/store/shards", 4))),
    ("values-external.yaml", LARGE),
]


@pytest.fixture(params=VARIANTS, ids=str)
def objects(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    shape, more = request.param
    return render(merged(values_of(shape), more))


@pytest.fixture
def ray(objects: list[dict[str, Any]]) -> list[Pod]:
    return [pod for pod in pods(objects) if pod.group is not None]


def workers(ray: list[Pod]) -> list[Pod]:
    return [pod for pod in ray if pod.labels["ray.io/node-type"] == "worker"]


def test_token_authentication(objects: list[dict[str, Any]]) -> None:
    spec = the(objects, "RayCluster")["spec"]
    assert spec["authOptions"]["mode"] == "token"
    assert re.fullmatch(r"\d+\.\d+\.\d+", spec["rayVersion"])  # needed with tokens, and for probes without wget
    secret = the(objects, "Secret", spec["authOptions"]["secretName"])
    assert len(secret["stringData"]["auth_token"]) >= 32


def test_groups(objects: list[dict[str, Any]]) -> None:
    spec = the(objects, "RayCluster")["spec"]
    assert "enableInTreeAutoscaling" not in spec
    assert (
        {"type": spec["upgradeStrategy"]["type"]} == spec["upgradeStrategy"] in ({"type": "Recreate"}, {"type": "None"})
    )
    groups = spec["workerGroupSpecs"]
    assert len({group["groupName"] for group in groups}) == len(groups)
    for group in groups:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"] >= 1
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", group["groupName"])
    for group in (spec["headGroupSpec"], *groups):
        parameters = group["rayStartParams"]
        assert not (group.get("resources") and parameters.keys() & {"num-cpus", "num-gpus", "memory", "resources"})
        assert "labels" not in parameters
        assert all(isinstance(value, str) for value in parameters.values())


def test_names_fit() -> None:
    """A RayCluster's name is a DNS-1035 label of at most 53 letters; its pods' prefix is cut at 50."""
    for release in ("karman", "a" * 53, "x-karman-y"):
        cluster = the(render(name=release), "RayCluster")["metadata"]["name"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", cluster)
        assert len(cluster) <= 40
        hosts = ("Service", "StatefulSet", "Deployment")  # whose names become host names or labels
        longest = max(len(entry["metadata"]["name"]) for entry in render(name=release) if entry["kind"] in hosts)
        assert longest <= 63


def test_containers(ray: list[Pod]) -> None:
    for pod in ray:
        assert pod.container["name"].startswith("ray-")  # the first container is Ray's
        assert not {"command", "args"} & pod.container.keys()  # KubeRay gives them
        assert "restartPolicy" not in pod.spec
        forbidden = {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME", "RAY_enable_autoscaler_v2", "RAY_ADDRESS"}
        assert not forbidden & pod.environment().keys()
        ports = {port["name"]: port["containerPort"] for port in pod.container["ports"]}
        assert ports["metrics"] == 8080
        assert all(len(name) <= 15 for name in ports)
        taken = {6379, 8265, 10001, 52365, 44217, 44227, 8080}
        assert ports.get("gateway") not in taken


def test_the_head_runs_no_actor(ray: list[Pod]) -> None:
    (head,) = (pod for pod in ray if pod.labels["ray.io/node-type"] == "head")
    assert "--num-cpus=0" in start_command(head)
    for pod in workers(ray):
        assert f"--num-cpus={math.ceil(cpus(pod.container['resources']['limits']['cpu']))}" in start_command(pod)


def test_probes_ask_ray_over_http(ray: list[Pod]) -> None:
    """So the image needs no wget; the port is the one of the node's agent."""
    for pod in ray:
        for probe in ("readinessProbe", "livenessProbe"):
            assert pod.container[probe]["httpGet"] == {"path": "/api/healthz", "port": 52365}
        liveness = pod.container["livenessProbe"]
        assert 60 <= liveness["periodSeconds"] * liveness["failureThreshold"] <= 300


def test_there_is_time_to_drain(ray: list[Pod]) -> None:
    for pod in ray:
        assert pod.spec["terminationGracePeriodSeconds"] == 60
    for pod in workers(ray):
        drain_s = int(pod.environment()["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert drain_s == 20  # Ray's 30 s and Kubernetes' 30 s race each other


def test_each_shard_has_a_claim_of_its_own(objects: list[dict[str, Any]], ray: list[Pod]) -> None:
    claims = {
        pod.name: [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod.spec["volumes"]
            if "persistentVolumeClaim" in volume
        ]
        for pod in ray
    }
    stores = [pod for pod in ray if "karman-spool" in (pod.group or {}).get("resources", {})]
    assert stores
    for pod in stores:
        assert pod.replicas == 1
        assert len(claims[pod.name]) == 1
    used = [claim for of_pod in claims.values() for claim in of_pod]
    assert len(used) == len(set(used)) == len(stores)
    assert set(used) == {o["metadata"]["name"] for o in objects if o["kind"] == "PersistentVolumeClaim"}


def test_one_group_offers_the_gateway(ray: list[Pod]) -> None:
    offering = [pod for pod in ray if "karman-gateway" in (pod.group or {}).get("resources", {})]
    assert [pod.labels.get("karman.io/gateway") for pod in offering] == ["true"]
    assert [pod.replicas for pod in offering] == [1]
    assert [pod for pod in ray if pod.labels.get("karman.io/gateway")] == offering


def test_disruption_budgets_count_what_can_be_counted(objects: list[dict[str, Any]], ray: list[Pod]) -> None:
    """Pods of a RayCluster have no scale that Kubernetes knows: a budget must give an integer of pods that stay."""
    count = sum(pod.replicas for pod in workers(ray))
    budgets = [entry for entry in objects if entry["kind"] == "PodDisruptionBudget"]
    assert bool(budgets) == (count > 1)
    for budget in budgets:
        assert budget["spec"]["minAvailable"] == count - 1
        assert "maxUnavailable" not in budget["spec"]


def test_workers_spread(ray: list[Pod]) -> None:
    for pod in workers(ray):
        (constraint,) = pod.spec["topologySpreadConstraints"]
        selector = constraint["labelSelector"]["matchLabels"]
        assert selector.items() <= pod.labels.items()


def test_memory_of_the_object_store_fits_its_volume(ray: list[Pod]) -> None:
    for pod in ray:
        (volume,) = (volume for volume in pod.spec["volumes"] if volume["name"] == "shared-memory")
        assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "256Mi"}
        size = int((pod.group or {})["rayStartParams"]["object-store-memory"])
        assert 75 << 20 <= size < 256 << 20  # Ray takes no less than 75 MiB
