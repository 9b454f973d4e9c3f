"""`karman bench load`: a real load, small; what it counts adds up. How fast it is, no test asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(300)
def test_every_message_of_a_load_is_in_the_database(tmp_path: Path) -> None:
    output = tmp_path / "load.json"
    options = ("--devices", "6", "--devices-per-actor", "4", "--seconds", "3", "--no-alone", "--output", str(output))
    command = [sys.executable, "-m", "pipeline", "bench", "load", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text("utf-8"))
    load = figures["load"]
    assert load["offered"] == load["received"] == load["stored"] == 6 * 60 * (5 + 3)
    assert (load["lost"], load["missing"], load["dropped"]) == (0, 0, {})
    assert load["processes"]["IngestActor"] == 2
    for name in ("received", "aggregated", "committed"):
        delays = load["delays_ms"][name]
        assert 0 < delays["p50"] <= delays["p99"] <= delays["p99.9"] <= delays["max"]
    assert {"IngestActor", "PhaseAggregatorActor", "generator", "database"} <= load["cpu_us"].keys()
    assert figures["machine"]["ray"]
