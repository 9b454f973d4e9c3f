"""`karman bench`: a real load, small; what it counts adds up. How fast it is, no test asks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.bench import idle
from tests.ports import free_port


@pytest.mark.timeout(300)
@pytest.mark.parametrize("more", [(), ("--store-shards=2",), ("--no-store",)], ids=["", "two stores", "no store"])
def test_every_message_of_a_load_is_stored(more: tuple[str, ...], tmp_path: Path) -> None:
    output = tmp_path / "load.json"
    options = ("--devices", "6", "--devices-per-actor", "4", "--seconds", "3", "--no-alone", "--output", str(output))
    command = [sys.executable, "-m", "pipeline", "bench", "load", *options, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text("utf-8"))
    load = figures["load"]
    assert load["offered"] == load["received"] == load["stored"] == 6 * 60 * (5 + 3)
    assert (load["lost"], load["missing"], load["dropped"]) == (0, 0, {})
    stores = {"": 1, "--store-shards=2": 2, "--no-store": 0}["".join(more)]
    assert load["processes"]["IngestActor"] >= 2
    assert load["processes"].get("TimescaleWriterActor", 0) == stores
    for name in ("received", "aggregated", "committed") if stores else ("received", "aggregated"):
        delays = load["delays_ms"][name]
        assert 0 < delays["p50"] <= delays["p99"] <= delays["p99.9"] <= delays["max"]
    assert {"IngestActor", "PhaseAggregatorActor", "generator"} <= load["cpu_us"].keys()
    assert ("database" in load["cpu_us"]) == (stores > 0)
    assert figures["machine"]["ray"]


def test_ray_that_has_nothing_to_do_takes_something_all_the_same() -> None:
    still = idle.measure(3.0)
    assert still.ray > 0
    assert still.with_actors > 0
    assert still.as_it_comes > 0


def test_a_load_that_cannot_be_measured_stops_no_other(karman: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    nowhere = f"--dsn=postgresql://127.0.0.1:{free_port()}/x"
    done = karman("bench", "growth", "--devices", "1", "--devices", "10", "--seconds", "1", nowhere)
    assert done.returncode == 1
    assert done.stdout.count("was not measured: the database failed") == 2
    assert "Traceback" not in done.stdout + done.stderr
