"""What commands with a pipeline share: watch it until something ends that, end it in order, draw up the balance."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from actors import launch
from pipeline.cli import view
from pipeline.cli.fleet_file import FleetFile
from pipeline.cli.output import new_file
from pipeline.cli.signals import Cause, Signals
from pipeline.core.balance import balance, joined
from pipeline.core.errors import KarmanError

LONGEST_RUN_S: Final = 1e8  # three years: longer than anyone means, and than a timer can be told
Report = Annotated[Path | None, typer.Option(callback=new_file, help="Write the balance to this file as JSON.")]
Duration = Annotated[
    float | None, typer.Option(min=0.1, max=LONGEST_RUN_S, help="Seconds until it ends; else until Ctrl-C.")
]
LOOK_S: Final = 0.5
PLAIN_S: Final = 5.0  # without a terminal it is printed so often
JOB_S: Final = 300.0  # in a cluster it goes into a log that nobody rotates: 4 kB for 40 devices, a megabyte a day


def watch(console: Console, signals: Signals, file: FleetFile | None = None) -> Cause:
    """Show the pipeline, and apply what changes in its fleet file, until there is a cause to leave."""
    display = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else _Lines(console)
    with display as live:
        while not signals.leave.wait(LOOK_S):
            asked = signals.reload.is_set()
            signals.reload.clear()
            if file is not None and (asked or file.changed()):
                reload(file, console, asked)
            try:
                document = launch.status()
            except KarmanError:
                if not launch.runs():
                    return Cause.ENDED_ELSEWHERE
                continue  # an actor is being restarted; the stream does not wait for it
            if document:
                live.update(view.screen(document))
                if document["replay"] and document["replay"]["finished"]:
                    return Cause.DONE
    return signals.cause or Cause.INTERRUPT


def reload(file: FleetFile, console: Console, asked: bool) -> None:
    """Apply a fleet file; one that is wrong changes nothing, and is said in a line."""
    try:
        change = launch.apply(file.read())
    except Exception as error:  # whatever a file brings about: the pipeline runs on
        said = "; ".join(str(error).splitlines() if isinstance(error, KarmanError) else [repr(error)])
        said = f"the configuration stays as it was: {said}"
        launch.note_refusal(said)
        console.print(f"[yellow]{escape(said)}[/yellow]", soft_wrap=True)
        return
    launch.note_refusal("")
    if change or asked:
        console.print(f"configuration: {escape(str(change))}", soft_wrap=True)


def finish(console: Console, report: Path | None) -> None:
    """End the pipeline, print the balance, write it to `report`.

    Raises:
        KarmanError: something that was received could not be stored.
    """
    console.print("stopping: what was received is being stored ...")
    final = launch.stop()
    live = {(name, stats["epoch"]): stats["counted"] for name, stats in final["ingests"].items() if stats}
    store = joined(list(final["stores"].values()))
    counts = balance(live, store.get("accounts") or {}, store.get("spooled") or {})
    replay = final["replay"]
    unwritten_s = final.get("fleet_unwritten_s", 0) + store.get("fleet_refused_s", 0)
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
        "fleet_unwritten_s": unwritten_s,
        "devices": final["devices"],
        "replay": replay["recording"] if replay else None,
    }
    console.print(view.balance_line(document), soft_wrap=True)
    if report is not None:
        try:
            report.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        except OSError as error:
            raise KarmanError(f"the balance cannot be written to {report}: {error.strerror}") from error
        console.print(f"the balance is in {report}")
    if counts.spooled:
        console.print(f"{counts.spooled:,} messages wait on disk; the next run stores them when the database is back")
    if unwritten_s:
        console.print(f"{unwritten_s:,} seconds of the fleet's sums are not in the database; cycles are counted above")
    if counts.in_flight:
        why = store.get("error") or "the store did not take them in time"
        raise KarmanError(f"{counts.in_flight} messages could not be stored: {why}")


@contextlib.contextmanager
def broken_off(console: Console, report: Path | None) -> Any:
    """If something goes wrong inside, the pipeline ends in order all the same."""
    try:
        yield
    except BaseException:
        finish(console, report)
        raise


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
            self._next_s = time.monotonic() + (JOB_S if launch.in_cluster() else PLAIN_S)
            self._console.print(screen)
