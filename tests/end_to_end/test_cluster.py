"""A Ray cluster of two nodes: jobs and drivers come and go, the pipeline stays until somebody ends it."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import yaml

from pipeline.adapters import embedded
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
KARMAN = [sys.executable, "-m", "pipeline"]


@dataclass
class Cluster:
    """Where it is, and what a client needs in its environment."""

    address: str
    dashboard: str
    environment: dict[str, str]
    nodes: list[subprocess.Popen[bytes]]
    folder: Path

    def ray(self, *arguments: str) -> str:
        """What a command of Ray's prints."""
        done = subprocess.run([*RAY, *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def karman(self, *arguments: str, code: int = 0) -> str:
        """What a command of ours prints, from any terminal."""
        environment = {**self.environment, "RAY_ADDRESS": self.address}
        done = subprocess.run([*KARMAN, *arguments], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def actors(self) -> list[str]:
        """The actors' processes on all nodes."""
        names = []
        for node in self.nodes:
            for process in descendants(node.pid):
                try:
                    line = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if line.startswith("ray::") and "Actor" in line:
                    names.append(line)
        return names


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and a worker on this machine, with token authentication; nobody else's Ray is touched."""
    folder = Path(tempfile.mkdtemp(prefix="kr"))  # each node has a part of it, as it would have on its own machine
    ports = free_ports(9)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "1",
    }
    address, dashboard = f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}"
    common = ["--object-store-memory=100000000", "--node-ip-address=127.0.0.1", "--num-cpus=2", "--block"]
    head = ["--head", f"--port={ports[0]}", "--dashboard-host=127.0.0.1", f"--dashboard-port={ports[1]}"]
    head += [f"--dashboard-agent-listen-port={ports[2]}", f"--metrics-export-port={ports[3]}"]
    head += [f"--ray-client-server-port={ports[4]}", f"--temp-dir={folder / 'h'}", '--resources={"karman-gateway": 1}']
    worker = [f"--address={address}", f"--dashboard-agent-listen-port={ports[5]}", f"--metrics-export-port={ports[6]}"]
    worker += [f"--temp-dir={folder / 'w'}", '--resources={"karman-spool": 1}']
    nodes: list[subprocess.Popen[bytes]] = []

    def start(options: list[str], *awaited: int) -> None:
        log = folder / f"node{len(nodes)}.log"
        command = [*RAY, "start", *options, *common]
        with log.open("wb") as output:
            node = subprocess.Popen(
                command, env=environment, start_new_session=True, stdout=output, stderr=subprocess.STDOUT
            )
        nodes.append(node)
        deadline_s = time.monotonic() + 90
        while not all(map(accepts, awaited)):
            assert node.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.2)

    try:
        start(head, ports[1], ports[2])
        start(worker, ports[5])
        yield Cluster(address, f"http://{dashboard}", environment, nodes, folder)
    finally:
        family = [child for node in nodes for child in descendants(node.pid)]
        for node in nodes:
            node.terminate()
        for node in nodes:
            try:
                node.wait(30)
            except subprocess.TimeoutExpired:
                node.kill()
                node.wait()
        for process in psutil.wait_procs(family, 5)[1]:
            process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@dataclass
class Fleet:
    """A fleet file beside a database."""

    path: Path
    port: int
    endpoints: list[str]
    dsn: str

    def write(self, count: int) -> None:
        devices = [{"id": f"d{n}", "endpoint": endpoint} for n, endpoint in enumerate(self.endpoints[:count])]
        (self.path.parent / "dsn").write_text(self.dsn)
        settings = {"http": {"port": self.port}, "spool_dir": "spool", "database": {"dsn_file": "dsn"}}
        self.path.write_text(yaml.safe_dump({**settings, "devices": devices}))


@pytest.fixture
def fleet(public_folder: Path, tmp_path: Path, port: int, publish: Callable[[int], list[str]]) -> Iterator[Fleet]:
    with embedded.postgres(public_folder) as dsn:
        yield Fleet(tmp_path / "fleet.yaml", port, publish(4), dsn)


def everything_is_stored(dsn: str) -> None:
    """Of each stream every cycle from the first to the last, once; and the ledger says the same."""
    with psycopg.connect(dsn) as connection:
        for count, distinct, span in connection.execute(
            "SELECT count(*), count(DISTINCT sequence), max(sequence) - min(sequence) + 1 FROM cycle"
            " GROUP BY device_id, stream_id"
        ):
            assert count == distinct == span


@pytest.mark.timeout(300)
def test_a_job_runs_until_it_is_stopped(
    cluster: Cluster, fleet: Fleet, read: Callable[[int], dict[str, Any]], until_true: Callable[..., Any]
) -> None:
    fleet.write(2)
    cluster.ray(
        *("job", "submit", f"--address={cluster.dashboard}", "--working-dir=.", "--submission-id=power", "--no-wait"),
        *("--", sys.executable, "-m", "pipeline", "run", "-c", str(fleet.path)),
    )
    try:
        until_true(lambda: read(fleet.port)["balance"]["stored"] > 0, 60)
    except AssertionError:
        pytest.fail(cluster.ray("job", "logs", f"--address={cluster.dashboard}", "power"))
    package, *_ = (path for path in cluster.folder.rglob("_ray_pkg_*") if (path / "pipeline").is_dir())
    assert {path.name for path in package.iterdir()}.isdisjoint({"tests", "datasets", "docs", "grafana", ".venv"})

    status = json.loads(cluster.karman("status", "--json"))
    nodes = {name: entry["node"] for name, entry in status["actors"].items()}
    assert nodes["prometheus-writer"] != nodes["timescale-writer"]  # each where it was wished for
    shown = cluster.karman("status")
    assert all(name in shown for name in ("supervisor", "ingest-1", nodes["timescale-writer"]))

    # Another driver joins, brings two more devices, and leaves; the pipeline is not its own to end.
    fleet.write(4)
    with subprocess.Popen(
        [*KARMAN, "run", "-c", str(fleet.path)],
        env={**cluster.environment, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        text=True,
    ) as driver:
        assert driver.stdout is not None
        first = driver.stdout.readline()
        assert "joined the pipeline that runs in the cluster" in first
        until_true(lambda: read(fleet.port)["devices"].keys() == {"d0", "d1", "d2", "d3"}, 30)
        driver.send_signal(signal.SIGINT)
        rest = driver.communicate(timeout=60)[0]
        assert "left; the pipeline runs on" in rest
        assert driver.returncode == 0
    stored = read(fleet.port)["balance"]["stored"]
    until_true(lambda: read(fleet.port)["balance"]["stored"] > stored + 480, 30)

    cluster.ray("job", "stop", f"--address={cluster.dashboard}", "power")
    logs = cluster.ray("job", "logs", f"--address={cluster.dashboard}", "power")
    assert "was stopped" in cluster.ray("job", "status", f"--address={cluster.dashboard}", "power"), logs
    balance = re.search(r"messages: received ([\d,]+) · stored ([\d,]+) · in flight 0 · dropped 0", logs)
    assert balance is not None, logs
    assert balance[1] == balance[2]
    assert "no pipeline runs here" in cluster.karman("status", code=1)
    until_true(lambda: not cluster.actors(), 20)
    everything_is_stored(fleet.dsn)


@pytest.mark.timeout(300)
def test_a_pipeline_outlives_the_terminal_and_the_driver(
    cluster: Cluster,
    fleet: Fleet,
    tmp_path: Path,
    read: Callable[[int], dict[str, Any]],
    until_true: Callable[..., Any],
) -> None:
    fleet.write(4)
    environment = {**cluster.environment, "RAY_ADDRESS": cluster.address}
    process, terminal = pty.fork()
    if process == 0:
        os.execve(sys.executable, [*KARMAN, "run", "-c", str(fleet.path)], environment)
    until_true(lambda: read(fleet.port)["balance"]["stored"] > 0, 90)
    os.close(terminal)
    assert os.waitpid(process, 0)[1] == 0
    assert cluster.actors()
    until_true(lambda: read(fleet.port)["balance"]["stored"] > 0, 20)

    with subprocess.Popen([*KARMAN, "run", "-c", str(fleet.path)], env=environment, stdout=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        assert b"nothing changed" in driver.stdout.readline()
        driver.kill()
    stored = read(fleet.port)["balance"]["stored"]
    until_true(lambda: read(fleet.port)["balance"]["stored"] > stored + 480, 30)

    report = tmp_path / "report.json"
    assert "messages: received" in cluster.karman("stop", "--report", str(report))
    balance = json.loads(report.read_text())
    assert balance["received"] == balance["stored"] > 0
    assert (balance["missing"], balance["in_flight"], balance["dropped"]) == (0, 0, {})
    until_true(lambda: not cluster.actors(), 20)
    assert "no pipeline runs here" in cluster.karman("stop", code=1)
    everything_is_stored(fleet.dsn)
