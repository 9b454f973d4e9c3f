"""`karman`: the commands, and how their errors end. Exit codes: 0 done, 1 failed at run time, 2 bad usage or input.

What a signal breaks off ends with 128 and its number, as shells have it.
"""

from __future__ import annotations

import io
import signal
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.exceptions import TyperException

import pipeline
from pipeline.cli import (
    bench_load,
    check,
    db,
    demo,
    failures,
    keys,
    metrics,
    recordings,
    replay,
    run,
    status,
    stop,
    submit,
)
from pipeline.core.errors import InputError, KarmanError

app = typer.Typer(
    name="karman",
    help="Per-cycle power telemetry: from ZeroMQ through Ray to TimescaleDB and Prometheus.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(run.run)
app.command()(check.check)
app.command()(replay.replay)
app.command()(keys.keys)
app.command()(status.status)
app.command()(stop.stop)
app.command()(submit.submit)
bench_load.app.command()(failures.failures)
app.add_typer(bench_load.app, name="bench")
app.command()(metrics.metrics)
app.add_typer(demo.app, name="demo")
app.add_typer(recordings.app, name="recordings")
app.add_typer(db.app, name="db")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"karman {pipeline.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; what is wrong is one line on standard error, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every terminal has all letters
    # What has begun is ended in order. Ray, once it starts, does the same; see `signals` for what follows.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
    try:
        sys.exit(app(standalone_mode=False))
    except KarmanError as error:
        _say(str(error))
        sys.exit(2 if isinstance(error, InputError) else 1)
    except TyperException as error:
        usage: Any = error  # has more than its public base tells; without a message the help was shown
        if message := usage.format_message().rstrip("."):
            seeing = f"; see '{usage.ctx.command_path} --help'" if usage.ctx else ""
            _say(message[0].lower() + message[1:] + seeing)
        sys.exit(usage.exit_code)
    except OSError as error:  # a folder that we may not enter, a full disk
        _say(f"{error.filename}: {error.strerror}" if error.filename else f"{error.strerror or error}")
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(128 + signal.SIGINT)
    except SystemExit as error:
        if error.code == signal.SIGTERM:
            _say("broken off")
            sys.exit(128 + signal.SIGTERM)
        raise


def _say(message: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]karman:[/red] {escape(message)}")
