"""The pace of an ingest of one device: patient while nobody looks, quick while somebody does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from actors import launch, topology
from pipeline.bench.discard import DiscardActor
from pipeline.bench.generator import Generator
from pipeline.bench.settings import Load
from pipeline.core.config import Device, PipelineConfig
from tests.ports import free_port


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


def calls_a_second(ingest: str, meanwhile: Callable[[], None]) -> float:
    """How often it calls aggregators."""

    def calls() -> int:
        return sum(queue.calls for queue in launch.ask(ingest, "stats")["queues"] if "aggregator" in queue.receiver)

    before, began_s = calls(), time.monotonic()
    meanwhile()
    return (calls() - before) / (time.monotonic() - began_s)


def test_its_last_arrival_is_told_before_it_is_pushed(ingest: str) -> None:
    time.sleep(2)
    ahead = 0
    for _ in range(20):
        told = launch.ask(ingest, "stats")["devices"]["bench"]
        ahead += told["last_received_us"] > told["until_us"] > 0
        time.sleep(0.05)
    assert ahead > 5


def test_it_pushes_more_often_while_somebody_looks(ingest: str) -> None:
    unwatched = calls_a_second(ingest, lambda: time.sleep(4))
    mark, heard = None, 0

    def watch() -> None:
        nonlocal mark, heard
        for _ in range(20):
            mark, rows = launch.ask(ingest, "recent", "bench", mark)
            heard += bool(rows)
            time.sleep(0.2)

    watched = calls_a_second(ingest, watch)
    assert heard
    assert watched > 1.5 * unwatched > 0
