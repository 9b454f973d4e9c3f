"""`karman bench load`, `limit`, `growth` and `start`: a whole pipeline under load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from actors import launch
from pipeline.bench import cost, idle, load, start, storage
from pipeline.bench.load import Loaded
from pipeline.bench.settings import PACKED, Load
from pipeline.cli.bench import app as app
from pipeline.cli.bench import new_table, write
from pipeline.cli.output import Output
from pipeline.core.errors import KarmanError

WIDTH: Final = 140
Figures = TypeVar("Figures")
Dsn = Annotated[
    str | None,
    typer.Option(envvar="KARMAN_BENCH_DSN", help="A server to store on, in a database of its own; else embedded."),
]
Packed = Annotated[int, typer.Option(min=1, max=1024, help="Devices that share an ingest.")]


@app.command(name="load")
def load_(
    devices: Annotated[int, typer.Option(min=1, max=10_000, help="Publishers, each on an endpoint of its own.")] = 100,
    seconds: Annotated[float, typer.Option(min=1, help="How long, after 5 s of warming up.")] = 30.0,
    devices_per_actor: Packed = PACKED,
    rate: Annotated[float, typer.Option(min=0.1, help="Messages a second of each.")] = 60.0,
    both_channels: Annotated[bool, typer.Option(help="Fill channel b too: 498 bytes a message instead of 282.")] = True,
    store: Annotated[bool, typer.Option(help="Store into a database; else batches are counted and let go.")] = True,
    store_shards: Annotated[int, typer.Option(min=1, max=64, help="Writers to the database.")] = 1,
    alone: Annotated[bool, typer.Option(help="Measure each stage by itself too.")] = True,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Real publishers, actors and database: what arrives, how late, and what it costs."""
    console = _new_console()
    asked = Load(devices, seconds, devices_per_actor, rate, both_channels, store, store_shards)
    costs: dict[str, float] = {}
    if alone and store:
        console.print("measuring each stage by itself ...")
        with storage.new_database(dsn) as database:
            costs = cost.alone(asked, database)
    console.print(f"{devices:,} devices for {seconds:g} s ...")
    (loaded,) = _run([asked], dsn)
    _print_counts([loaded], console)
    for table in (_delays([loaded]), _spent(loaded, costs)):
        console.print(table)
    write({"load": _as_json(loaded), "alone_cpu_us": costs}, output, console)


@app.command()
def limit(
    seconds: Annotated[float, typer.Option(min=5, help="How long each number of devices is tried.")] = 20.0,
    least: Annotated[int, typer.Option(min=1, help="The number of devices to begin with.")] = 250,
    step: Annotated[int, typer.Option(min=1, help="How closely the limit is told.")] = 50,
    devices_per_actor: Packed = PACKED,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Search the highest number of devices of which nothing is lost and nothing piles up."""
    console = _new_console()
    tried: list[Loaded] = []

    def holds(devices: int) -> bool:
        (loaded,) = _run([Load(devices, seconds, devices_per_actor)], dsn)
        tried.append(loaded)
        console.print(f"{devices:,} devices: {'kept up' if loaded.kept_up else 'too many'}")
        return loaded.kept_up

    low, high = 0, least
    while holds(high):
        low, high = high, 2 * high
    while high - low > step:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    tried.sort(key=lambda loaded: loaded.load.devices)
    _print_counts(tried, console)
    console.print(f"the most devices that this machine keeps up with: {low:,}")
    write({"limit": low, "tried": [_as_json(loaded) for loaded in tried]}, output, console)


@app.command()
def growth(
    devices: Annotated[
        list[int] | None, typer.Option(help="These numbers of devices alone; may be repeated.", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long each.")] = 20.0,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """What a message and a device cost, and how late things are, from 1 device to 1,000; and by devices per actor."""
    console = _new_console()
    packed = [Load(count, seconds) for count in devices or (1, 10, 100, 1000)]
    spread = [] if devices else [Load(64, seconds, devices_per_actor=size) for size in (1, 8, 64)]
    grown, divided = (_loads(loads, dsn, console) for loads in (packed, spread))
    if not (grown or divided):
        raise KarmanError("nothing was measured")
    _print_counts([*grown, *divided], console)
    console.print(_delays([*grown, *divided]))
    figures: dict[str, Any] = {
        name: [_as_json(one) for one in loaded] for name, loaded in (("growth", grown), ("devices_per_actor", divided))
    }
    for one in grown:
        if one.load.devices != 1:
            continue
        for still in _if_it_can("Ray that has nothing to do", lambda: [idle.measure(seconds)], console):
            figures["idle"] = asdict(still)
            console.print(idle.told(one, still), soft_wrap=True)
    write(figures, output, console)


@app.command(name="start")
def start_(output: Output = None) -> None:
    """From the command to the first row in the database."""
    console = _new_console()
    seconds = start.measure()
    console.print(f"from the command to the first stored row: {seconds:.1f} s")
    write({"start_s": seconds}, output, console)


def _new_console() -> Console:
    """Wide enough for the tables where there is no terminal to ask."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def _run(loads: Sequence[Load], dsn: str | None) -> list[Loaded]:
    loaded = []
    for one in loads:
        with storage.new_database(dsn) as database, launch.local_ray():
            loaded.append(load.run(one, database))
    return loaded


def _if_it_can(what: str, measure: Callable[[], list[Figures]], console: Console) -> list[Figures]:
    """What was measured, or nothing and why: where a machine is too small for it, what was measured before is kept."""
    try:
        return measure()
    except KarmanError as error:
        console.print(f"{what} was not measured: {error}")
        return []


def _loads(loads: Sequence[Load], dsn: str | None, console: Console) -> list[Loaded]:
    """Those that could be measured."""
    loaded: list[Loaded] = []
    for one in loads:
        what = f"a load of {one.devices:,}, {one.devices_per_actor} to an actor,"
        loaded += _if_it_can(what, partial(_run, [one], dsn), console)
    return loaded


def _as_json(loaded: Loaded) -> dict[str, Any]:
    return {**asdict(replace(loaded)), "lost": loaded.lost, "kept_up": loaded.kept_up}


def _print_counts(all_loaded: Sequence[Loaded], console: Console) -> None:
    """The counts, and what became of those that are lost."""
    console.print(_counts(all_loaded))
    for one in all_loaded:
        reasons = {"missing by their numbers": one.missing, **one.dropped}
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
        if told:
            console.print(f"of {one.load.devices:,} devices: {told}")


def _counts(all_loaded: Sequence[Loaded]) -> Table:
    table = new_table(
        "devices (per actor)",
        "offered",
        "received",
        "stored",
        "lost",
        "messages/s",
        "cores",
        "CPU us",
        "MiB",
        "calls/s",
    )
    for one in all_loaded:
        counts = (f"{count:,}" for count in (one.offered, one.received, one.stored, one.lost))
        costs = (f"{one.cores:.2f}", f"{one.pipeline_cpu_us:.1f}", f"{one.pipeline_mib:,.0f}", f"{one.calls:.0f}")
        table.add_row(f"{one.load.devices:,} ({one.load.devices_per_actor})", *counts, f"{one.rate:,.0f}", *costs)
    return table


def _delays(all_loaded: Sequence[Loaded]) -> Table:
    table = new_table("devices: ms from a message's time", "p50", "p99", "p99.9", "max")
    for one in all_loaded:
        for name, delays in one.delays_ms.items():
            shown = ("" if value is None else f"{value:,.1f}" for value in delays.values())
            table.add_row(f"{one.load.devices:,} until {name}", *shown)
    return table


def _spent(loaded: Loaded, alone: dict[str, float]) -> Table:
    table = new_table("where the CPU goes", "us a message", "MiB at half time", "MiB", "processes")
    memory = (loaded.memory_half_mib, loaded.memory_mib)
    for kind, spent in sorted(loaded.cpu_us.items(), key=lambda entry: -entry[1]):
        mib = (f"{at.get(kind, 0.0):,.0f}" for at in memory)
        table.add_row(kind, f"{spent:.2f}", *mib, str(loaded.processes[kind]))
    table.add_row("all", f"{sum(loaded.cpu_us.values()):.2f}", *(f"{sum(at.values()):,.0f}" for at in memory))
    for stage, spent in alone.items():
        table.add_row(f"  {stage}, by itself", f"{spent:.2f}")
    if alone:
        glue = 1.0 - sum(alone.values()) / sum(loaded.cpu_us.values())
        table.add_row("  all stages by themselves", f"{sum(alone.values()):.2f}", f"glue {100 * glue:.0f} %")
    return table
