"""The pace of an ingest of one device: patient while nobody looks, quick while somebody does, and a burst in parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from actors import launch, topology
from actors.ingest import HANDED_IN_AT_ONCE, ROW_BYTES
from pipeline.adapters import embedded, link, recordings
from pipeline.adapters.publisher import Publisher
from pipeline.bench.discard import DiscardActor
from pipeline.bench.generator import Generator, Templates
from pipeline.bench.settings import Load
from pipeline.core.config import DEFAULT_TOPIC, Device, Limits, PipelineConfig
from pipeline.core.rhythm import AT_ONCE
from tests.ports import free_port

BURST = 100_000  # messages
STREAMS = 3


@pytest.fixture(scope="module")
def ingest() -> Iterator[str]:
    """The ingest of a pipeline with one device, which sends."""
    generator = Generator(Load(1, 60.0))
    try:
        with launch.local_ray():
            topology.spawn(DiscardActor, topology.STORE)
            device = Device("bench", generator.endpoints[0])
            config = PipelineConfig((device,), "", time.time_ns() // 1000, http_port=free_port())
            launch.start(config)
            generator.say(60.0)
            generator.answer()
            (name,) = topology.ingest_names(config)
            yield name
            launch.end()
    finally:
        generator.close()


def calls(ingest: str) -> int:
    """How often it has called an aggregator."""
    return sum(queue.calls for queue in launch.ask(ingest, "stats")["queues"] if "aggregator" in queue.receiver)


def test_it_pushes_more_often_while_somebody_looks(ingest: str) -> None:
    time.sleep(3)
    before = calls(ingest)
    time.sleep(4)
    unwatched = calls(ingest) - before
    mark, heard = None, 0
    for _ in range(20):
        mark, rows = launch.ask(ingest, "recent", "bench", mark)
        heard += bool(rows)
        time.sleep(0.2)
    watched = calls(ingest) - before - unwatched
    assert heard
    assert watched > 1.5 * unwatched > 0


def test_its_last_arrival_is_told_before_it_is_pushed(ingest: str) -> None:
    time.sleep(2)
    told = set()
    for _ in range(20):
        told.add(launch.ask(ingest, "stats")["devices"]["bench"]["last_received_us"])
        time.sleep(0.05)
    assert len(told) > 5  # of two pushes a second there would be three or four


def test_a_burst_is_handed_on_in_parts(start: Callable[..., Any], until_true: Callable[..., Any]) -> None:
    (endpoint,) = link.free_endpoints(1)
    publisher = Publisher([endpoint], DEFAULT_TOPIC, queue=link.queue_of(1))
    templates = Templates(recordings.load("sample1"), both=False, prefix=b"")
    try:
        with embedded.temporary() as dsn:
            run = start("run", "--connect", f"bench={endpoint}", KARMAN_DSN=dsn)
            assert publisher.wait_for_subscribers(60), run.output()
            number, now_us = np.arange(100), time.time_ns() // 1000
            publisher.send_run(0, templates.stamped(number, now_us + number))
            run.ready()
            number = np.arange(100, 100 + BURST)
            publisher.send_run(0, templates.stamped(number, now_us + 1_000 * number - 100_000_000))
            until_true(lambda: run.status()["balance"]["received"] == 100 + BURST)
            assert run.end(15) == 0, run.output()
            report = run.report()
            with psycopg.connect(dsn) as connection:
                (most,) = connection.execute("SELECT max(row_count) FROM ledger").fetchone() or (0,)
    finally:
        publisher.close()
    assert (report["received"], report["stored"]) == (100 + BURST, 100 + BURST)
    assert (report["missing"], sum(report["dropped"].values())) == (0, 0)
    assert most <= Limits().outbox_bytes * HANDED_IN_AT_ONCE / ROW_BYTES + 2 * AT_ONCE * STREAMS
