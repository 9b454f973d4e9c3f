"""Prometheus' own checker of rules and queries."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(folder: Path, *arguments: str) -> None:
    """What it is asked holds."""
    if shutil.which("promtool") is None:
        if os.environ.get("KARMAN_TEST_REQUIRE_PROMETHEUS"):
            pytest.fail("promtool is required here and not installed")
        pytest.skip("promtool is not installed (Debian package prometheus)")
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
