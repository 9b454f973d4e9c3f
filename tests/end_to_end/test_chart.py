"""What the chart starts is what works: the demo's pods as processes of this machine, and data arrives.

Commands, environment and files are those of the rendered objects; the operator's part (`ray start` and the variables that
it injects) is made as KubeRay makes it. Only what one machine cannot have twice is changed: ports, folders, host names.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.adapters import embedded
from tests.chart import rendering
from tests.end_to_end.conftest import until
from tests.ports import free_port

PROGRAMS = Path(sys.executable).parent  # the image's /opt/karman/bin
INJECTED = {"RAY_USAGE_STATS_KUBERAY_IN_USE": "1", "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE": "1"}


class Machine:
    """Plays the kubelet and the operator for one release."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.objects = rendering.render(rendering.values_of("values-demo.yaml"))
        self.pods = {pod.name: pod for pod in rendering.pods(self.objects)}
        self.ports = {
            name: free_port() for name in ("gcs", "dashboard", "gateway", "zmq", "head-agent", "worker-agent")
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.secrets = {o["metadata"]["name"]: dict(o["stringData"]) for o in self.objects if o["kind"] == "Secret"}
        self.secrets["karman-database"]["dsn"] = dsn  # the server of this machine instead of the StatefulSet's
        self.token = self.secrets["karman-ray-token"]["auth_token"]

    def mapped(self, text: str, pod: rendering.Pod) -> str:
        """A pod's text in terms of this machine."""
        namespace = rendering.NAMESPACE
        mounts = {m["mountPath"]: m["name"] for m in pod.container["volumeMounts"] if m["mountPath"] != "/dev/shm"}
        for path, volume in sorted(mounts.items(), key=lambda item: -len(item[0])):
            if path != "/tmp":
                text = text.replace(path, str(self.folder / self._owner(pod, volume) / volume))
        for there, here in {
            "/etc/karman/fleet": str(self.folder / "karman-head" / "fleet"),  # the submitter names the head's file
            "karman-head-svc:8265": f"127.0.0.1:{self.ports['dashboard']}",
            f"karman-replay.{namespace}.svc:5557": f"127.0.0.1:{self.ports['zmq']}",
            "0.0.0.0:5557": f"127.0.0.1:{self.ports['zmq']}",
            "port: 9105": f"port: {self.ports['gateway']}",
            "host: 0.0.0.0": "host: 127.0.0.1",
        }.items():
            text = text.replace(there, here)
        return text

    @staticmethod
    def _owner(pod: rendering.Pod, volume: str) -> str:
        """Whose a volume is: the head's mark of a reached database is not the worker's spool, but both name one folder."""
        return "shared" if volume == "spool" else pod.name

    def write_files(self) -> Path:
        """The head's ConfigMap, as the kubelet mounts it: a folder of links, which it swaps at a change."""
        head = self.pods["karman-head"]
        folder = self.folder / head.name / "fleet"
        folder.mkdir(parents=True, exist_ok=True)
        version = folder / f"..{uuid.uuid4().hex}"
        version.mkdir()
        text = self.mapped(
            rendering.fleet_file(self.objects).replace("/var/lib/karman/spool", str(self.folder / "shared" / "spool")),
            head,
        )
        (version / "fleet.yaml").write_text(text)
        link = folder / "..data"
        fresh = folder / "..fresh"
        fresh.symlink_to(version.name)
        fresh.replace(link)
        if not (folder / "fleet.yaml").is_symlink():
            (folder / "fleet.yaml").symlink_to("..data/fleet.yaml")
        return folder / "fleet.yaml"

    def environment(self, pod: rendering.Pod) -> dict[str, str]:
        values = {}
        for name, value in pod.environment().items():
            if isinstance(value, Mapping):
                reference = value["secretKeyRef"]
                value = self.secrets[reference["name"]][reference["key"]]
            values[name] = self.mapped(str(value), pod)
        values["HOME"] = str(self.folder)
        if pod.group is not None:  # what the operator adds
            values |= INJECTED | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": self.token,
                "RAY_ADDRESS": f"127.0.0.1:{self.ports['gcs']}",
            }
        keep = ("LANG", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
        return {
            "PATH": f"{PROGRAMS}:/usr/bin:/bin",
            "RAY_TMPDIR": str(self.folder / "t"),  # the pods' /tmp; short, for sockets lie in it
            **{name: os.environ[name] for name in keep if name in os.environ},
            **values,
        }

    def start(self, name: str) -> subprocess.Popen[bytes]:
        pod = self.pods[name]
        if pod.group is not None:
            role = "head" if name.endswith("head") else "worker"
            ports = {"dashboard-agent-listen-port": self.ports[f"{role}-agent"], "metrics-export-port": free_port()}
            ports |= {"port": self.ports["gcs"], "dashboard-port": self.ports["dashboard"]} if role == "head" else {}
            command = rendering.start_command(pod, ports)
            command = [word.replace("dashboard-host=0.0.0.0", "dashboard-host=127.0.0.1") for word in command]
            command.append("--node-ip-address=127.0.0.1")
            if role == "head":
                command.append(f"--ray-client-server-port={free_port()}")
                command.append(f"--temp-dir={self.folder / 't'}")
            else:
                command.append(f"--address=127.0.0.1:{self.ports['gcs']}")
        else:
            words = [*pod.container["command"], *pod.container.get("args", [])]
            given = self.environment(pod)
            command = [self.mapped(word.replace("$(SCENARIO)", given.get("SCENARIO", "")), pod) for word in words]
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                env=self.environment(pod),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def get(self, url: str, token: str | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, b""
        except OSError:
            return 0, b""

    def healthy(self, role: str) -> bool:
        """The readiness probe of a Ray pod."""
        probe = self.pods["karman-head" if role == "head" else "karman-store-0"].container["readinessProbe"]["httpGet"]
        return self.get(f"http://127.0.0.1:{self.ports[f'{role}-agent']}{probe['path']}")[0] == 200

    def status(self) -> dict[str, Any]:
        code, body = self.get(f"http://127.0.0.1:{self.ports['gateway']}/api/v1/status")
        return dict(json.loads(body)) if code == 200 and body else {}

    def end(self) -> None:
        for name in ("karman-submitter", "karman-replay", "karman-store-0", "karman-head"):
            process = self.processes.get(name)
            if process is not None and process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(40)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def machine() -> Iterator[Machine]:
    if importlib.util.find_spec("helm_python") is None:
        if os.environ.get("KARMAN_TEST_REQUIRE_HELM"):
            pytest.fail("helm-python-sdk is required here and not installed")
        pytest.skip("helm-python-sdk is not installed: it has no wheel for this machine")
    folder = Path(tempfile.mkdtemp(prefix="kc-", dir="/tmp"))
    (folder / "t").mkdir()
    with embedded.temporary() as server:
        running = Machine(folder, server)
        try:
            yield running
        finally:
            running.end()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(400)
def test_the_demo_as_processes(machine: Machine) -> None:
    def alive(condition: Callable[[], Any], seconds: float = 90) -> Any:
        def look() -> Any:
            for name, process in machine.processes.items():
                assert process.poll() is None, f"{name} has ended: {machine.log(name)[-3000:]}"
            return condition()

        try:
            return until(look, seconds)
        except AssertionError as error:
            logs = "".join(f"\n--- {name}\n{machine.log(name)[-1500:]}" for name in machine.processes)
            raise AssertionError(f"{error}{logs}\n--- status\n{machine.status()}") from error

    machine.write_files()
    machine.start("karman-submitter")  # before its cluster: pods come in any order
    machine.start("karman-head")
    machine.start("karman-replay")
    alive(lambda: machine.healthy("head"))
    dashboard = f"http://127.0.0.1:{machine.ports['dashboard']}/api/jobs/"
    alive(lambda: machine.get(dashboard, machine.token)[0] == 200)
    assert machine.get(dashboard)[0] == 401, "nobody submits without the token"
    alive(lambda: "submitted 'karman'" in machine.log("karman-submitter"))
    machine.start("karman-store-0")  # the job waits for the pod that it is meant for
    alive(lambda: machine.healthy("worker"))
    status = alive(lambda: (s := machine.status()) and s["balance"]["stored"] > 200 and s)
    assert list(status["devices"]) == ["replay-1"]

    def stored() -> list[tuple[str, int]]:
        with psycopg.connect(machine.secrets["karman-database"]["dsn"]) as connection:
            return connection.execute("SELECT device, count(*) FROM cycle_by_phase GROUP BY device").fetchall()

    assert dict(stored())["replay-1"] > 200
    code, page = machine.get(f"http://127.0.0.1:{machine.ports['gateway']}/metrics")
    assert code == 200
    assert b'karman_device_info{device="replay-1"' in page

    # The submitter goes, as when its node is drained: the pipeline runs on. It comes back, and finds the job running.
    submitter = machine.processes.pop("karman-submitter")
    submitter.terminate()
    assert submitter.wait(20) == 0
    before = machine.status()["balance"]["stored"]
    alive(lambda: (s := machine.status()) and s["balance"]["stored"] > before + 100)
    machine.start("karman-submitter")
    alive(lambda: "'karman' is running" in machine.log("karman-submitter").rsplit("submitted", 1)[-1])

    # Another list of devices arrives as the kubelet brings it; the pipeline takes it, and no process is started anew.
    actors = {name: entry["pid"] for name, entry in machine.status()["actors"].items()}
    values = rendering.merged(
        rendering.values_of("values-demo.yaml"),
        {
            "source": {"mode": "live"},
            "devices": [{"id": "r42-live", "endpoint": f"tcp://karman-replay.{rendering.NAMESPACE}.svc:5557"}],
        },
    )
    machine.objects = rendering.render(values)
    machine.write_files()
    alive(lambda: (s := machine.status()) and list(s["devices"]) == ["r42-live"])
    alive(lambda: "r42-live" in dict(stored()))
    kept = {name: entry["pid"] for name, entry in machine.status()["actors"].items()}
    assert kept["prometheus-writer"] == actors["prometheus-writer"]
    assert kept["timescale-writer"] == actors["timescale-writer"]

    # The head's preStop: everything received is stored, then Ray may go.
    head = machine.pods["karman-head"]
    submitter = machine.processes.pop("karman-submitter")
    submitter.terminate()
    submitter.wait(20)
    stopped = subprocess.run(
        head.container["lifecycle"]["preStop"]["exec"]["command"],
        env=machine.environment(head), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert "in flight 0" in stopped.stdout
