"""`karman run`: the pipeline against devices and a database that exist."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import platformdirs
import typer
from rich.console import Console
from rich.markup import escape

from actors import launch
from pipeline.adapters import configuration, link
from pipeline.adapters.configuration import Loaded
from pipeline.adapters.secrets import read_token
from pipeline.adapters.timescale import schema
from pipeline.adapters.timescale.connection import describe
from pipeline.adapters.web import check_port, url_of
from pipeline.cli import session, signals
from pipeline.cli.fleet_file import FleetFile
from pipeline.cli.output import patient_console
from pipeline.cli.signals import Cause, ends_pipeline
from pipeline.core.config import DEFAULT_PORT, DEFAULT_TOPIC, Fleet, Metrics, PipelineConfig, parse_connect
from pipeline.core.errors import InputError, StorageError

JOB: Final = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for what was submitted with `ray job submit`
_BESIDE_FILE: Final = (
    "config_file",
    "dsn",
    "duration",
    "spool_dir",
    "report",
    "detach",
    "wait_for",
)  # what a fleet file does not decide


def run(
    context: typer.Context,
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", help="A fleet file; instead of the options about devices.")
    ] = None,
    connect: Annotated[
        list[str] | None, typer.Option(help="[NAME=]tcp://HOST:PORT of a device; may be repeated.")
    ] = None,
    dsn: Annotated[
        str | None,
        typer.Option(envvar="KARMAN_DSN", help="postgresql://USER@HOST:PORT/DATABASE; better in KARMAN_DSN."),
    ] = None,
    topic: Annotated[str, typer.Option(help="The devices' ZeroMQ topic; may be empty.")] = DEFAULT_TOPIC,
    host: Annotated[str, typer.Option(help="Address to serve the live page and /metrics on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the live page and /metrics.")] = DEFAULT_PORT,
    devices_per_actor: Annotated[int, typer.Option(min=1, max=1024, help="Devices that share an ingest.")] = 1,
    standby: Annotated[bool, typer.Option(help="A second ingest for each, that takes over without loss.")] = False,
    duration: session.Duration = None,
    spool_dir: Annotated[Path | None, typer.Option(help="Where batches wait while the database is away.")] = None,
    breaker_amps: Annotated[float | None, typer.Option(min=0.1, help="Rating of each phase's breaker.")] = None,
    nominal_volts: Annotated[float | None, typer.Option(min=1, help="Nominal voltage, line to neutral.")] = None,
    mains_hz: Annotated[float, typer.Option(min=1, max=1000, help="Cycles a second of the supply.")] = 60.0,
    metrics: Annotated[
        list[str] | None, typer.Option(help="Names of metrics to expose, as patterns with *; may be repeated.")
    ] = None,
    compatible_metrics: Annotated[bool, typer.Option(help="Expose the original's metric names too.")] = True,
    grafana_url: Annotated[str | None, typer.Option(help="Where Grafana is: the live page links to it.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="Ask clients of the port for the token in this file.")] = None,
    report: session.Report = None,
    wait_for: Annotated[
        str, typer.Option(envvar="KARMAN_WAIT_FOR", help="Custom resources, a,b: begin when nodes offer them.")
    ] = "",
    detach: Annotated[bool, typer.Option(help="Leave it running in the cluster as soon as it runs.")] = False,
) -> None:
    """Receive devices, store every cycle, serve /metrics.

    In the Ray cluster that RAY_ADDRESS names, where a pipeline that runs already is joined and takes the configuration;
    else in a Ray of its own. A fleet file is read anew when it changes, or on SIGHUP. Ctrl-C or SIGTERM stores what was
    received and ends the pipeline, if this command has started it.
    """
    console = patient_console()
    if detach and not launch.in_cluster():
        raise InputError("--detach leaves the pipeline in a Ray cluster: name it in RAY_ADDRESS")
    file = None
    if config_file is not None:
        _refuse_beside_file(context)
        typed = _on_command_line(context, dsn)
        path = config_file
        file = FleetFile(lambda: _with_spool(configuration.load(path, os.environ, _now_us(), typed), spool_dir))
        config = file.first
    else:
        if not connect:
            raise InputError("name the devices: --connect tcp://10.0.0.7:5557, or a fleet file with -c")
        if not dsn:
            raise InputError("name the database: set KARMAN_DSN, or give --dsn postgresql://USER@HOST:PORT/DATABASE")
        config = PipelineConfig(
            tuple(
                replace(device, breaker_a=breaker_amps, nominal_v=nominal_volts)
                for device in parse_connect(connect, topic)
            ),
            dsn,
            _now_us(),
            host,
            port,
            token=read_token(token_file),
            grafana_url=grafana_url,
            mains_hz=mains_hz,
            devices_per_actor=devices_per_actor,
            standby=standby,
            fleet=Fleet() if launch.in_cluster() else None,  # others may come to this one
            metrics=Metrics(compatible=compatible_metrics, families=tuple(metrics or ["*"])),
            spool_dir=str((spool_dir or default_spool_dir(dsn)).absolute()),
        )
        for device in config.devices:
            link.check_endpoint(device.endpoint)
    if not launch.in_cluster():
        check_port(config.http_host, config.http_port)
        prepare(config, console)
    with signals.starting() as begun, launch.a_ray(), signals.listening() as asked:
        begun.check()
        if launch.in_cluster() and not launch.runs():
            launch.wait_for([name for name in wait_for.split(",") if name])
            prepare(config, console)
        joined = launch.join(config)
        console.print(_greeting(joined), soft_wrap=True)
        if detach:
            return
        if duration is not None:
            asked.leave_after(duration)
        with session.broken_off(console, report) if not launch.in_cluster() else nullcontext():
            cause = session.watch(console, asked, file)
        if cause is Cause.TERMINAL_LOST and launch.in_cluster():
            return  # there is nothing left to print to
        if cause is Cause.ENDED_ELSEWHERE:
            console.print("the pipeline was ended elsewhere")
        elif ends_pipeline(cause, joined.started, launch.in_cluster(), JOB in os.environ):
            session.finish(console, report)
        else:
            console.print("left; the pipeline runs on: 'karman stop' ends it")


def _now_us() -> int:
    return time.time_ns() // 1000


def _with_spool(loaded: Loaded, spool_dir: Path | None) -> Loaded:
    """With a spool, where the file names none."""
    config = loaded.config
    spool = spool_dir or Path(config.spool_dir or default_spool_dir(config.dsn))
    return replace(loaded, config=replace(config, spool_dir=str(spool.absolute())))


def _greeting(joined: launch.Joined) -> str:
    config = joined.config
    if not launch.in_cluster():
        address = url_of(config.http_host, config.http_port)
        return f"running; {address} and 'karman status' tell more. Ctrl-C ends it."
    if joined.started:
        return "running in the cluster; 'karman status' tells more. Ctrl-C or 'karman stop' ends it."
    return f"joined the pipeline that runs in the cluster: {joined.change}. Ctrl-C leaves it, 'karman stop' ends it."


def _refuse_beside_file(context: typer.Context) -> None:
    """Options that a fleet file has its own word for may not be given beside it.

    Raises:
        InputError: one is.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name)
        if name not in _BESIDE_FILE and given is not None and given.name == "COMMANDLINE":
            raise InputError(f"{parameter.opts[0]} cannot stand beside -c: write it into the fleet file")


def _on_command_line(context: typer.Context, dsn: str | None) -> str | None:
    """The DSN where it was typed; else the fleet file says where it is."""
    given = context.get_parameter_source("dsn")
    return dsn if given is not None and given.name == "COMMANDLINE" else None


def default_spool_dir(dsn: str) -> Path:
    """A spool for each database, below the user's data directory."""
    digest = hashlib.sha256(describe(dsn).encode()).hexdigest()[:12]
    return platformdirs.user_data_path("karman") / f"spool-{digest}"


def prepare(config: PipelineConfig, console: Console) -> None:
    """Apply the migrations.

    Raises:
        StorageError: the database cannot be reached, and was never used with this spool: most likely the DSN is wrong.
            In a cluster, where the spool is on other nodes, only if somebody answers and does not want us.
    """
    dsn, spool = config.dsn, Path(config.spool_dir or default_spool_dir(config.dsn))
    proof = spool / "migrated"  # the DSN has worked once: from then on an outage is only an outage
    try:
        for name in schema.migrate(dsn):
            console.print(f"applied migration {name}")
    except StorageError as error:
        if error.answered or not (proof.exists() or launch.in_cluster()):
            raise
        console.print(
            f"[yellow]{escape(str(error))}; starting all the same: batches wait in {escape(str(spool))}[/yellow]"
        )
        return
    try:
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        proof.touch()
    except OSError as error:
        raise InputError(f"the spool {spool} cannot be used ({error.strerror}): choose --spool-dir") from error
