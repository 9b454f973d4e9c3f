"""`karman bench`: how fast each stage is alone on one core of this machine, beside the straightforward way."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from pipeline.adapters import embedded, recordings, wire
from pipeline.adapters.replay import Frames
from pipeline.adapters.timescale import schema
from pipeline.adapters.timescale.store import Store
from pipeline.core.aggregation import ChannelAggregator
from pipeline.core.intake import Arrival, Intake, concatenate
from pipeline.core.model import SPECTRUM_SCHEMA, STREAMS, Batch, Tally
from pipeline.core.pacing import Pace

MESSAGES: Final = 600  # a batch: ten devices for a second, or a hundred for 100 ms
_PACKAGES: Final = ("ray", "pyarrow", "ptars", "pgpq", "psycopg", "protobuf", "pyzmq", "numpy")


def bench(
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each stage is repeated.")] = 2.0,
    output: Annotated[Path | None, typer.Option(help="Write the figures to this file as JSON.")] = None,
) -> None:
    """Measure decode, intake, aggregate, encode and store alone, in messages a second of one core."""
    console = Console(highlight=False)
    frames = Frames(recordings.load("sample1"), mirror=False)
    pace = Pace(time.time_ns() // 1000, 60.0)
    payloads = frames.payloads(0, MESSAGES, pace)
    devices, received_us = np.zeros(MESSAGES, np.int32), pace.time_us(np.arange(MESSAGES))
    decoder = wire.Decoder(["bench"], [b""], 300_000_000, 256)
    rows = decoder.decode(payloads, devices, received_us, 0).cycles
    rates: dict[str, float] = {}
    with console.status("measuring ...") as line:

        def measure(name: str, work: Callable[[int], object]) -> None:
            line.update(f"measuring {name} ...")
            rates[name] = _rate(work, seconds)

        measure("decode", lambda _: decoder.decode(payloads, devices, received_us, 0))
        measure("decode by protobuf attributes", lambda _: [wire.by_attributes(payload) for payload in payloads])
        arrivals = [Arrival(0, int(us), payload) for us, payload in zip(received_us, payloads, strict=True)]
        measure("intake (decode, continuity, counts)", lambda _: Intake(["bench"], decoder.decode, {}).take(arrivals))
        aggregator = ChannelAggregator("a", STREAMS, 5_000_000)
        measure("aggregate", lambda _: aggregator.push(rows))
        measure("encode (replay)", lambda _: frames.payloads(0, MESSAGES, pace))
        with embedded.temporary() as dsn:
            schema.migrate(dsn)
            store = Store(dsn)
            tallies = {"bench": Tally(MESSAGES, MESSAGES, rows.num_rows)}
            batch = Batch("bench", 0, 0, tallies, rows, concatenate([], SPECTRUM_SCHEMA))
            measure("store (COPY, ledger, commit; wall time)", lambda n: store.write([replace(batch, number=n)]))
            store.close()
    _show(console, rates)
    if output is not None:
        output.write_text(json.dumps({"machine": _machine(), "messages_per_second": rates}, indent=2) + "\n", "utf-8")
        console.print(f"the figures are in {output}")


def _rate(work: Callable[[int], object], seconds: float) -> float:
    """Messages a second; `work` handles MESSAGES of them and gets the number of the round."""
    work(0)
    rounds, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        rounds += 1
        work(rounds)
    return rounds * MESSAGES / (time.perf_counter() - began_s)


def _show(console: Console, rates: dict[str, float]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("stage")
    table.add_column("messages/s", justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}")
    console.print(table)
    ratio = rates["decode"] / rates["decode by protobuf attributes"]
    console.print(f"decode is {ratio:.1f} times as fast as reading protobuf attributes")
    console.print(", ".join(f"{key} {value}" for key, value in _machine().items()))


def _machine() -> dict[str, Any]:
    versions = {package: metadata.version(package) for package in _PACKAGES}
    return {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version(), **versions}
