"""The program as its user runs it: a process, its output, its exit code, and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.adapters import embedded
from tests.ports import free_port, free_ports

RULES = Path(__file__).parents[2] / "grafana" / "alerts" / "karman.rules.yaml"
KARMAN = [sys.executable, "-m", "pipeline"]


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true answer of a condition."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {seconds} s"
        time.sleep(0.1)


@dataclass
class Running:
    """A `karman demo` or `karman run` in the background."""

    process: subprocess.Popen[str]
    port: int
    log: Path
    report_path: Path

    def get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=3) as answer:
                return str(answer.read().decode())
        except OSError:
            return None

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/api/v1/status") or "{}"))

    def ready(self) -> dict[str, Any]:
        """Wait until messages are being stored."""

        def stored() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.output()
            status = self.status()
            return status if status and status["balance"]["stored"] else None

        return dict(until(stored, 90))

    def actor(self, name: str) -> psutil.Process:
        """The process of an actor class, among our descendants only."""

        def find() -> psutil.Process | None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                try:
                    if " ".join(child.cmdline()).startswith(f"ray::{name}"):
                        return child
                except psutil.Error:
                    continue
            return None

        return until(find, 20)

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(120)
        assert "Traceback" not in self.output(), self.output()
        return code

    def output(self) -> str:
        return self.log.read_text("utf-8")

    def report(self) -> dict[str, Any]:
        return dict(json.loads(self.report_path.read_text("utf-8")))


@pytest.fixture
def until_true() -> Callable[..., Any]:
    return until


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder in which the embedded server may run, also when the tests run as root."""
    place = embedded.default_data_dir() if os.geteuid() == 0 else None
    if place is not None:
        place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="test-", dir=place))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start(tmp_path: Path, public_folder: Path) -> Iterator[Callable[..., Running]]:
    """Start a command that serves a port; whatever still runs at the end of the test is ended.

    `public_folder` is asked for so that it is still there then: its database may be in it.
    """
    started: list[Running] = []

    def begin(*arguments: str, at: int | None = None, **environment: str) -> Running:
        """`at`: the port that the arguments lead to already."""
        port = at or free_port()
        log, report = tmp_path / f"log{len(started)}", tmp_path / f"report{len(started)}.json"
        with log.open("w") as output:
            process = subprocess.Popen(
                [*KARMAN, *arguments, *([] if at else ["--port", str(port)]), "--report", str(report)],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        running = Running(process, port, log, report)
        started.append(running)
        return running

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            try:
                running.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(running.process.pid, signal.SIGKILL)
                running.process.wait()


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def read() -> Callable[[int], dict[str, Any]]:
    """The status document at a port; with a balance of nothing while there is none."""

    def status(port: int) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/status", timeout=3) as answer:
                found = json.loads(answer.read())
        except OSError:
            found = {}
        return found or {"balance": {"stored": 0}, "devices": {}}

    return status


@pytest.fixture
def publish() -> Iterator[Callable[[int], list[str]]]:
    """A publisher of so many devices, until the test is ended. Returns their endpoints."""
    with ExitStack() as stack:

        def begin(count: int) -> list[str]:
            endpoints = [f"tcp://127.0.0.1:{port}" for port in free_ports(count)]
            process = subprocess.Popen(
                [*KARMAN, "replay", "--bind", endpoints[0], "--no-wait", "--loop", f"--device-count={count}"],
                stdout=subprocess.DEVNULL,
            )
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            return endpoints

        yield begin


@pytest.fixture
def karman() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command to its end."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*KARMAN, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **environment},
            check=False,
        )

    return run


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus: call it with an expression, or `ask` its API."""

    url: str

    def __call__(self, expression: str) -> list[Any]:
        data = self.ask("query", query=expression)
        return list(data["result"]) if data else []

    def ask(self, path: str, **parameters: Any) -> Any:
        """The data that a path of the API answers with; None while it does not answer."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(parameters)}", timeout=3) as answer:
                return json.loads(answer.read())["data"]
        except OSError:
            return None


@pytest.fixture
def prometheus(tmp_path: Path) -> Callable[[int], Any]:
    """A real Prometheus that scrapes a port each second and evaluates our alert rules; answers queries."""
    for program in ("prometheus", "promtool"):
        if shutil.which(program) is None:
            if os.environ.get("KARMAN_TEST_REQUIRE_PROMETHEUS"):
                pytest.fail(f"{program} is required here and not installed")
            pytest.skip(f"{program} is not installed (Debian package prometheus)")

    @contextmanager
    def scrape(port: int) -> Iterator[Prometheus]:
        own = free_port()
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{RULES}']\n"
            f"scrape_configs: [{{job_name: karman, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
        )
        with subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as server:
            try:
                yield Prometheus(f"http://127.0.0.1:{own}/api/v1/")
            finally:
                server.terminate()

    return scrape
