"""A whole pipeline under load: real publishers, real actors, a real database; what arrived, and what it cost."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psutil
import psycopg

from actors import launch, topology
from pipeline.adapters import link
from pipeline.bench.discard import DiscardActor
from pipeline.bench.processes import Usage, usage
from pipeline.core.balance import balance, joined
from pipeline.core.config import Device, PipelineConfig
from pipeline.core.delays import Delays
from pipeline.core.errors import KarmanError
from pipeline.core.model import CHANNELS

WARM_UP_S: Final = 5.0  # caches fill, partitions are made
GENERATOR: Final = "generator"
DATABASE: Final = "database"


@dataclass(frozen=True, slots=True)
class Settings:
    """A load."""

    devices: int
    seconds: float
    devices_per_actor: int = 64
    rate_hz: float = 60.0
    both_channels: bool = True
    store: bool = True


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a load. Costs and delays are of the `seconds` after the warm-up, counts of everything."""

    settings: Settings
    offered: int
    received: int
    stored: int
    missing: int
    dropped: Mapping[str, int]
    rate: float  # messages received a second
    cpu_us: Mapping[str, float]  # a message, by kind of process
    cores: float  # used, all together
    memory_mib: Mapping[str, float]  # private, by kind
    processes: Mapping[str, int]
    calls: float  # Ray calls a second, without those of the observers
    delays_ms: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    generator_late_ms: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Messages that were sent and are in no database."""
        return self.offered - self.stored


@dataclass(frozen=True, slots=True)
class _Moment:
    """What is known at one moment."""

    at_s: float
    usage: Usage
    received: int
    calls: int
    delays: Mapping[str, Any]


class Generator:
    """The publishers, in a process of their own."""

    def __init__(self, settings: Settings) -> None:
        both = "both" if settings.both_channels else "one"
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "pipeline.bench.generator", str(settings.devices), str(settings.rate_hz), both],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.endpoints: list[str] = self.answer()["endpoints"]

    def say(self, word: object) -> None:
        """Send a line."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            raise KarmanError("the load generator has ended before its time")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise KarmanError(f"the load generator: {answer['error']}")
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def run(settings: Settings, dsn: str) -> Loaded:
    """Put a load on a pipeline that stores into the new database `dsn`; Ray must be running.

    Raises:
        KarmanError: the pipeline or the generator does not start.
    """
    generator = Generator(settings)
    try:
        config = PipelineConfig(
            tuple(Device(f"bench{n:04d}", endpoint) for n, endpoint in enumerate(generator.endpoints)),
            dsn,
            time.time_ns() // 1000,
            http_port=_free_port(),
            devices_per_actor=settings.devices_per_actor,
        )
        others = {GENERATOR: generator.pid}
        if settings.store:
            others |= _database(dsn)
        else:
            topology.spawn(DiscardActor, topology.STORE)  # the supervisor finds it there
        launch.start(config)
        generator.say(WARM_UP_S + settings.seconds)
        generator.answer()
        time.sleep(WARM_UP_S)
        before = _look(config, others)
        time.sleep(max(0.0, settings.seconds - 0.5))
        after = _look(config, others)
        sent = generator.answer()
        final = launch.stop()
        generator.say("done")
    finally:
        generator.close()
        with contextlib.suppress(KarmanError):
            launch.end()
    return _result(settings, before, after, sent, final)


def _look(config: PipelineConfig, others: Mapping[str, int]) -> _Moment:
    ingests = [launch.ask(name, "stats") for name in topology.ingest_names(config)]
    seen = [launch.ask(topology.aggregator_name(channel), "delays") for channel in CHANNELS]
    stored = launch.ask(topology.STORE, "delays")
    return _Moment(
        time.monotonic(),
        usage(others),
        sum(ingest["counted"].received for ingest in ingests),
        sum(queue.calls for ingest in ingests for queue in ingest["queues"]),
        {"aggregated": sum(seen), **stored},
    )


def _result(
    settings: Settings, before: _Moment, after: _Moment, sent: Mapping[str, Any], final: Mapping[str, Any]
) -> Loaded:
    live = {(name, stats["epoch"]): stats["counted"] for name, stats in final["ingests"].items() if stats}
    store = joined(list(final["stores"].values()))
    counts = balance(live, store.get("accounts") or {}, store.get("spooled") or {})
    seconds, messages = after.at_s - before.at_s, after.received - before.received
    spent_s = {kind: after.usage.cpu_s[kind] - before.usage.cpu_s.get(kind, 0.0) for kind in after.usage.cpu_s}
    return Loaded(
        settings,
        sent["published"],
        counts.received,
        counts.stored,
        counts.missing,
        dict(counts.dropped),
        messages / seconds,
        {kind: 1e6 * cpu_s / max(messages, 1) for kind, cpu_s in spent_s.items()},
        sum(spent_s.values()) / seconds,
        {kind: size / 2**20 for kind, size in after.usage.memory_bytes.items()},
        after.usage.processes,
        (after.calls - before.calls) / seconds,
        {
            name: quantiles(Delays(after.delays[name] - before.delays[name]))
            for name in ("received", "aggregated", "committed")
        },
        sent["late_ms"],
    )


def quantiles(delays: Delays) -> dict[str, float | None]:
    """What is told of delays, in milliseconds."""
    return {
        name: delays.quantile_ms(share) for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
    }


def _database(dsn: str) -> dict[str, int]:
    """The server's first process, if it runs on this machine."""
    with psycopg.connect(dsn) as connection:
        backend = connection.info.backend_pid
        try:
            process = psutil.Process(backend)
            if process.name().startswith("postgres") and (parent := process.parent()):
                return {DATABASE: parent.pid}
        except psutil.Error:
            pass
    return {}


def _free_port() -> int:
    return int(link.free_endpoints(1)[0].rpartition(":")[2])
