"""The CPU time that each stage takes of a message by itself, in batches of the size that a pipeline of so many devices
has. Beside it a whole pipeline's cost per message shows what holds the stages together: actors, calls, the observers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from pipeline.adapters import recordings, wire
from pipeline.adapters.link import Address, Subscriber
from pipeline.adapters.timescale import schema, upkeep
from pipeline.adapters.timescale.store import Store
from pipeline.bench.generator import Generator, Templates
from pipeline.bench.processes import DATABASE, GENERATOR, database, usage
from pipeline.bench.settings import Load
from pipeline.bench.workload import Seconds
from pipeline.core.aggregation import ChannelAggregator, of_channel
from pipeline.core.config import DEFAULT_TOPIC, Limits, Storage
from pipeline.core.envelope import pack, rows_from_bytes, rows_to_bytes, unpack
from pipeline.core.intake import Arrivals, Intake, concatenate
from pipeline.core.model import CHANNELS, CYCLE_SCHEMA, SPECTRUM_SCHEMA, STREAMS, Batch, Tally
from pipeline.core.rhythm import AT_ONCE, Rhythm, rhythm

SECONDS: Final = 3.0  # for sending and receiving
ROUNDS: Final = 24


def alone(load: Load, dsn: str) -> dict[str, float]:
    """CPU microseconds a message by stage. `dsn`: a new database."""
    costs = dict(_link(load))
    rows, others = _one_ingest(load)
    return costs | others | _storage(load, rows, dsn)


def _link(load: Load) -> Iterator[tuple[str, float]]:
    generator = Generator(load)
    names = [f"bench{n:04d}" for n in range(load.devices)]
    endpoints = {
        name: Address(endpoint, DEFAULT_TOPIC) for name, endpoint in zip(names, generator.endpoints, strict=True)
    }
    subscriber = Subscriber(endpoints, _pace(load).rest_s)
    try:
        generator.say(SECONDS)
        generator.answer()
        sent_s, received_s, count = usage({GENERATOR: generator.pid}).cpu_s[GENERATOR], time.process_time(), 0
        began_s = time.monotonic()
        watch_s = began_s
        while (now_s := time.monotonic()) < began_s + SECONDS + 0.5:
            count += sum(len(received.payloads) for received in subscriber.receive(0.1))
            if now_s >= began_s + SECONDS:
                subscriber.hurry()
            elif now_s >= watch_s:
                watch_s = now_s + 1.0
                subscriber.watch()
        received_s = time.process_time() - received_s
        sent_s = usage({GENERATOR: generator.pid}).cpu_s[GENERATOR] - sent_s
    finally:
        subscriber.close()
        generator.close()
    yield "send", 1e6 * sent_s / max(count, 1)
    yield "receive", 1e6 * received_s / max(count, 1)


def _pace(load: Load) -> Rhythm:
    return rhythm(load.devices, Limits(), adds_up=load.devices > 1)


def _turns(load: Load) -> tuple[int, int]:
    """Frames of each device in a push, and pushes in a hand-in."""
    pace, devices = _pace(load), min(load.devices, load.devices_per_actor)
    frames = max(1, round(pace.push_s * load.rate_hz))
    if frames * devices >= AT_ONCE and not pace.whole_seconds:  # one that is so fast hands in each push
        return AT_ONCE // devices, 1
    return frames, max(1, round(pace.hand_in_s / pace.push_s))


def _one_ingest(load: Load) -> tuple[list[pa.RecordBatch], dict[str, float]]:
    """Judging, handing over and aggregating what one ingest hears; returns its rows too."""
    devices = min(load.devices, load.devices_per_actor)
    frames, _ = _turns(load)
    names = [f"bench{n:04d}" for n in range(devices)]
    decoder = wire.Decoder(names, [b""] * devices, 300_000_000, 256)
    intake = Intake(names, decoder.decode, {})
    templates = Templates(recordings.load("sample1"), load.both_channels, b"")
    start_us = time.time_ns() // 1000
    heard = []
    for first in range(0, (ROUNDS + 1) * frames, frames):
        number = np.arange(first, first + frames)
        payloads = templates.stamped(number, start_us + (number * 1e6 / load.rate_hz).astype(np.int64))
        arrivals = Arrivals()
        for device in range(devices):
            arrivals.add(device, start_us, list(payloads))
        heard.append(arrivals)
    taken: list[pa.RecordBatch] = []
    channels = CHANNELS[: 1 + load.both_channels]
    aggregators = [ChannelAggregator(channel, STREAMS, 5_000_000) for channel in channels]
    packed: list[list[bytes]] = []

    def aggregate(index: int) -> None:
        for aggregator, data in zip(aggregators, packed[index], strict=True):
            aggregator.push(rows_from_bytes(data))

    size = devices * frames
    tallies = dict.fromkeys(names, Tally(frames, frames, 3 * frames))

    def hand_over(index: int) -> None:
        packed.append([rows_to_bytes(of_channel(taken[index], channel)) for channel in channels])
        unpack(pack(Batch("bench", 1, index, tallies, taken[index], concatenate([], SPECTRUM_SCHEMA))))

    return taken, {
        "intake": _cpu_us(lambda index: taken.append(intake.take(heard[index])), size),
        "hand over": _cpu_us(hand_over, size),
        "aggregate": _cpu_us(aggregate, size),
    }


def _storage(load: Load, taken: list[pa.RecordBatch], dsn: str) -> dict[str, float]:
    """Storing what all ingests hand in at a time, each as a batch of its own; the database's share is told apart."""
    _, batches = _turns(load)
    part = concatenate(taken[:batches], CYCLE_SCHEMA)
    ingests = -(-load.devices // load.devices_per_actor)
    schema.migrate(dsn)
    store = Store(dsn)
    upkeep.index_cycles(store.connection, Storage(), load.devices)
    moved = Seconds(part)
    empty = concatenate([], SPECTRUM_SCHEMA)
    size = part.num_rows // 3 * ingests
    tallies = {"bench": Tally(size, size, part.num_rows)}

    def names(rows: pa.RecordBatch, ingest: int) -> pa.RecordBatch:
        column = rows.column("device")
        known = pa.array([f"{name}-{ingest}" for name in column.dictionary.to_pylist()])
        at = rows.schema.get_field_index("device")
        return rows.set_column(at, rows.schema.field(at), pa.DictionaryArray.from_arrays(column.indices, known))

    def keep(index: int) -> None:
        store.write([Batch(f"i{n}", 1, index, tallies, names(moved.at(index), n), empty) for n in range(ingests)])

    keep(-1)  # partitions and ids
    others = database(dsn)
    before_s = usage(others).cpu_s
    rounds = max(3, round(ROUNDS / 4 / _pace(load).hand_in_s / 4))
    client_us = _cpu_us(keep, size, rounds)
    spent_s = usage(others).cpu_s[DATABASE] - before_s[DATABASE] if others else 0.0
    store.close()
    return {"store, client": client_us, "store, database": 1e6 * spent_s / (rounds * size)}


def _cpu_us(work: Callable[[int], object], size: int, rounds: int = ROUNDS) -> float:
    """CPU microseconds of this process a message; `work` handles `size` of them a round."""
    work(0)
    began_s = time.process_time()
    for index in range(1, rounds + 1):
        work(index)
    return 1e6 * (time.process_time() - began_s) / (rounds * size)
