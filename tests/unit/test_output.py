"""What cannot be printed disturbs nobody."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.adapters import recordings
from pipeline.cli.output import say_rate

NAN = float("nan")

SCRIPT = """
import sys
from pipeline.cli.output import patient_console
console = patient_console()
for _ in range(200):
    console.print("said " * 200)
print("came to the end", file=sys.stderr)
"""


def test_a_reader_that_has_gone_does_not_end_the_command() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        command.stdout.read(10)
        command.stdout.close()
        assert command.stderr is not None
        assert command.stderr.read() == "came to the end\n"
    assert command.returncode == 0


def test_a_disk_that_is_full_does_not_either() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert "came to the end" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("recorded_hz", "rate_hz", "said"), [(50.0, 60.0, True), (59.97, 60.0, False), (NAN, 60.0, False)]
)
def test_a_recording_of_another_rate_is_told(recorded_hz: float, rate_hz: float, said: bool) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    say_rate(console, replace(recordings.load("sample1"), rate_hz=recorded_hz), rate_hz)
    assert ("give --rate 50?" in console.export_text()) is said
