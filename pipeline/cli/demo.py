"""`karman demo`: a recording through the whole pipeline, with nothing else installed."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import typer.core

from actors import launch
from pipeline.adapters import embedded, link, recordings
from pipeline.adapters.secrets import read_token
from pipeline.adapters.timescale import schema
from pipeline.adapters.web import check_port, get_json, url_of
from pipeline.cli import session, signals
from pipeline.cli.browser import open_page
from pipeline.cli.output import patient_console, say_rate
from pipeline.core.config import DEFAULT_PORT, Device, PipelineConfig, Replay

# What the original's dashboards assume of a rack, and so what the demo shows utilisation of.
RACK: Final = "r42"
BREAKER_A: Final = 60.0
NOMINAL_V: Final = 120.0
PLAY: Final = "play"
EXAMPLE_QUERY = "SELECT * FROM cycle_by_phase WHERE time > now() - interval '10 s' ORDER BY time DESC LIMIT 6"


class _PlayByDefault(typer.core.TyperGroup):
    """`demo sample3` means `demo play sample3`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else [PLAY, *args])


app = typer.Typer(cls=_PlayByDefault, help="Replay a simulated GPU server through the whole pipeline.")


@app.command(PLAY, hidden=True)
def demo(
    scenario: Annotated[str, typer.Argument(help="A scenario of 'karman recordings list', or a CSV file.")] = "sample1",
    devices: Annotated[int, typer.Option(min=1, max=256, help="How many devices play it, each on a port.")] = 1,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Frames a second, in its own time.")] = 60.0,
    speed: Annotated[float, typer.Option(min=0.01, max=100, help="Times real time.")] = 1.0,
    duration: session.Duration = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the live page and /metrics.")] = DEFAULT_PORT,
    browser: Annotated[bool, typer.Option(help="Open the live page in a browser.")] = True,
    grafana_url: Annotated[str | None, typer.Option(help="Where Grafana is: the live page links to it.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where the embedded PostgreSQL keeps its data.")] = None,
    report: session.Report = None,
) -> None:
    """Replay a simulated GPU server over real ZeroMQ into an embedded PostgreSQL, a live page and /metrics.

    From another terminal, 'karman demo switch SCENARIO' plays another one at once.
    """
    began_s = time.monotonic()
    console = patient_console()
    recording = recordings.load(scenario)
    check_port("127.0.0.1", port)
    data_dir = data_dir or embedded.default_data_dir()
    with ExitStack() as stack:
        begun = stack.enter_context(signals.starting())
        said = "simulated" if recording.simulated else "a recording"
        console.print(f"{recording.name} ({said}), {devices} device{'s' if devices > 1 else ''}: starting ...")
        say_rate(console, recording, rate)
        with ThreadPoolExecutor(1) as beside:  # PostgreSQL and Ray start side by side: each takes some seconds
            starting = beside.submit(stack.enter_context, embedded.postgres(data_dir))
            try:
                stack.enter_context(launch.local_ray())
            finally:
                dsn = starting.result()
        asked = stack.enter_context(signals.listening())
        begun.check()
        schema.migrate(dsn)
        config = PipelineConfig(
            _devices(devices),
            dsn,
            time.time_ns() // 1000,
            http_port=port,
            replay=Replay(scenario, rate, speed, duration),
            grafana_url=grafana_url,
            spool_dir=str(data_dir / "spool"),
        )
        launch.start(config)
        page = f"http://127.0.0.1:{port}/"
        console.print(f"started in {time.monotonic() - began_s:.1f} s; every cycle, live: {page}", soft_wrap=True)
        console.print("look further with")
        console.print(f"  {page}metrics", soft_wrap=True)
        console.print(f'  {_psql()} "{dsn}" -c "{EXAMPLE_QUERY}"', soft_wrap=True)
        console.print(f"  karman status{'' if port == DEFAULT_PORT else f' --port {port}'}", soft_wrap=True)
        if browser:
            open_page(page, console)
        console.print("Ctrl-C ends it." if duration is None else f"It ends after {duration:g} s, or with Ctrl-C.")
        with session.broken_off(console, report):
            session.watch(console, asked)
        session.finish(console, report)
    console.print(f"The rows are kept in {data_dir}; 'karman demo' adds to them.", soft_wrap=True)


@app.command()
def switch(
    scenario: Annotated[str, typer.Argument(help="A scenario of 'karman recordings list'.")],
    host: Annotated[str, typer.Option(help="Where the demo serves its status.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = DEFAULT_PORT,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token, where one is asked for.")] = None,
) -> None:
    """Let a running demo play another scenario at once; its time and sequence numbers go on."""
    url = url_of(host, port, "/api/v1/replay")
    answer = get_json(url, read_token(token_file), timeout_s=15, posted={"recording": scenario})
    typer.echo(f"now playing {answer['recording']}{' (simulated)' if answer.get('simulated') else ''}")


def _devices(count: int) -> tuple[Device, ...]:
    width = len(str(count))
    endpoints = link.free_endpoints(count)
    return tuple(
        Device(f"karman{number:0{width}d}", endpoint, rack=RACK, breaker_a=BREAKER_A, nominal_v=NOMINAL_V)
        for number, endpoint in enumerate(endpoints, start=1)
    )


def _psql() -> str:
    return shutil.which("psql") or str(embedded.psql_path())
