"""How long it takes from the command to the first row in the database: the demo, in a process of its own."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from pipeline.adapters import embedded
from pipeline.adapters.link import free_endpoints
from pipeline.adapters.web import get_json
from pipeline.core.errors import KarmanError

PATIENCE_S: Final = 120.0


def measure() -> float:
    """Seconds until the status tells of a stored message.

    Raises:
        KarmanError: there is none in time.
    """
    parent = embedded.default_data_dir()
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="start-", dir=parent))
    folder.chmod(0o755)
    port = free_endpoints(1)[0].rpartition(":")[2]
    command = [sys.executable, "-m", "pipeline", "demo", "--port", port, "--data-dir", str(folder)]
    began_s = time.monotonic()
    demo = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - our own
    try:
        while time.monotonic() - began_s < PATIENCE_S and demo.poll() is None:
            with contextlib.suppress(KarmanError):
                status = get_json(f"http://127.0.0.1:{port}/api/v1/status")
                if status and status["balance"]["stored"]:
                    return time.monotonic() - began_s
            time.sleep(0.02)
        raise KarmanError("the demo stores nothing in time")
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait()
        shutil.rmtree(folder, ignore_errors=True)
