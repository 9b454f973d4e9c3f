"""What an attacker or an auditor would look at, in every pod of every shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.chart.rendering import Pod, fleet_file, matches, merged, pods, render, setting, the, values_of

SHAPES = {
    "demo": {},
    "in-cluster": values_of("values-in-cluster.yaml"),
    "external": values_of("values-external.yaml"),
    "large": merged(
        values_of("values-in-cluster.yaml"), setting("sizing/devices", 2000), setting("ray/store/shards", 3)
    ),
    "recordings": setting("replay/datasetImage", "registry.example/recordings:1"),
}


@pytest.fixture(params=SHAPES)
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(SHAPES[request.param])


@pytest.fixture
def objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    return render(values)


def containers(pod: Pod) -> list[dict[str, Any]]:
    return [*pod.spec.get("initContainers", []), *pod.spec["containers"]]


def test_pods_keep_the_restricted_standard(objects: list[dict[str, Any]]) -> None:
    found = list(pods(objects))
    assert len(found) >= 3
    for pod in found:
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert all(
            volume.keys() & {"emptyDir", "configMap", "secret", "persistentVolumeClaim"}
            for volume in pod.spec["volumes"]
        )
        for container in containers(pod):
            inner = container["securityContext"]
            assert inner["allowPrivilegeEscalation"] is False
            assert inner["readOnlyRootFilesystem"] is True
            assert inner["capabilities"] == {"drop": ["ALL"]}
            assert all("hostPort" not in port for port in container.get("ports", []))


def test_pods_have_bounds(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        for container in containers(pod):
            for kind in ("requests", "limits"):
                assert container["resources"][kind].keys() == {"cpu", "memory"}
        for volume in pod.spec["volumes"]:
            if "emptyDir" in volume:
                assert "sizeLimit" in volume["emptyDir"], volume["name"]


def test_images_are_pinned(objects: list[dict[str, Any]]) -> None:
    for pod in pods(objects):
        for container in containers(pod):
            assert ":latest" not in container["image"]
            assert "@sha256:" in container["image"] or ":" in container["image"].rsplit("/", 1)[-1]


def test_pods_know_nothing_of_the_api_server(objects: list[dict[str, Any]]) -> None:
    accounts = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ServiceAccount"}
    for pod in pods(objects):
        assert pod.spec["automountServiceAccountToken"] is False
        assert accounts[pod.spec["serviceAccountName"]]["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False
    assert not {o["kind"] for o in objects} & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}


def test_a_default_deny_covers_every_pod(objects: list[dict[str, Any]]) -> None:
    (deny,) = (o for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"].endswith("default-deny"))
    assert deny["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not deny["spec"].keys() & {"ingress", "egress"}
    assert all(matches(deny["spec"]["podSelector"], pod.labels) for pod in pods(objects))


# ------------------------------------------------------------------------------------------------- what may talk to what


def allows(
    objects: list[dict[str, Any]], source: dict[str, str] | str, target: dict[str, str] | str, port: int
) -> bool:
    """Whether policies let a connection pass: labels stand for our pods and others', a CIDR for what is outside."""
    policies = [o["spec"] for o in objects if o["kind"] == "NetworkPolicy"]

    def one_way(pod: dict[str, str] | str, peer: dict[str, str] | str, direction: str, key: str) -> bool:
        if isinstance(pod, str):
            return True
        mine = [p for p in policies if matches(p["podSelector"], pod) and direction in p["policyTypes"]]
        if not mine:
            return True
        return any(
            reaches(peer, rule.get(key)) and ("ports" not in rule or port in [entry["port"] for entry in rule["ports"]])
            for policy in mine
            for rule in policy.get(direction.lower(), [])
        )

    def reaches(peer: dict[str, str] | str, entries: list[dict[str, Any]] | None) -> bool:
        if entries is None:
            return True
        for entry in entries:
            if isinstance(peer, str):
                if entry.get("ipBlock", {}).get("cidr") in (peer, "0.0.0.0/0"):
                    return True
            elif "podSelector" in entry and matches(entry["podSelector"], peer):
                return True
        return False

    return one_way(source, target, "Egress", "to") and one_way(target, source, "Ingress", "from")


def labels(objects: list[dict[str, Any]], name: str) -> dict[str, str]:
    return next(pod.labels for pod in pods(objects) if pod.name == f"karman-{name}")


PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
GRAFANA = {"app.kubernetes.io/name": "grafana"}
STRANGER = {"app": "stranger"}


def test_the_demo_connects_what_must_and_nothing_else() -> None:
    objects = render()
    head, store, submitter = (labels(objects, name) for name in ("head", "store-0", "submitter"))
    replay, timescale = labels(objects, "replay"), labels(objects, "timescale")
    wanted = [
        (head, store, 40000), (store, head, 6379), (store, store, 50000), (submitter, head, 8265), (store, replay, 5557),
        (store, timescale, 5432), (head, timescale, 5432), (GRAFANA, timescale, 5432), (PROMETHEUS, store, 9105),
        (PROMETHEUS, store, 8080), (PROMETHEUS, head, 44217),
    ]  # fmt: skip
    unwanted = [
        (STRANGER, head, 8265), (STRANGER, head, 6379), (PROMETHEUS, head, 8265), (GRAFANA, head, 8265), (replay, head, 8265),
        (STRANGER, store, 9105), (STRANGER, timescale, 5432), (replay, timescale, 5432), (submitter, timescale, 5432),
        (submitter, head, 6379), (STRANGER, replay, 5557), (timescale, head, 8265), (store, "203.0.113.9/32", 443),
        (head, "203.0.113.9/32", 443), (store, "203.0.113.9/32", 5557), (store, "203.0.113.9/32", 5432),
    ]  # fmt: skip
    assert [case for case in wanted if not allows(objects, *case)] == []
    assert [case for case in unwanted if allows(objects, *case)] == []
    dns = {"k8s-app": "kube-dns"}
    assert all(allows(objects, pod.labels, dns, 53) for pod in pods(objects))


def test_outside_only_what_is_listed_is_reached() -> None:
    objects = render(SHAPES["external"])
    store = labels(objects, "store-0")
    assert allows(objects, store, "198.51.100.8/32", 5432)
    assert allows(objects, store, "192.0.2.11/32", 5557)
    assert not allows(objects, store, "203.0.113.1/32", 5557)
    assert not allows(objects, store, "192.0.2.11/32", 22)
    assert allows(objects, "198.51.100.7/32", store, 9105)
    assert not allows(objects, "203.0.113.1/32", store, 9105)
    free = render(merged(SHAPES["external"], setting("egress/allowedCidrs", [])))
    assert allows(free, labels(free, "store-0"), "203.0.113.1/32", 5557)


# ------------------------------------------------------------------------------------------------------------- secrets


def test_secrets_stand_in_secrets_alone(values: dict[str, Any]) -> None:
    objects = render(values)
    words = [
        word
        for entry in objects
        if entry["kind"] == "Secret"
        for key, word in entry["stringData"].items()
        if not key.endswith(".yaml")
    ]
    assert words
    rest = json.dumps([entry for entry in objects if entry["kind"] != "Secret"])
    assert [word for word in words if word in rest] == []


@pytest.mark.parametrize(("persistence", "kept"), [(True, True), (False, False)])
def test_a_password_lives_as_long_as_the_volume_that_was_made_with_it(persistence: bool, kept: bool) -> None:
    secret = the(render(setting("timescale/persistence/enabled", persistence)), "Secret", "-database")
    assert (secret["metadata"].get("annotations") == {"helm.sh/resource-policy": "keep"}) is kept


def test_given_passwords_stand_in_secrets_alone() -> None:
    objects = render(merged(setting("timescale", {"password": "hunter+2/3"})))
    rest = json.dumps([entry for entry in objects if entry["kind"] != "Secret"])
    assert "hunter" not in rest
    data = the(objects, "Secret", "-database")["stringData"]
    assert data["password"] == "hunter+2/3"
    assert "hunter%2B2%2F3@karman-timescale.power.svc:5432/karman" in data["dsn"]
    external = render(setting("timescale", {"install": False, "dsn": "postgres://u:hunter2@db/karman"}))
    assert "hunter" not in json.dumps([entry for entry in external if entry["kind"] != "Secret"])


def test_passwords_are_empty_by_default_and_made_differently_each_time() -> None:
    first, second = (the(render(), "Secret", "-database")["stringData"] for _ in range(2))
    assert len(first["password"]) >= 32
    assert first["password"] != second["password"]
    assert first["password"] != first["grafana-password"]
    values = values_of("values.yaml")
    assert values["timescale"]["password"] == values["timescale"]["dsn"] == ""
    assert "adminPassword" not in values["kube-prometheus-stack"]["grafana"]


def test_existing_secrets_win() -> None:
    """Ours are not made, and theirs are referred to, also where words were given too."""
    objects = render(
        merged(
            setting("timescale", {"existingSecret": "my-db", "password": "x", "install": True}),
            setting("ray/auth/existingSecret", "my-token"),
            setting("prometheus/token/existingSecret", "my-gateway"),
        )
    )
    assert [o for o in objects if o["kind"] == "Secret"] == []
    assert the(objects, "RayCluster")["spec"]["authOptions"]["secretName"] == "my-token"
    text = json.dumps([pod.spec for pod in pods(objects)])
    for name in ("my-db", "my-token", "my-gateway"):
        assert f'"{name}"' in text


def test_the_grafana_login_reads_as_the_reader() -> None:
    secrets = render()
    datasource = the(secrets, "Secret", "-datasource")["stringData"]["karman.yaml"]
    assert "user: karman_grafana" in datasource
    assert the(secrets, "Secret", "-database")["stringData"]["grafana-password"] in datasource
    script = the(secrets, "ConfigMap", "-timescale")["data"]["karman.sh"]
    assert "IN ROLE karman_reader" in script


def test_outside_the_cluster_a_token_is_asked_for() -> None:
    objects = render(SHAPES["external"])
    assert "token_file: /etc/karman/token/token" in fleet_file(objects)
    service = the(objects, "Service", "-gateway")["spec"]
    assert (service["type"], service["externalTrafficPolicy"]) == ("NodePort", "Local")
    assert "token_file" not in fleet_file(render())


def test_keys_towards_devices_are_mounted_where_they_are_read_and_nowhere_else() -> None:
    told = {"curve": {"existingSecret": "my-keys", "require": True}}
    devices = [{"id": "a", "endpoint": "tcp://10.0.0.5:5557", "server_key": "k" * 40}]
    objects = render({"security": told, "source": {"mode": "live"}, "devices": devices, "sizing": {"devices": 300}})
    written = yaml.safe_load(fleet_file(objects))
    assert written["security"] == {
        "curve": {"client_secret_file": "/etc/karman/curve/client.key_secret", "require": True}
    }
    mounted = set()
    for pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        if "curve" in volumes:
            # Not for others to read: the pipeline refuses a key file that anybody may read.
            assert volumes["curve"]["secret"] == {"secretName": "my-keys", "defaultMode": 0o440}
            (mount,) = (m for c in pod.spec["containers"] for m in c["volumeMounts"] if m["name"] == "curve")
            assert (mount["mountPath"], mount["readOnly"]) == ("/etc/karman/curve", True)
            assert pod.spec["securityContext"]["fsGroup"] == 1000
            mounted.add(pod.labels["app.kubernetes.io/component"])
    assert mounted == {"head", "store", "gateway", "ingest"}
    assert "curve" not in json.dumps([pod.spec for pod in pods(render())])
    assert yaml.safe_load(fleet_file(render()))["security"] == {"curve": {"require": False}}
