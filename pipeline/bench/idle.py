"""What Ray takes that has nothing to do: alone, and with as many actors as the pipeline of one device has.

Alone it keeps workers ready, one for each core, which become the first actors. What Ray takes with its own settings, as
`ray.init()` starts it, is told beside.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from actors import launch, topology
from pipeline.bench.load import Loaded
from pipeline.bench.processes import BENCHMARK, usage
from pipeline.core.model import CHANNELS

ACTORS: Final = 4 + len(CHANNELS)  # an ingest, two writers, the supervisor, and the aggregators
SETTLE_S: Final = 5.0  # processes start, and fall asleep


class IdleActor:
    """Does nothing."""

    def health(self) -> dict[str, object]:
        """Who answers."""
        return topology.identity()


@dataclass(frozen=True, slots=True)
class Idle:
    """Shares of a core: of Ray without any actor of ours, with `ACTORS` that do nothing, and of Ray as it comes."""

    ray: float
    with_actors: float
    as_it_comes: float


def measure(seconds: float) -> Idle:
    """Start a Ray as it comes, then one of our own, and look on.

    Raises:
        KarmanError: it does not start.
    """
    with launch.ray_as_it_comes():
        as_it_comes = _cores(seconds)
    with launch.local_ray():
        alone = _cores(seconds)
        for number in range(ACTORS):
            topology.spawn(IdleActor, f"idle-{number}")
        for number in range(ACTORS):
            launch.ask(f"idle-{number}", "health")
        return Idle(alone, _cores(seconds), as_it_comes)


def told(loaded: Loaded, idle: Idle) -> str:
    """What share of a core the pipeline of one device and its database take beyond Ray that has nothing to do."""
    taken = loaded.pipeline_cpu_us * loaded.rate / 1e6
    return (
        f"one device takes {taken:.3f} of a core, with its Ray and its database: {taken - idle.as_it_comes:.3f} beyond"
        f" Ray that has nothing to do, as it comes ({idle.as_it_comes:.3f}), {taken - idle.ray:.3f} beyond one with our"
        f" settings ({idle.ray:.3f}; {idle.with_actors:.3f} with {ACTORS} actors that do nothing)"
    )


def _cores(seconds: float) -> float:
    time.sleep(SETTLE_S)
    before, began_s = _spent_s(usage({}).cpu_s), time.monotonic()
    time.sleep(seconds)
    return (_spent_s(usage({}).cpu_s) - before) / (time.monotonic() - began_s)


def _spent_s(cpu_s: Mapping[str, float]) -> float:
    return sum(spent for kind, spent in cpu_s.items() if kind != BENCHMARK)
