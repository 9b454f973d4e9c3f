"""`karman status`: a running pipeline, seen from another terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from actors import launch
from pipeline.adapters.secrets import read_token
from pipeline.adapters.web import get_json, url_of
from pipeline.cli import view
from pipeline.core.config import DEFAULT_PORT
from pipeline.core.errors import KarmanError


def status(
    host: Annotated[str | None, typer.Option(help="Where the pipeline serves its status; by default here.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help=f"Its port; by default {DEFAULT_PORT}.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token, where one is asked for.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The whole document as JSON.")] = False,
) -> None:
    """Show devices, actors and the balance of a running pipeline: that of RAY_ADDRESS, or of a host and port."""
    if launch.in_cluster() and host is None and port is None:
        with launch.a_ray():
            document = launch.status()
    else:
        url = url_of(host or "127.0.0.1", port or DEFAULT_PORT, "/api/v1/status")
        document = get_json(url, read_token(token_file))
    if not document:
        raise KarmanError("the pipeline is starting: ask again in a second")
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    console.print(view.screen(document))
    if (alerts := view.alert_table(document)) is not None:
        console.print(alerts)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("node", "actor", "pid", "restarts", ""):
        table.add_column(title)
    last = None
    for name, entry in sorted(document["actors"].items(), key=lambda item: item[1]["node"]):
        shown = entry["node"] if entry["node"] != last else ""
        last = entry["node"]
        table.add_row(shown, name, str(entry["pid"] or "-"), str(entry["restarts"]), _state(entry))
    console.print(table)


def _state(entry: Mapping[str, Any]) -> str:
    if entry["waits_s"]:
        return f"dies over and over: waits {entry['waits_s']:.0f} s before it begins again"
    return "" if entry["up"] else "is being restarted" if entry["pid"] else "starts"
