"""A whole pipeline under load: real publishers, real actors, a real database; what arrived, and what it cost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from actors import launch, topology
from pipeline.adapters import link
from pipeline.bench.discard import DiscardActor
from pipeline.bench.generator import Generator
from pipeline.bench.processes import BENCHMARK, GENERATOR, Usage, database, usage
from pipeline.bench.settings import Load
from pipeline.core.balance import balance, joined
from pipeline.core.config import Device, PipelineConfig
from pipeline.core.delays import Delays
from pipeline.core.errors import KarmanError
from pipeline.core.model import CHANNELS

WARM_UP_S: Final = 5.0  # caches fill, partitions are made
LATEST_MS: Final = 500.0  # a generator that is later does not make the load that it says
FURTHEST_BEHIND_MS: Final = 5000.0  # what is committed later than this has piled up


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a load. Costs and delays are of the `seconds` after the warm-up, counts of everything."""

    load: Load
    offered: int
    received: int
    stored: int
    missing: int
    dropped: Mapping[str, int]
    rate: float  # messages received a second
    cpu_us: Mapping[str, float]  # a message, by kind of process
    cores: float  # used, all together
    memory_half_mib: Mapping[str, float]  # private, by kind, at half time
    memory_mib: Mapping[str, float]  # at the end
    processes: Mapping[str, int]
    calls: float  # Ray calls a second, without those of the observers
    delays_ms: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    generator_late_ms: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Messages that were sent and are in no database."""
        return self.offered - self.stored

    @property
    def pipeline_cpu_us(self) -> float:
        """CPU microseconds a message of pipeline and database, without those of the load itself."""
        return sum(spent for kind, spent in self.cpu_us.items() if kind not in (GENERATOR, BENCHMARK))

    @property
    def pipeline_mib(self) -> float:
        """Private memory of the actors."""
        return sum(size for kind, size in self.memory_mib.items() if kind.endswith("Actor"))

    @property
    def kept_up(self) -> bool:
        """Whether the machine was fast enough: nothing was lost, the load came on time, and nothing piled up."""
        late_ms, behind_ms = self.generator_late_ms["p99"], self.delays_ms["committed"]["p99"]
        return self.lost == 0 and (late_ms or 0.0) < LATEST_MS and (behind_ms or 0.0) < FURTHEST_BEHIND_MS


@dataclass(frozen=True, slots=True)
class _Moment:
    """What is known at one moment."""

    at_s: float
    usage: Usage
    received: int
    calls: int
    delays: Mapping[str, Any]


def run(load: Load, dsn: str) -> Loaded:
    """Put a load on a pipeline that stores into the new database `dsn`; Ray must be running.

    Raises:
        KarmanError: the pipeline or the generator does not start.
    """
    generator = Generator(load)
    try:
        config = PipelineConfig(
            tuple(Device(f"bench{n:04d}", endpoint) for n, endpoint in enumerate(generator.endpoints)),
            dsn,
            time.time_ns() // 1000,
            http_port=_free_port(),
            devices_per_actor=load.devices_per_actor,
            store_shards=load.store_shards if load.store else 1,
        )
        others = {GENERATOR: generator.pid}
        if load.store:
            others |= database(dsn)
        else:
            topology.spawn(DiscardActor, topology.STORE)  # the supervisor finds it there
        launch.start(config)
        generator.say(WARM_UP_S + load.seconds)
        generator.answer()
        time.sleep(WARM_UP_S)
        before = _look(config, others)
        time.sleep(max(0.0, load.seconds / 2 - 0.5))
        half = usage(others)
        time.sleep(load.seconds / 2)
        after = _look(config, others)
        sent = generator.answer()
        final = launch.stop()
        generator.say("done")
    finally:
        generator.close()
        with contextlib.suppress(KarmanError):
            launch.end()
    return _result(load, before, half, after, sent, final)


def _look(config: PipelineConfig, others: Mapping[str, int]) -> _Moment:
    ingests = [launch.ask(name, "stats") for name in topology.ingest_names(config)]
    seen = [launch.ask(topology.aggregator_name(channel), "delays") for channel in CHANNELS]
    stored = [launch.ask(name, "delays") for name in topology.store_names(config)]
    return _Moment(
        time.monotonic(),
        usage(others),
        sum(ingest["counted"].received for ingest in ingests),
        sum(queue.calls for ingest in ingests for queue in ingest["queues"]),
        {"aggregated": sum(seen), **{name: sum(each[name] for each in stored) for name in stored[0]}},
    )


def _result(
    load: Load, before: _Moment, half: Usage, after: _Moment, sent: Mapping[str, Any], final: Mapping[str, Any]
) -> Loaded:
    live = {(name, stats["epoch"]): stats["counted"] for name, stats in final["ingests"].items() if stats}
    store = joined(list(final["stores"].values()))
    counts = balance(live, store.get("accounts") or {}, store.get("spooled") or {})
    seconds, messages = after.at_s - before.at_s, after.received - before.received
    spent_s = {kind: after.usage.cpu_s[kind] - before.usage.cpu_s.get(kind, 0.0) for kind in after.usage.cpu_s}
    return Loaded(
        load,
        sent["published"],
        counts.received,
        counts.stored,
        counts.missing,
        dict(counts.dropped),
        messages / seconds,
        {kind: 1e6 * cpu_s / max(messages, 1) for kind, cpu_s in spent_s.items()},
        sum(spent_s.values()) / seconds,
        _mib(half),
        _mib(after.usage),
        after.usage.processes,
        (after.calls - before.calls) / seconds,
        {
            name: quantiles(Delays(after.delays[name] - before.delays[name]))
            for name in ("received", "aggregated", "committed")
        },
        dict(zip(("p50", "p99", "max"), sent["late_ms"].values(), strict=True)),
    )


def _mib(used: Usage) -> dict[str, float]:
    return {kind: size / 2**20 for kind, size in used.memory_bytes.items()}


def quantiles(delays: Delays) -> dict[str, float | None]:
    """What is told of delays, in milliseconds."""
    return {
        name: delays.quantile_ms(share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
    }


def _free_port() -> int:
    return int(link.free_endpoints(1)[0].rpartition(":")[2])
