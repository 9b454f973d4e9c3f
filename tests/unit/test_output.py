"""What cannot be printed disturbs nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
