"""`karman status`: a running pipeline, seen from another terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.adapters.secrets import read_token
from pipeline.adapters.web import get_json
from pipeline.cli import view
from pipeline.core.config import DEFAULT_PORT
from pipeline.core.errors import KarmanError


def status(
    host: Annotated[str, typer.Option(help="Where the pipeline serves its status.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = DEFAULT_PORT,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token, where one is asked for.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole document as JSON.")] = False,
) -> None:
    """Show devices, actors and the balance of a running pipeline."""
    document = get_json(f"http://{host}:{port}/api/v1/status", read_token(token_file))
    if not document:
        raise KarmanError("the pipeline is starting: ask again in a second")
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    console.print(view.screen(document))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("actor", "pid", "restarts"):
        table.add_column(title)
    for name, entry in document["actors"].items():
        table.add_row(name, str(entry["pid"] or "-"), str(entry["restarts"]))
    console.print(table)
