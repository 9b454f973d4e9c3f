"""How a Ray of our own is started, whoever starts us."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

_STARTED = """
import os, pathlib, sys, time
from actors import launch
with launch._own_process_group():
    while os.getppid() == int(sys.argv[2]):  # until the script that started us has ended
        time.sleep(0.05)
    time.sleep(0.2)
pathlib.Path(sys.argv[1]).write_text("started")
"""


def test_a_script_that_ends_may_start_us(tmp_path: Path) -> None:
    told, program = tmp_path / "told", tmp_path / "program.py"
    program.write_text(_STARTED)
    script = f'"{sys.executable}" "{program}" "{told}" $$ & sleep 3'
    subprocess.run(["bash", "-c", script], start_new_session=True, check=True)
    deadline_s = time.monotonic() + 30
    while not told.exists() and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert told.exists()
