"""What `demo` and `run` share: watch a pipeline until it is told to end, end it in order, and draw up the balance."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.live import Live

from actors import launch
from pipeline.adapters.web import get_json
from pipeline.cli import view
from pipeline.core.balance import balance
from pipeline.core.config import PipelineConfig
from pipeline.core.errors import KarmanError

PLAIN_LINE_S = 5.0  # without a terminal: a line so often


@contextlib.contextmanager
def ending() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that what was received can be stored; a second Ctrl-C breaks off."""
    wanted = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if wanted.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        wanted.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wanted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_after(seconds: float, wanted: threading.Event) -> None:
    """Set `wanted` after some time."""
    timer = threading.Timer(seconds, wanted.set)
    timer.daemon = True
    timer.start()


def status_url(config: PipelineConfig) -> str:
    """Where a pipeline tells its status."""
    host = "127.0.0.1" if config.http_host in ("0.0.0.0", "::") else config.http_host  # noqa: S104
    return f"http://{host}:{config.http_port}/api/v1/status"


def watch(config: PipelineConfig, console: Console, wanted: threading.Event) -> None:
    """Show the pipeline until `wanted` is set or its replay has finished."""
    display = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else _Lines(console)
    with display as live:
        while not wanted.wait(0.5):
            try:
                document = get_json(status_url(config), config.token)
            except KarmanError:
                continue  # the page is being restarted; the stream does not wait for it
            if document:
                live.update(view.screen(document))
                if document["replay"] and document["replay"]["finished"]:
                    return


def finish(config: PipelineConfig, console: Console, report: Path | None) -> None:
    """End the pipeline, print the balance, write it to `report`.

    Raises:
        KarmanError: something that was received could not be stored.
    """
    console.print("stopping: what was received is being stored ...")
    final = launch.stop(config)
    ingests = final["ingests"]
    live = {(name, stats["epoch"]): stats["counted"] for name, stats in ingests.items()}
    store = final["store"] or {}
    counts = balance(live, store.get("accounts") or {}, store.get("spooled") or {})
    replay = final.get("replay")
    document: dict[str, Any] = {
        "published": replay["published"] if replay else None,
        "skipped": replay["skipped"] if replay else None,
        "received": counts.received,
        "stored": counts.stored,
        "spooled": counts.spooled,
        "dropped": dict(counts.dropped),
        "missing": counts.missing,
        "in_flight": counts.in_flight,
        "rows": counts.rows,
        "devices": len(config.devices),
        "replay": replay["recording"] if replay else None,
    }
    console.print(view.balance_line(document))
    if report is not None:
        report.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        console.print(f"the balance is in {report}")
    if counts.spooled:
        console.print(f"{counts.spooled:,} messages wait on disk; the next run stores them when the database is back")
    if counts.in_flight:
        raise KarmanError(f"{counts.in_flight} messages could not be stored: {store.get('error')}")


class _Lines:
    """Stands in for the live display where there is no terminal: a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = 0.0

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, screen: Any) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + PLAIN_LINE_S
            self._console.print(screen)
