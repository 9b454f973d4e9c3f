"""Each stage of the way of a message, alone, on one core; beside the straightforward way to do the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from pipeline.adapters import recordings, wire
from pipeline.adapters.replay import Frames
from pipeline.bench.workload import RATE_HZ, Measured, Seconds, decoder_of, indices_of, messages, rate_of
from pipeline.core.aggregation import ChannelAggregator
from pipeline.core.intake import Arrivals, Intake
from pipeline.core.model import STREAMS
from pipeline.core.pacing import Pace

DEVICES: Final = 10  # with a second of each a batch has 600 messages: what an ingest of a fleet handles at a time


def measure(seconds: float) -> Iterator[Measured]:
    """The stages in the order in which a message meets them, `seconds` for each way."""
    start_us = time.time_ns() // 1000
    payloads, rows = messages(DEVICES, 1.0, start_us)
    count = len(payloads)
    indices = indices_of(DEVICES, count // DEVICES)
    received_us = rows.column("received").view("int64").to_numpy()[::3]
    frames, pace = Frames(recordings.load("sample1"), mirror=False), Pace(start_us, RATE_HZ)
    yield Measured(
        "encode (replay)",
        rate_of(lambda n: frames.payloads(n * count, (n + 1) * count, pace), count, seconds),
        {},
    )
    decoder = decoder_of(DEVICES)
    yield Measured(
        "decode",
        rate_of(lambda _: decoder.decode(payloads, indices, received_us, 0), count, seconds),
        {"protobuf attributes": rate_of(lambda _: [wire.by_attributes(p) for p in payloads], count, seconds)},
    )
    arrivals = Arrivals()
    for index, us, payload in zip(indices.tolist(), received_us.tolist(), payloads, strict=True):
        arrivals.add(index, us, [payload])
    names = [f"bench{n:04d}" for n in range(DEVICES)]
    yield Measured(
        "intake (decode, continuity, counts)",
        rate_of(lambda _: Intake(names, decoder.decode, {}).take(arrivals), count, seconds),
        {},
    )
    aggregator = ChannelAggregator("a", STREAMS, 5_000_000)
    following = Seconds(rows)  # an aggregator judges rows by their numbers and times
    yield Measured(
        "aggregate (one channel)", rate_of(lambda number: aggregator.push(following.at(number)), count, seconds), {}
    )
