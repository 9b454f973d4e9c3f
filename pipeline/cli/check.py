"""`karman check`: whether a fleet file is right, and what would run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.adapters import configuration
from pipeline.core.errors import InputError
from pipeline.core.expectation import Expectation, expect


def check(
    config: Annotated[Path | None, typer.Option("--config", "-c", help="The fleet file.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of fleet files.")] = False,
) -> None:
    """Check a fleet file and show what it would run; starts and stores nothing."""
    if schema:
        typer.echo(configuration.schema(), nl=False)
        return
    if config is None:
        raise InputError("name a fleet file: karman check -c fleet.yaml")
    loaded = configuration.load(config, os.environ, 0, dsn="")
    console = Console(highlight=False)
    found = expect(loaded.config)
    console.print(_table(len(loaded.config.devices), found))
    for warning in found.warnings:
        console.print(f"[yellow]note:[/yellow] {escape(warning)}", soft_wrap=True)
    console.print(f"{escape(str(config))} is right", soft_wrap=True)


def _table(devices: int, found: Expectation) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    places = ", ".join(
        f"{count:,} {level}{'s' if count > 1 else ''}" for level, count in found.members.items() if count
    )
    for name, value in (
        ("devices", f"{devices:,}" + (f" in {places}" if places else "")),
        ("ingest actors", f"{found.ingests:,}"),
        ("messages a second", f"{found.messages_hz:,.0f}"),
        ("rows a second", f"{found.rows_hz:,.0f}"),
        ("disk a day", _bytes(found.disk_day_b)),
        ("disk in the long run", _bytes(found.disk_held_b)),
    ):
        table.add_row(name, value)
    return table


def _bytes(bounds: tuple[float, float]) -> str:
    least, most = (bound / 1e9 for bound in bounds)
    return f"{least:,.1f} GB in TimescaleDB's columnstore, {most:,.1f} GB in plain PostgreSQL; as simulated loads take"
