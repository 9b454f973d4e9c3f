"""`karman bench`: how fast this machine is, in messages a second, beside the straightforward ways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.bench import stages, storage
from pipeline.bench.workload import Measured, machine


def bench(
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each way is repeated.")] = 2.0,
    dsn: Annotated[
        str | None,
        typer.Option(
            envvar="KARMAN_BENCH_DSN", help="A server to measure on, in a database of its own; else embedded."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the figures to this file as JSON.")] = None,
) -> None:
    """Measure each stage alone, and storage beside a bare COPY, on one core."""
    console = Console(highlight=False)
    measured: list[Measured] = []
    with console.status("measuring ...") as line:
        for stage in _all(seconds, dsn):
            measured.append(stage)
            line.update(f"measured {stage.stage}; going on ...")
    console.print(_table(measured))
    console.print(", ".join(f"{key} {value}" for key, value in machine().items()), soft_wrap=True)
    if output is not None:
        figures = {"machine": machine(), "stages": [asdict(stage) for stage in measured]}
        output.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
        console.print(f"the figures are in {output}")


def _all(seconds: float, dsn: str | None) -> Iterator[Measured]:
    yield from stages.measure(seconds)
    with storage.new_database(dsn) as database:
        yield from storage.measure(database, seconds)


def _table(measured: list[Measured]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("stage")
    for name in ("messages/s", "ours / it"):
        table.add_column(name, justify="right")
    for stage in measured:
        table.add_row(stage.stage, f"{stage.rate:,.0f}", "")
        for name, rate in stage.others.items():
            table.add_row(f"  {name}", f"{rate:,.0f}", f"{stage.rate / rate:.2f}")
    return table
