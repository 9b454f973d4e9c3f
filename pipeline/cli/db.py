"""`karman db`: the schema."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from pipeline.adapters.timescale import schema

app = typer.Typer(help="Migrate the database, or tell how it stands.", no_args_is_help=True)
Dsn = Annotated[str, typer.Option(envvar="KARMAN_DSN", help="postgresql://USER@HOST:PORT/DATABASE")]


@app.command()
def migrate(dsn: Dsn) -> None:
    """Apply the migrations that the database has not had."""
    console = Console(highlight=False)
    applied = schema.migrate(dsn)
    for name in applied:
        console.print(f"applied {name}")
    console.print("the schema is current")


@app.command()
def status(dsn: Dsn) -> None:
    """List the migrations and whether the database has had them."""
    console = Console(highlight=False)
    flavour, had = schema.applied(dsn)
    console.print(f"made for {'TimescaleDB' if flavour is schema.Flavour.TIMESCALE else 'plain PostgreSQL'}")
    for migration in schema.migrations(flavour):
        console.print(f"{'applied' if migration.version in had else 'pending'}  {migration.name}")
