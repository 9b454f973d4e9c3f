"""The live page is opened where there is a terminal that somebody looks at, and a screen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

URL = "http://127.0.0.1:9105/"
PROGRAM = (
    "from rich.console import Console\n"
    "from pipeline.cli.browser import open_page\n"
    f"open_page({URL!r}, Console(force_terminal={{terminal}}))"
)


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="there is always a screen")
@pytest.mark.parametrize(
    ("terminal", "screen", "opened"),
    [
        (True, {"DISPLAY": ":0"}, URL),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, URL),
        (True, {}, None),
        (False, {"DISPLAY": ":0"}, None),
    ],
)
def test_a_browser_is_opened(tmp_path: Path, terminal: bool, screen: dict[str, str], opened: str | None) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}\n')
    browser.chmod(0o755)
    bare = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment = {**bare, **screen, "BROWSER": str(browser)}
    subprocess.run([sys.executable, "-c", PROGRAM.format(terminal=terminal)], env=environment, check=True)
    assert (seen.read_text() if seen.exists() else None) == opened
