"""`karman bench`: how fast this machine is, in messages a second, beside the straightforward ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline.bench import fleet, looking, page, queries, stages, storage
from pipeline.bench.fleet import Summed
from pipeline.bench.looking import Looking
from pipeline.bench.page import Rendered
from pipeline.bench.queries import Answered, Kept
from pipeline.bench.storage import DEVICES
from pipeline.bench.workload import Measured, machine
from pipeline.cli.output import Output

app = typer.Typer(invoke_without_command=True)


@app.callback()
def bench(
    context: typer.Context,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each way is repeated.")] = 2.0,
    dsn: Annotated[
        str | None,
        typer.Option(
            envvar="KARMAN_BENCH_DSN", help="A server to measure on, in a database of its own; else embedded."
        ),
    ] = None,
    output: Output = None,
) -> None:
    """Measure each stage alone, and storage beside a bare COPY, on one core; or what a subcommand says."""
    if context.invoked_subcommand is not None:
        return
    console = Console(highlight=False)
    measured: list[Measured] = []
    with console.status("measuring the stages ...") as line:
        for stage in stages.measure(seconds):
            measured.append(stage)
            line.update(f"measured {stage.stage}; going on ...")
        line.update("measuring the sums of a fleet ...")
        summed = list(fleet.measure())
        line.update("measuring the metrics page ...")
        pages = list(page.measure())
        line.update("measuring the live page ...")
        looked = list(looking.measure(3 * seconds))
        line.update("measuring storage ...")
        with storage.new_database(dsn) as database:
            measured += storage.measure(database, seconds)
        line.update("measuring queries: filling the database, then asking ...")
        with storage.new_database(dsn) as database:
            answers, kept = queries.measure(database)
    console.print(_stages(measured))
    console.print(_summed(summed))
    console.print(_pages(pages))
    console.print(_looked(looked))
    console.print(_answers(answers))
    console.print(_kept(kept))
    console.print(", ".join(f"{key} {value}" for key, value in machine().items()), soft_wrap=True)
    figures = {
        "stages": [asdict(stage) for stage in measured],
        "fleet": [asdict(sums) for sums in summed],
        "pages": [asdict(rendered) for rendered in pages],
        "live page": [asdict(view) for view in looked],
        "queries": [asdict(answer) for answer in answers],
        "disk": [asdict(series) for series in kept],
    }
    write(figures, output, console)


def write(figures: Mapping[str, Any], output: Path | None, console: Console) -> None:
    """Keep figures as JSON, with what they were measured on."""
    if output is not None:
        output.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n", "utf-8")
        console.print(f"the figures are in {output}")


def new_table(first: str, *others: str) -> Table:
    """A table whose first column is text and whose others are figures."""
    table = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _stages(measured: list[Measured]) -> Table:
    table = new_table("stage", "messages/s", "ours / it")
    for stage in measured:
        table.add_row(stage.stage, f"{stage.rate:,.0f}", "")
        for name, rate in stage.others.items():
            table.add_row(f"  {name}", f"{rate:,.0f}", f"{stage.rate / rate:.2f}")
    return table


def _summed(summed: list[Summed]) -> Table:
    table = new_table("sums of a fleet: ms of a core a second", "places", "take rows", "grid and sums", "figures")
    for made in summed:
        figures = (f"{part:.1f}" for part in (made.push_ms, made.sums_ms, made.figures_ms))
        table.add_row(f"{made.devices:,} devices", f"{made.places:,}", *figures)
    return table


def _pages(pages: list[Rendered]) -> Table:
    table = new_table(f"metrics page of {page.DEVICES} devices", "samples", "gzip kB", "ms", "client ms", "it / ours")
    for made in pages:
        figures = (f"{made.samples:,}", f"{made.packed_bytes / 1e3:,.0f}", f"{made.ms:.0f}", f"{made.client_ms:.0f}")
        table.add_row(made.page, *figures, f"{made.client_ms / made.ms:.1f}")
    return table


def _looked(looked: list[Looking]) -> Table:
    table = new_table("live page: % of a core", "devices", "server", "browser", "frames/s")
    for view in looked:
        browser = "" if view.browser is None else f"{100 * view.browser:.0f}"
        frames = "" if view.frames_hz is None else f"{view.frames_hz:.0f}"
        table.add_row(view.view, f"{view.devices:,}", f"{100 * view.server:.1f}", browser, frames)
    return table


def _answers(answers: list[Answered]) -> Table:
    table = new_table(f"query ({DEVICES} devices)", "rows", "median ms")
    for answer in answers:
        table.add_row(answer.query, f"{answer.rows:,}", f"{answer.median_ms:.1f}")
    return table


def _kept(kept: list[Kept]) -> Table:
    table = new_table("on disk, with indexes", "bytes", "in the columnstore")
    for series in kept:
        columnstore = "" if series.columnstore_bytes_each is None else f"{series.columnstore_bytes_each:,.1f}"
        table.add_row(series.what, f"{series.bytes_each:,.1f}", columnstore)
    return table
