"""Opening the live page in the user's browser, where there is a screen to open it on."""

from __future__ import annotations

import os
import sys
import webbrowser

from rich.console import Console


def open_page(url: str, console: Console) -> None:
    """Open the page; where somebody looks at this terminal, and a window can be opened.

    Without a display `webbrowser` would start a browser for terminals, on top of what we write there.
    """
    screen = sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if console.is_terminal and screen:
        webbrowser.open(url)
