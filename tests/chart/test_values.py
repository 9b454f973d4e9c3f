"""What operators may say, and what becomes of it."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline
from pipeline.adapters import configuration
from tests.chart.rendering import (
    CHART,
    ROOT,
    SHAPES,
    chart,
    cpus,
    fleet_file,
    mebibytes,
    merged,
    metadata,
    names,
    notes,
    pods,
    render,
    setting,
    the,
    values_of,
)  # fmt: skip

# Every value of the original, by its documented names: its demo, and the two other shapes with their placeholders.
ORIGINAL: dict[str, dict[str, Any]] = {
    "demo": {
        "namespace": "karman",
        "images": {name: f"registry.example/{name}:latest" for name in ("dataExporter", "dataDb", "dataReplay")},
        "selectors": {"gpu": {}, "infra": {}},
        "tolerations": {"gpu": [], "infra": []},
        "imagePullSecrets": [{"name": "registry"}],
        "rackId": "r42",
        "breakerRatingAmps": 60,
        "systemVoltage": 120,
        "timescale": {"dsn": "", "install": True, "user": "karman", "password": "karman", "database": "karman", "port": 5432},
        "prometheus": {"mode": "internal", "scrapeInterval": "1s", "operator": {"enabled": True}, "install": True},
        "grafana": {"install": False},
        "kube-prometheus-stack": {"grafana": {"adminPassword": "karman"}, "grafana-agent": {"enabled": False}},
        "source": {
            "mode": "replay",
            "karmanEndpoint": "tcp://10.0.0.5:5557",
            "dataReplayEndpoint": "tcp://data-replay.karman.svc:5557",
            "topic": "cycle-aligned",
        },
        "replay": {"enabled": True, "rateHz": 60, "defaultDataset": "sample1-b200-no-powercap.csv", "datasetImage": ""},
        "egress": {"allowedCidrs": []},
    },
    "in-cluster": {
        "selectors": {"gpu": {"karman.io/role": "gpu"}, "infra": {"karman.io/role": "infra"}},
        "prometheus": {"mode": "internal", "install": True, "operator": {"enabled": True}},
        "timescale": {"install": True},
        "source": {"mode": "live", "karmanEndpoint": "tcp://<DEVICE_IP>:5557"},
    },
    "external": {
        "selectors": {"gpu": {"karman.io/role": "gpu"}, "infra": {}},
        "prometheus": {"mode": "external", "install": False, "operator": {"enabled": False}},
        "timescale": {"install": False, "dsn": "postgres://user:pass@<LAPTOP_IP>:5432/karman?sslmode=disable"},
        "source": {"mode": "live", "karmanEndpoint": "tcp://<DEVICE_IP>:5557"},
        "egress": {"allowedCidrs": ["<LAPTOP_IP>/32", "<DEVICE_IP>/32"]},
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", ORIGINAL)
def test_values_of_the_original_are_accepted(shape: str) -> None:
    chart().validate_schema(ORIGINAL[shape])
    objects = render(ORIGINAL[shape])
    assert "RayCluster" in {entry["kind"] for entry in objects}


def test_values_of_the_original_keep_their_meaning() -> None:
    values = merged(ORIGINAL["demo"], {"rackId": "r7", "breakerRatingAmps": 30, "systemVoltage": 277})
    objects = render(values)
    assert {entry["metadata"]["namespace"] for entry in objects} == {"karman"}
    file = yaml.safe_load(fleet_file(objects))
    assert file["defaults"] == {"topic": "cycle-aligned", "breaker_a": 30, "nominal_v": 277}
    assert [(device["endpoint"], device["rack"]) for device in file["devices"]] == [
        ("tcp://data-replay.karman.svc:5557", "r7")
    ]
    assert the(objects, "Deployment", "-replay")
    services = {entry["metadata"]["name"]: entry["spec"] for entry in objects if entry["kind"] == "Service"}
    assert services["data-replay"] == services["karman-replay"]  # so its endpoint leads to our publisher
    elsewhere = render(merged(ORIGINAL["demo"], setting("source/dataReplayEndpoint", "tcp://replay.elsewhere:5557")))
    assert not [entry for entry in elsewhere if "replay" in entry["metadata"]["name"]]
    assert "`images` is not used" in notes(values)
    live = yaml.safe_load(
        fleet_file(render(setting("source", {"mode": "live", "karmanEndpoint": "tcp://10.1.2.3:5557"})))
    )
    assert [device["endpoint"] for device in live["devices"]] == ["tcp://10.1.2.3:5557"]
    monitor = the(render(setting("prometheus/scrapeInterval", "5s")), "PodMonitor", "-gateway")
    assert monitor["spec"]["podMetricsEndpoints"][0]["interval"] == "5s"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("source/mode", "both"), ("replay/rateHz", 0), ("timescale/prot", 1), ("ray/store/shards", 0), ("devices", [{"id": "a"}]),
        ("prometheus/mode", "outside"), ("breakerRatingAmps", "60A"), ("image/digest", "sha256:12"), ("timescal", {}),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(path: str, value: Any) -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match=path.rsplit("/", 1)[-1]):
        chart().validate_schema(setting(path, value))


@pytest.mark.parametrize(
    "values", [*map(values_of, SHAPES), *ORIGINAL.values(), setting("replay/devices", 40)], ids=str
)
def test_the_fleet_file_is_right(values: dict[str, Any], tmp_path: Path) -> None:
    """Read by what reads it in the cluster, but for the placeholders that the original ships."""
    text = fleet_file(render(values)).replace("<DEVICE_IP>", "192.0.2.1")
    path = tmp_path / "fleet.yaml"
    path.write_text(re.sub(r"\n +token_file: .*", "", text))
    config = configuration.load(path, {"KARMAN_DSN": "postgresql://u@h/d"}, 0).config
    assert config.devices
    assert (config.http_host, config.http_port) == ("0.0.0.0", 9105)
    assert config.spool_dir == "/var/lib/karman/spool"


def test_other_keys_of_a_fleet_file_reach_it() -> None:
    file = yaml.safe_load(fleet_file(render(setting("fleet", {"standby": True, "storage": {"keep_cycles_s": "1d"}}))))
    assert file["standby"] is True
    assert file["storage"] == {"spool_bytes": "8GiB", "keep_cycles_s": "1d"}


@pytest.mark.parametrize(
    ("values", "shards"),
    [
        ({}, 1),
        (setting("sizing/devices", 4096), 1),
        (setting("sizing/devices", 10_000), 4),  # the next step is 16,384
        (setting("fleet", {"fleet": {"shards": 2, "wait_s": 2}}), 2),
    ],
)
def test_the_sums_of_many_devices_are_divided(values: dict[str, Any], shards: int) -> None:
    assert yaml.safe_load(fleet_file(render(values)))["fleet"]["shards"] == shards


# ---------------------------------------------------------------------------------------------------------- what it asks for

# Requests of pods that other charts make, as our values set them: what is set there is what those charts use. Their
# templates are elsewhere and not rendered here. Each of the operator's Prometheus pods has a reloader beside it.
SUBCHARTS = {
    "kuberay-operator": ["kuberay-operator/resources"],
    "prometheus-operator": ["kube-prometheus-stack/prometheusOperator/resources"],
    "prometheus": [
        "kube-prometheus-stack/prometheus/prometheusSpec/resources",
        "kube-prometheus-stack/prometheusOperator/prometheusConfigReloader/resources",
    ],
    "grafana": [
        "kube-prometheus-stack/grafana/resources",
        "kube-prometheus-stack/grafana/sidecar/resources",  # of dashboards
        "kube-prometheus-stack/grafana/sidecar/resources",  # of datasources
    ],
}


def test_the_demo_fits_its_cluster() -> None:
    cpu = memory = 0.0
    for pod in pods(render(values_of("values-demo.yaml"))):
        for container in pod.spec["containers"]:
            cpu += pod.replicas * cpus(container["resources"]["requests"]["cpu"])
            memory += pod.replicas * mebibytes(container["resources"]["requests"]["memory"])
    defaults = values_of("values.yaml")
    for paths in SUBCHARTS.values():
        for path in paths:
            found: Any = defaults
            for key in path.split("/"):
                found = found[key]
            cpu += cpus(found["requests"]["cpu"])
            memory += mebibytes(found["requests"]["memory"])
    assert cpu <= 3.0  # of 4: Kubernetes itself asks for 0.9
    assert memory <= 6.5 * 1024  # of 7 GiB
    switched_off = defaults["kube-prometheus-stack"]
    for part in ("alertmanager", "kubeStateMetrics", "nodeExporter"):
        assert switched_off[part] == {"enabled": False}


def test_the_demo_is_the_default() -> None:
    def without_secrets(values: dict[str, Any]) -> list[dict[str, Any]]:
        return [entry for entry in render(values) if entry["kind"] != "Secret"]

    assert without_secrets(values_of("values-demo.yaml")) == without_secrets({})


@pytest.mark.parametrize(
    ("devices", "capacity", "groups", "ingests"),
    [
        (1, 8, {"store-0"}, 0), (9, 64, {"store-0"}, 0), (64, 64, {"store-0"}, 0),
        (65, 256, {"store-0", "gateway", "ingest"}, 2), (1000, 1024, {"store-0", "gateway", "ingest"}, 4),
        (3000, 4096, {"store-0", "gateway", "ingest"}, 16),
    ],
)  # fmt: skip
def test_size_follows_the_devices(devices: int, capacity: int, groups: set[str], ingests: int) -> None:
    values = merged(values_of("values-external.yaml"), setting("sizing/devices", devices))
    found = [pod for pod in pods(render(values)) if pod.labels.get("karman.io/worker")]
    assert {(pod.group or {})["groupName"] for pod in found} == groups
    assert sum(pod.replicas for pod in found if (pod.group or {})["groupName"] == "ingest") == ingests
    assert f"up to {capacity} devices" in notes(values)
    for pod in found:
        requests, limits = (pod.container["resources"][kind] for kind in ("requests", "limits"))
        assert requests["memory"] == limits["memory"]
        assert math.ceil(2 * cpus(requests["cpu"])) <= cpus(limits["cpu"]) + 1


@pytest.mark.parametrize(("devices", "group"), [(8, "store-0"), (1000, "ingest")])
def test_a_standby_is_asked_for(devices: int, group: str) -> None:
    values = merged(values_of("values-external.yaml"), setting("sizing/devices", devices))

    def memory(given: dict[str, Any]) -> float:
        (pod,) = [pod for pod in pods(render(given)) if (pod.group or {}).get("groupName") == group]
        return mebibytes(pod.container["resources"]["requests"]["memory"])

    alone, paired = memory(values), memory(merged(values, setting("fleet/standby", True)))
    assert paired - alone == 2 * (8 if devices == 8 else 256)  # memoryMiPerDevice


@pytest.mark.parametrize(
    "given", [{"ray": {"store": {"spool": {"size": "5Gi"}}}}, {"fleet": {"storage": {"spool_bytes": "12 GiB"}}}]
)
def test_a_spool_larger_than_its_claim_is_refused(given: dict[str, Any]) -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match=r"ray\.store\.spool"):
        render(given)


DSN = "postgresql://u:p@db.example{}/d?sslmode=require"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"timescale": {"dsn": DSN.format("")}}, r"timescale\.install: false"),
        ({"timescale": {"dsn": DSN.format(":6432"), "install": False}}, r"timescale\.port is 5432.*says 6432"),
        ({"source": {"mode": "replay"}, "replay": {"enabled": False}}, r"source\.dataReplayEndpoint"),
    ],
)
def test_values_that_contradict_each_other_are_refused(given: dict[str, Any], said: str) -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match=said):
        render(given)


@pytest.mark.parametrize("port", [":6432", ""])
def test_a_database_outside_is_reached(port: str) -> None:
    database = {"dsn": DSN.format(port), "install": False, "port": int(port[1:] or 5432)}
    assert DSN.format(port) in str(render({"timescale": database}))


def test_a_replay_at_another_rate_is_added_up_by_that_rate() -> None:
    replayed = {"source": {"mode": "replay"}, "replay": {"rateHz": 30}}
    assert yaml.safe_load(fleet_file(render(replayed)))["mains_hz"] == 30
    live = {"source": {"mode": "live", "karmanEndpoint": "tcp://10.0.0.5:5557"}, "replay": {"rateHz": 30}}
    assert "mains_hz" not in yaml.safe_load(fleet_file(render(live)))


@pytest.mark.parametrize(
    ("fleet", "said"),
    [
        ({"devices": [{"id": "a", "endpoint": "tcp://h:6000"}]}, r"fleet\.devices"),
        ({"store_shards": 3}, r"fleet\.store_shards.*ray\.store\.shards"),
        ({"spool_dir": "/elsewhere"}, r"fleet\.spool_dir"),
        ({"http": {"port": 9999}}, r"fleet\.http\.port"),
    ],
)
def test_what_other_objects_go_by_is_no_key_of_the_fleet(fleet: dict[str, Any], said: str) -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match=said):
        render({"fleet": fleet})


def test_a_pattern_of_devices_needs_a_size() -> None:
    import helm_python

    pattern = [{"each": {"rack": "1..40"}, "id": "r{rack}", "endpoint": "tcp://pdu.r{rack}.example:5557"}]
    values = merged(values_of("values-external.yaml"), {"devices": pattern})
    with pytest.raises(helm_python.HelmError, match=r"sizing\.devices"):
        render(values)
    render(merged(values, setting("sizing/devices", 40)))


# --------------------------------------------------------------------------------------------------- what is the same elsewhere


def test_rules_and_dashboards_are_those_of_the_project() -> None:
    objects = render()
    rules = yaml.safe_load((ROOT / "grafana/alerts/karman.rules.yaml").read_text("utf-8"))
    assert the(objects, "PrometheusRule")["spec"] == rules
    boards = {path.name: path.read_text("utf-8") for path in (ROOT / "grafana/dashboards").glob("*.json")}
    assert boards
    found = {
        name: text.rstrip("\n")
        for entry in objects
        if entry["kind"] == "ConfigMap" and entry["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in entry["data"].items()
    }
    assert found == {name: text.rstrip("\n") for name, text in boards.items()}
    assert not names(render({"grafana": {"dashboards": False}}), "ConfigMap") & {
        f"karman-dashboard-{Path(b).stem}" for b in boards
    }


def test_the_image_has_the_python_and_ray_of_the_lock() -> None:
    dockerfile = (ROOT / "ray-cluster/Dockerfile").read_text("utf-8")
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    version = re.search(r"^ray(?:\[default\])?==([\d.]+)", lock, re.MULTILINE)
    assert version is not None
    assert values_of("values.yaml")["ray"]["version"] == version[1]
    python = re.search(r"--python-version (\S+)", (ROOT / "Makefile").read_text("utf-8"))
    assert python is not None
    assert re.search(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+)-slim", dockerfile, re.MULTILINE)[1] == python[1]  # type: ignore[index]
    assert metadata()["appVersion"] == pipeline.__version__
    assert f"ARG VERSION={pipeline.__version__}" in dockerfile


def test_the_image_is_built_from_what_is_there() -> None:
    dockerfile = (ROOT / "ray-cluster/Dockerfile").read_text("utf-8")
    let_in = [
        line[1:] for line in (ROOT / "ray-cluster/Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    copied = [
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    ]
    assert sorted(copied) == sorted(let_in)
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"^USER 1000:1000$", dockerfile, re.MULTILINE)
    assert (CHART / "values.schema.json").is_file()


def test_the_sizes_in_the_docs_are_those_of_the_chart() -> None:
    text = (ROOT / "docs/kubernetes.md").read_text("utf-8")
    rows = re.findall(r"^\| [\d–]+ \| (\d+) \| [^|]+ \| ([\d.]+) CPU, ([\d.]+) GiB \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for devices, cpu, memory in rows:
        values = merged(values_of("values-external.yaml"), setting("sizing/devices", int(devices)))
        asked = [
            (pod.replicas, pod.container["resources"]["requests"])
            for pod in pods(render(values))
            if pod.labels.get("karman.io/worker")
        ]
        assert float(cpu) == round(sum(count * cpus(request["cpu"]) for count, request in asked), 1)
        assert float(memory) == round(sum(count * mebibytes(request["memory"]) for count, request in asked) / 1024, 1)
