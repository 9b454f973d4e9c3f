"""`karman run`: the pipeline against devices and a database that exist."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from actors import launch
from pipeline.adapters import link, timescale
from pipeline.adapters.web import check_port
from pipeline.cli import session
from pipeline.core.config import DEFAULT_PORT, DEFAULT_TOPIC, PipelineConfig, parse_connect


def run(
    connect: Annotated[list[str], typer.Option(help="[NAME=]tcp://HOST:PORT of a device; may be repeated.")],
    dsn: Annotated[
        str, typer.Option(envvar="KARMAN_DSN", help="postgresql://USER@HOST:PORT/DATABASE; better in KARMAN_DSN.")
    ],
    topic: Annotated[str, typer.Option(help="The devices' ZeroMQ topic; may be empty.")] = DEFAULT_TOPIC,
    host: Annotated[str, typer.Option(help="Address to serve /metrics and the status on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of /metrics and the status.")] = DEFAULT_PORT,
    devices_per_actor: Annotated[int, typer.Option(min=1, max=1024, help="Devices that share an ingest.")] = 1,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Seconds to run; else until Ctrl-C.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the balance to this file as JSON.")] = None,
) -> None:
    """Receive devices, store every cycle, serve /metrics. Ctrl-C or SIGTERM stores what was received, then ends."""
    console = Console(highlight=False)
    devices = parse_connect(connect, topic)
    for device in devices:
        link.check_endpoint(device.endpoint)
    config = PipelineConfig(devices, dsn, time.time_ns() // 1000, host, port, devices_per_actor=devices_per_actor)
    check_port(host, port)
    applied = timescale.migrate(dsn)
    for name in applied:
        console.print(f"applied migration {name}")
    with launch.local_ray(), session.ending() as wanted:
        launch.start(config)
        console.print(f"running; http://{host}:{port}/metrics and 'karman status' tell more. Ctrl-C ends it.")
        if duration is not None:
            session.end_after(duration, wanted)
        try:
            session.watch(config, console, wanted)
        finally:
            session.finish(config, console, report)
