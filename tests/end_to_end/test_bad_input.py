"""What a user gets wrong is one clear line and exit code 2, or 1 where the outside failed; never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

from pipeline.adapters import embedded, link

EXAMPLE = str(Path(__file__).parents[2] / "docs" / "fleet.example.yaml")
DSN = "postgresql://karman:hunter2@127.0.0.1:1/power"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["demo", "sample9"], 2, "did you mean sample"),
        (["demo", "/no/such/file.csv"], 2, "/no/such/file.csv"),
        (["demo", "--devices", "0"], 2, "--devices"),
        (["demo", "--port", "70000"], 2, "--port"),
        (["demo", "--report", "/no/such/folder/report.json"], 2, "/no/such/folder"),
        (["demo", "--data-dir", "/proc/karman"], 2, "--data-dir"),
        (["run"], 2, "--connect"),
        (["run", "--connect", "tcp://host", "--dsn", DSN], 2, "tcp://HOST:PORT"),
        (["run", "--connect", "tcp://127.0.0.1:5557", "--dsn", DSN], 1, "127.0.0.1:1/power"),
        (["run", "--connect", "tcp://127.0.0.1:5557", "--dsn", "hunter2"], 2, "postgresql://USER@HOST:PORT/DATABASE"),
        (["run", "--connect", "a=tcp://h:1", "--connect", "a=tcp://h:2", "--dsn", DSN], 2, "'a' is given 2 times"),
        (["run", "-c", "/no/such/fleet.yaml"], 2, "/no/such/fleet.yaml"),
        (["run", "-c", EXAMPLE, "--port", "9106"], 2, "--port cannot stand beside -c"),
        (["run", "-c", EXAMPLE, "--dsn", DSN], 1, "127.0.0.1:1/power"),
        (["run", "-c", EXAMPLE], 2, "KARMAN_DSN"),
        (["check"], 2, "karman check -c"),
        (["check", "-c", "/etc/hostname"], 2, "/etc/hostname"),
        (["replay", "sample9"], 2, "did you mean sample"),
        (["replay", "--bind", "5557"], 2, "tcp://HOST:PORT"),
        (["replay", "--bind", "tcp://127.0.0.1:65000", "--device-count", "1000"], 2, "ports"),
        (["status", "--port", "1"], 1, "is it running"),
        (["db", "migrate", "--dsn", DSN], 1, "127.0.0.1:1/power"),
        (["recordings", "check", "/no/such/file.csv"], 2, "/no/such/file.csv"),
        (["recordings", "check", "/etc/hostname"], 2, "hostname"),
        (["recordings", "check", "~nobody-here/file.csv"], 2, "~nobody-here/file.csv"),
        (["replay", "x" * 300], 1, "File name too long"),
        (["status", "--host", "127.0.0.1:9105"], 2, "write --host HOST --port PORT"),
        (["bench", "start", "--output", "/no/such/folder/x.json"], 2, "/no/such/folder"),
        (["nonsense"], 2, "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_one_clear_line(
    karman: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], code: int, said: str
) -> None:
    done = karman(*arguments)
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert said in output
    assert "Traceback" not in output
    assert "hunter2" not in output
    said_of = done.stderr.splitlines()  # none where the findings are what was asked for
    assert len(said_of) <= 1
    assert all(line.startswith("karman: ") for line in said_of)


def test_neither_a_full_disk_nor_few_letters_are_a_traceback(
    karman: Callable[..., subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert karman("recordings", "list").returncode == 0
    command = [sys.executable, "-m", "pipeline", "metrics"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "karman: No space left on device\n")


def test_a_right_fleet_file_is_told_what_it_means(karman: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = karman("check", "-c", EXAMPLE)
    assert done.returncode == 0, done.stderr
    assert "80 in 40 racks, 2 rows, 1 hall, 1 site, 2 feeds" in done.stdout
    assert karman("check", "--schema").stdout == Path(EXAMPLE).with_name("fleet.schema.json").read_text()


def test_a_port_in_use_is_said_before_anything_starts(karman: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    with zmq.Context() as context, context.socket(zmq.PUB) as taken:
        taken.bind("tcp://127.0.0.1:*")
        endpoint = taken.get_string(zmq.LAST_ENDPOINT)
        port = endpoint.rpartition(":")[2]
        for arguments in (["demo", "--port", port], ["replay", "--bind", endpoint, "--no-wait"]):
            done = karman(*arguments)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert port in done.stderr
            assert "in use" in done.stderr


def test_a_topic_that_nobody_publishes_is_said_after_five_seconds(
    start: Callable[..., Any], until_true: Callable[..., Any], tmp_path: Path
) -> None:
    (endpoint,) = link.free_endpoints(1)
    replay = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "replay", "--bind", endpoint, "--topic", "power", "--no-wait", "--loop"],
        stdout=subprocess.DEVNULL,
    )
    try:
        with embedded.temporary() as dsn:
            run = start("run", "--connect", endpoint, KARMAN_DSN=dsn)
            notices = until_true(lambda: run.status().get("notices"), 60)
            assert "nothing on topic 'cycle-aligned'" in notices[0]
            assert "it publishes under topic 'power': use --topic" in notices[0]
            assert run.end() == 0
    finally:
        replay.terminate()
        replay.wait(20)
