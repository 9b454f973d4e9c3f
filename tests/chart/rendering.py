"""The chart as Helm renders it, and the pods in it as KubeRay labels and starts them."""

from __future__ import annotations

import copy
import functools
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "ray-cluster" / "karman"
SHAPES = ("values.yaml", "values-demo.yaml", "values-in-cluster.yaml", "values-external.yaml")
NAMESPACE = "power"


@functools.cache
def chart_folder() -> Path:
    """The chart beside stubs of the charts that it depends on, which are elsewhere."""
    folder = Path(tempfile.mkdtemp(prefix="karman-chart-")) / "karman"
    shutil.copytree(CHART, folder)
    for dependency in metadata()["dependencies"]:
        stub = folder / "charts" / dependency["name"]
        stub.mkdir(parents=True)
        (stub / "Chart.yaml").write_text(
            yaml.safe_dump({"apiVersion": "v2", "name": dependency["name"], "version": dependency["version"]})
        )
    return folder


@functools.cache
def chart() -> Any:
    import helm_python

    return helm_python.Chart.load(chart_folder())


def metadata() -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8")))


def values_of(shape: str) -> dict[str, Any]:
    return dict(yaml.safe_load((CHART / shape).read_text("utf-8")))


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win, key by key, as with several `-f` and `--set`."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            if isinstance(value, Mapping) and isinstance(below, Mapping):
                result[key] = merged(below, value)
            else:
                result[key] = copy.deepcopy(value)
    return result


def setting(path: str, value: Any) -> dict[str, Any]:
    """What `--set PATH=VALUE` says."""
    first, _, rest = path.partition("/")
    return {first: setting(rest, value) if rest else value}


def render(values: Mapping[str, Any] | None = None, name: str = "karman") -> list[dict[str, Any]]:
    """Every object of a release."""
    texts: dict[str, str] = chart().render(dict(values or {}), name=name, namespace=NAMESPACE)
    return [
        document
        for path, text in texts.items()
        if not path.endswith("NOTES.txt")
        for document in yaml.safe_load_all(text)
        if document
    ]


def notes(values: Mapping[str, Any] | None = None) -> str:
    texts = chart().render(dict(values or {}), name="karman", namespace=NAMESPACE)
    return str(next(text for path, text in texts.items() if path.endswith("NOTES.txt")))


def the(objects: list[dict[str, Any]], kind: str, suffix: str = "") -> dict[str, Any]:
    """The one object of a kind whose name ends so."""
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, [o["metadata"]["name"] for o in found]
    return found[0]


def names(objects: list[dict[str, Any]], kind: str) -> set[str]:
    return {o["metadata"]["name"] for o in objects if o["kind"] == kind}


def fleet_file(objects: list[dict[str, Any]]) -> str:
    (text,) = (o["data"]["fleet.yaml"] for o in objects if o["kind"] == "ConfigMap" and "fleet.yaml" in o["data"])
    return str(text)


@dataclass(frozen=True)
class Pod:
    """A pod that a release leads to, and how many of it."""

    name: str
    labels: dict[str, str]
    spec: dict[str, Any]
    replicas: int = 1
    group: dict[str, Any] | None = None  # of a RayCluster: the head's or a worker group's spec

    @property
    def container(self) -> dict[str, Any]:
        return dict(self.spec["containers"][0])

    def environment(self) -> dict[str, Any]:
        return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in self.container["env"]}


def pods(objects: list[dict[str, Any]]) -> Iterator[Pod]:
    for entry in objects:
        spec, name = entry.get("spec", {}), entry["metadata"]["name"]
        if entry["kind"] == "RayCluster":
            groups = [("head", 1, spec["headGroupSpec"])]
            groups += [(group["groupName"], group["replicas"], group) for group in spec["workerGroupSpecs"]]
            for group_name, replicas, group in groups:
                template = group["template"]
                labels = template["metadata"]["labels"] | {
                    "ray.io/cluster": name,
                    "ray.io/node-type": "head" if group_name == "head" else "worker",
                    "ray.io/group": "headgroup" if group_name == "head" else group_name,
                }
                yield Pod(f"{name}-{group_name}", labels, template["spec"], replicas, group)
        elif "template" in spec:
            yield Pod(name, spec["template"]["metadata"]["labels"], spec["template"]["spec"], spec["replicas"])


def start_command(pod: Pod, ports: Mapping[str, int] | None = None) -> list[str]:
    """The `ray start` that KubeRay 1.7 makes of a group: its parameters, the container's limits, the group's resources."""
    group = pod.group
    assert group is not None
    limits = pod.container["resources"]["limits"]
    head = pod.labels["ray.io/node-type"] == "head"
    parameters = {
        **({"dashboard-host": "0.0.0.0"} if head else {}),
        "metrics-export-port": "8080",
        "dashboard-agent-listen-port": "52365",
        "num-cpus": str(math.ceil(cpus(limits["cpu"]))),
        "memory": str(round(mebibytes(limits["memory"]) * 2**20)),
        **group["rayStartParams"],
        **{name: str(port) for name, port in (ports or {}).items()},
    }
    if group.get("resources"):
        parameters["resources"] = json.dumps({name: float(n) for name, n in group["resources"].items()})
    return [
        "ray",
        "start",
        *(["--head"] if head else []),
        *(f"--{k}={v}" for k, v in sorted(parameters.items())),
        "--block",
    ]


def cpus(quantity: str | float) -> float:
    text = str(quantity)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def mebibytes(quantity: str) -> float:
    units = {"Mi": 1.0, "Gi": 1024.0, "Ki": 1 / 1024}
    return float(quantity[:-2]) * units[quantity[-2:]]


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
