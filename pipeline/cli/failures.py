"""`karman bench failures`: kill every part of a pipeline under load, and see what became of the messages."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from pipeline.bench import failures as deaths
from pipeline.bench.failures import Outcome
from pipeline.bench.storage import new_database
from pipeline.bench.workload import machine
from pipeline.cli.output import Output
from pipeline.core.errors import KarmanError


def failures(
    devices: Annotated[int, typer.Option(min=1, max=4096, help="Simulated devices.")] = 500,
    racks: Annotated[int, typer.Option(min=1, max=999, help="Racks that they stand in.")] = 40,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, help="Messages a second of each device.")] = 60.0,
    standby: Annotated[bool, typer.Option(help="With a standby for each ingest.")] = True,
    freeze: Annotated[
        bool, typer.Option(help="The node falls silent, as when its power fails, instead of being killed.")
    ] = False,
    dsn: Annotated[
        str | None,
        typer.Option(envvar="KARMAN_BENCH_DSN", help="A server to store on, in a database of its own; else embedded."),
    ] = None,
    output: Output = None,
) -> None:
    """Kill -9 every kind of actor, a node and the driver, one after the other, under simulated load.

    On a local Ray cluster of a head and two nodes. Fails if a message is neither stored nor counted, if a row is stored
    twice, if a counter goes back, or, with a standby, if anything is lost.
    """
    console = Console(highlight=False)
    with new_database(dsn) as database, console.status("starting ...") as line:
        for seen in deaths.run(devices, racks, rate, standby, freeze, database):
            if isinstance(seen, Outcome):
                outcome = seen
                continue
            back = "did not come back" if seen.back_s is None else f"back after {seen.back_s:.1f} s"
            still = f"stored arrivals up to {seen.stood_still_s:.1f} s old"
            console.print(
                f"{seen.what} was {'frozen' if freeze and seen.what == deaths.NODE else 'killed'}: {back}; {still}"
            )
            line.update("going on ...")
    balance = outcome.balance
    console.print(
        f"{outcome.devices} devices at {outcome.rate_hz:g} Hz {'with' if standby else 'without'} standby:"
        f" sent {outcome.sent:,} = stored {balance['stored']:,} + missing {balance['missing']:,}"
        f" + dropped {sum(balance['dropped'].values()):,} + in flight {balance['in_flight']:,}"
        f" + unaccounted {outcome.unaccounted:,}; rows stored twice: {outcome.repeated_rows:,};"
        f" of {outcome.counters:,} counters {len(outcome.went_back):,} went back"
    )
    console.print(", ".join(f"{key} {value}" for key, value in machine().items()), soft_wrap=True)
    if output is not None:
        output.write_text(json.dumps({"machine": machine(), **asdict(outcome)}, indent=2) + "\n", "utf-8")
    lost = standby and balance["stored"] != outcome.sent
    absent = [death.what for death in outcome.deaths if death.back_s is None]
    if outcome.unaccounted or outcome.repeated_rows or outcome.went_back or lost or absent:
        raise KarmanError("not everything was as promised: see above")
