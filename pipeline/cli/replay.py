"""`karman replay`: a publisher alone, without Ray, for our pipeline or any other consumer."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.adapters import link, recordings
from pipeline.adapters.curve import check_admitted, read_pair
from pipeline.adapters.publisher import Publisher
from pipeline.adapters.replay import Frames, Replayer
from pipeline.cli import signals
from pipeline.cli.output import say_rate
from pipeline.core.config import DEFAULT_TOPIC, check_topic
from pipeline.core.errors import InputError
from pipeline.core.pacing import Pace


def replay(
    scenario: Annotated[str, typer.Argument(help="A scenario of 'karman recordings list', or a CSV file.")] = "sample1",
    bind: Annotated[
        str,
        typer.Option(
            help="Endpoint to publish on; more devices take the ports after it. For other hosts: tcp://0.0.0.0:5557."
        ),
    ] = "tcp://127.0.0.1:5557",
    rate: Annotated[float, typer.Option(min=0.1, max=10_000, help="Frames a second, in its own time.")] = 60.0,
    speed: Annotated[float, typer.Option(min=0.01, max=100, help="Times real time; compresses event time too.")] = 1.0,
    topic: Annotated[str, typer.Option(help="ZeroMQ topic in front of each message; may be empty.")] = DEFAULT_TOPIC,
    loop: Annotated[bool, typer.Option(help="Begin again at the end, sequence and time continuing.")] = False,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Seconds to play; else to the end.")] = None,
    device_count: Annotated[int, typer.Option(min=1, max=4096, help="Publish on so many endpoints.")] = 1,
    mirror_phase_b: Annotated[bool, typer.Option(help="Copy phase_a into a missing phase_b (for old consumers).")] = (
        False
    ),
    server_secret_file: Annotated[
        Path | None, typer.Option(help="Encrypt, with this key pair (see 'karman keys').")
    ] = None,
    authorized_keys: Annotated[
        Path | None, typer.Option(help="Admit only subscribers whose public keys are in this folder.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Begin when every endpoint has a subscriber, or at once.")] = True,
) -> None:
    """Publish a recording as a device would."""
    console = Console(highlight=False)
    keys = None if server_secret_file is None else read_pair(server_secret_file)
    if authorized_keys is not None:
        if keys is None:
            raise InputError("--authorized-keys needs --server-secret-file: without encryption nobody has a key")
        check_admitted(authorized_keys)
    recording = recordings.load(scenario)
    frames = Frames(recording, mirror_phase_b)
    endpoints = consecutive(bind, device_count)
    publisher = Publisher(endpoints, check_topic(topic), keys, authorized_keys)
    said = "simulated" if recording.simulated else "a recording"
    console.print(f"{recording.name} ({said}) on {endpoints[0]}{f' ... {endpoints[-1]}' if device_count > 1 else ''}")
    say_rate(console, recording, rate)
    with signals.listening() as asked:
        wanted = asked.leave
        if wait:
            told = f"server_key: '{keys.public.decode()}'" if keys else f"karman run --connect {endpoints[0]} --dsn ..."
            console.print(f"waiting for a subscriber, for example {told}", markup=False, soft_wrap=True)
            while not wanted.is_set() and not publisher.wait_for_subscribers(0.2):
                pass
        end = None if loop else frames.count
        if duration is not None:
            played = round(duration * rate * speed)
            end = played if loop else min(played, frames.count)
        replayer = Replayer(frames, publisher, device_count, end)
        player = threading.Thread(
            target=replayer.run, args=(Pace(time.time_ns() // 1000, rate * speed), 0, wanted), daemon=True
        )
        player.start()
        with console.status("publishing") as line:
            while player.is_alive():
                player.join(0.5)
                line.update(f"published {replayer.published:,} messages")
    publisher.close()
    console.print(f"published {replayer.published:,} messages")


def consecutive(bind: str, count: int) -> list[str]:
    """Endpoints on `count` consecutive ports from the one in `bind`.

    Raises:
        InputError: not an endpoint, or not so many ports.
    """
    link.check_endpoint(bind)
    if count == 1:
        return [bind]
    match = re.fullmatch(r"(tcp://.*:)(\d+)", bind)
    if match is None or int(match[2]) + count > 65536:
        raise InputError(f"'{bind}' has no {count} ports from there on: write tcp://HOST:PORT with a lower port")
    return [f"{match[1]}{int(match[2]) + index}" for index in range(count)]
