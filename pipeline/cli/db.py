"""`karman db`: the schema."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.adapters.timescale import schema
from pipeline.adapters.timescale.usage import failing_jobs, usage

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
    if not schema.has_reader(dsn):
        said = f"no role {schema.READER} may read the tables, and this user may not grant that: see docs/storage.md"
        console.print(f"[yellow]{said}[/yellow]", soft_wrap=True)


@app.command()
def status(dsn: Dsn) -> None:
    """List the migrations and whether the database has had them, and what each series takes on disk."""
    console = Console(highlight=False)
    flavour, had = schema.applied(dsn)
    console.print(f"made for {'TimescaleDB' if flavour is schema.Flavour.TIMESCALE else 'plain PostgreSQL'}")
    ours = schema.migrations(flavour)
    for migration in ours:
        console.print(f"{'applied' if migration.version in had else 'pending'}  {migration.name}")
    for version in sorted(had - {migration.version for migration in ours}):
        console.print(f"[yellow]applied  {version:04d}, which only a newer version of karman knows[/yellow]")
    if not had:
        console.print("next: karman db migrate")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("series")
    for name in ("bytes", "rows (estimate)", "bytes/row", "partitions", "columnar"):
        table.add_column(name, justify="right")
    for series in usage(dsn):
        each = f"{series.nbytes / series.rows:,.0f}" if series.rows else ""
        rows = "" if series.rows is None else f"{series.rows:,}"
        figures = (f"{series.nbytes:,}", rows, each, str(series.parts), str(series.columnar_parts))
        table.add_row(series.series, *figures)
    console.print(table)
    for error, count in failing_jobs(dsn).items():
        jobs = "job" if count == 1 else "jobs"
        said = f"[red]its scheduler fails at {count} {jobs}:[/red] {escape(error)}; while a pipeline runs it runs them"
        console.print(said, soft_wrap=True)
