"""Every object of every shape, and of the switches one by one and in pairs, is what its kind's schema says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jsonschema
import pytest

from actors import topology
from tests.chart import strict
from tests.chart.rendering import (
    SHAPES,
    chart_folder,
    fleet_file,
    merged,
    metadata,
    pods,
    render,
    setting,
    the,
    values_of,
)

SECRETS = {"existingSecret": "given"}
SWITCHES: list[dict[str, Any]] = [
    setting("source/mode", "live"),
    setting("source/dataReplayEndpoint", "tcp://data-replay.karman.svc:5557"),
    setting("replay", {"devices": 12, "datasetImage": "registry.example/recordings:1"}),
    setting("timescale", {"install": False, "dsn": "postgres://user:pass@192.0.2.8:5432/karman?sslmode=disable"}),
    setting("timescale", {"persistence": {"enabled": False}, "password": "s&cret +/ü"}),
    merged(*(setting(path, SECRETS) for path in ("timescale", "ray/auth", "prometheus/token"))),
    setting("prometheus/mode", "external"),
    setting("prometheus/operator", {"monitor": "service", "labels": {"release": "monitoring"}, "rules": False}),
    setting("prometheus/operator/enabled", False),
    setting("prometheus", {"token": {"enabled": True}, "external": {"serviceType": "LoadBalancer"}}),
    setting("sizing/devices", 1000),
    setting("ray", {"store": {"shards": 3, "spool": {"storageClass": "fast", "keep": False}}, "upgrade": "None"}),
    setting("ray", {"gateway": {"dedicated": True}, "ingest": {"replicas": 2}, "podAnnotations": {"a.example/b": "c"}}),
    setting("networkPolicy/enabled", False),
    setting("podDisruptionBudget", {"workers": False, "head": True}),
    setting("submitter/enabled", False),
    setting("imagePullSecrets", [{"name": "registry"}]),
    setting("image", {"digest": "sha256:" + "0" * 64}),
    setting("tolerations", {key: [{"key": key, "operator": "Exists"}] for key in ("gpu", "infra")}),
    setting("namespace", "elsewhere"),
]


def check(values: dict[str, Any], versions: Sequence[str] = strict.KUBERNETES[1:2]) -> None:
    objects = render(values)
    assert len(objects) > 6
    for entry in objects:
        strict.check(entry, versions)
    identities = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len(identities) == len(set(identities))
    assert len({o["metadata"]["namespace"] for o in objects}) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_lint(shape: str) -> None:
    import helm_python

    for version in ("v1.29.0", "v1.37.0"):
        report = helm_python.lint(chart_folder(), values_of(shape), strict=True, kube_version=version)
        worse = [message for message in report["messages"] if message["severity"] > 1]  # above information
        assert (worse, report["errors"]) == ([], [])


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: str) -> None:
    check(values_of(shape), strict.KUBERNETES)


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_each_switch(shape: str, switch: dict[str, Any]) -> None:
    check(merged(values_of(shape), switch))


def test_pairs_of_switches() -> None:
    """Each with the three after it: what they share is touched together."""
    for distance in (1, 2, 3):
        for first, second in zip(SWITCHES, [*SWITCHES[distance:], *SWITCHES[:distance]], strict=True):
            check(merged(first, second))


def test_a_misspelt_field_is_found() -> None:
    (cluster,) = [entry for entry in render() if entry["kind"] == "RayCluster"]
    container = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    container["livenesProbe"] = container.pop("livenessProbe")
    with pytest.raises(jsonschema.ValidationError, match="livenesProbe"):
        strict.check(cluster)


def test_a_changed_device_list_changes_the_fleet_file_alone() -> None:
    """So Helm replaces no pod for it: `karman run` sees the file change."""
    devices = [{"id": f"d{n}", "endpoint": f"tcp://192.0.2.{n}:5557", "rack": "r1"} for n in range(1, 8)]
    before, after = (
        render(merged(values_of("values-external.yaml"), {"devices": devices[:count]})) for count in (6, 7)
    )
    tokens = ("Secret",)  # made anew at each render without a cluster
    changed = [
        (old["kind"], old["metadata"]["name"])
        for old, new in zip(before, after, strict=True)
        if old != new and old["kind"] not in tokens
    ]
    assert changed == [("ConfigMap", "karman-fleet")]
    assert "d7" in fleet_file(after)


def test_more_devices_than_a_step_change_replicas_only_where_they_can() -> None:
    """Replicas are the one thing that KubeRay changes without rebuilding the cluster."""

    def cluster(count: int) -> dict[str, Any]:
        values = merged(values_of("values-external.yaml"), setting("sizing", {"devices": 512, "devicesPerWorker": 128}))
        values = merged(values, setting("ray/ingest/replicas", count))
        return next(entry for entry in render(values) if entry["kind"] == "RayCluster")

    few, many = cluster(3), cluster(5)
    for entry in (few, many):
        for group in entry["spec"]["workerGroupSpecs"]:
            for key in ("replicas", "minReplicas", "maxReplicas"):
                del group[key]
    assert few == many


def test_ingests_have_their_pods_to_themselves_and_are_waited_for() -> None:
    objects = render(
        merged(values_of("values-external.yaml"), setting("sizing", {"devices": 512, "devicesPerWorker": 128}))
    )
    offered = {
        group["groupName"]: set(group.get("resources", {}))
        for group in the(objects, "RayCluster")["spec"]["workerGroupSpecs"]
    }
    assert offered == {
        "store-0": {"karman-spool", "karman-spool-0"},
        "gateway": {"karman-gateway"},
        "ingest": {topology.INGEST_NODE},
    }
    head = next(pod for pod in pods(objects) if "KARMAN_WAIT_FOR" in pod.environment())
    assert head.environment()["KARMAN_WAIT_FOR"] == "karman-gateway,karman-spool-0,karman-ingest"
    small = next(pod for pod in pods(render()) if "KARMAN_WAIT_FOR" in pod.environment())
    assert "ingest" not in small.environment()["KARMAN_WAIT_FOR"]


def test_a_device_without_a_port_that_policies_could_open_is_refused() -> None:
    devices = [{"id": "d", "endpoint": "tcp://192.0.2.1:{port}", "rack": "r1"}]
    with pytest.raises(Exception, match="which port is that"):
        render(merged(values_of("values-external.yaml"), {"devices": devices}))


def test_dependencies_are_pinned_and_switched() -> None:
    found = {entry["name"]: entry for entry in metadata()["dependencies"]}
    assert {name: entry["condition"] for name, entry in found.items()} == {
        "kuberay-operator": "kuberay-operator.install",
        "kube-prometheus-stack": "prometheus.install",
    }
    assert all(entry["version"].count(".") == 2 and entry["version"][0].isdigit() for entry in found.values())
