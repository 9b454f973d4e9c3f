"""kill -9, one after the other under load: every kind of actor, a node, the driver; and what became of the messages.

The load is simulated, the cluster is made of processes on this machine, the database is real. Everything is seen from
outside, as its users see it: the metrics page, the database, the balance at the end.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from actors import launch, topology
from actors.local_cluster import LocalCluster, local_cluster
from pipeline.adapters import link
from pipeline.adapters.web import get_json
from pipeline.bench.generator import Generator
from pipeline.bench.settings import PACKED, Load
from pipeline.core.errors import KarmanError

NODE: Final = "a node"
ROWS: Final = 4  # of racks
START_S: Final = 180.0
WARM_UP_S: Final = 5.0
BACK_S: Final = 60.0  # how long a part may take to come back before it counts as lost
SETTLE_S: Final = 2.0
STEP_S: Final = 8.0  # under load after each death, at least
LOOK_S: Final = 0.2
PAGE_S: Final = 1.0  # between two looks at the metrics page: what looks on must not be a part of the load
# Counters of the data. Those of a process, such as its calls, begin anew with it.
_DATA: Final = re.compile(
    r"^(karman_(?:\w*energy\w*|frames_\w+|drops|streams_renumbered)_total(?:\{[^}]*\})?) (\S+)$", re.M
)


@dataclass(frozen=True, slots=True)
class Death:
    """One death, and what was seen of it."""

    what: str
    back_s: float | None  # until everything that died answered again; None: it did not
    stood_still_s: float  # the longest that the newest stored arrival was behind the clock


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the messages."""

    devices: int
    rate_hz: float
    standby: bool
    deaths: tuple[Death, ...]
    sent: int
    balance: Mapping[str, Any]
    rows: int  # in the database
    repeated_rows: int
    counters: int  # that were watched
    went_back: Mapping[str, float] = field(default_factory=dict)  # by how much

    @property
    def unaccounted(self) -> int:
        """Messages that are neither stored nor counted."""
        counted = self.balance["missing"] + sum(self.balance["dropped"].values()) + self.balance["in_flight"]
        return int(self.sent - self.balance["stored"] - counted)


class _Watch:
    """Reads the page of the gateway and how the store stands, again and again, in a thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._counters: dict[str, float] = {}
        self._newest_us = 0
        self._longest_s = 0.0
        self.went_back: dict[str, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def counters(self) -> int:
        """How many have been seen."""
        return len(self._counters)

    def begin(self) -> None:
        """Look for the longest standstill from now on."""
        self._longest_s = 0.0

    @property
    def stood_still_s(self) -> float:
        """The longest that the newest stored arrival was behind the clock."""
        return self._longest_s

    def close(self) -> None:
        """Look no more."""
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        next_page_s = 0.0
        while not self._done.wait(LOOK_S):
            try:
                stats = launch.ask(topology.STORE, "stats", timeout_s=2)
                self._newest_us = max(self._newest_us, stats["newest_us"])
            except KarmanError:
                pass  # it is dead: what it had stored last is known
            if self._newest_us:
                self._longest_s = max(self._longest_s, time.time() - self._newest_us / 1e6)
            if time.monotonic() < next_page_s:
                continue
            next_page_s = time.monotonic() + PAGE_S
            try:
                with urllib.request.urlopen(f"{self._url}/metrics", timeout=3) as answer:  # noqa: S310 - our own
                    page = answer.read().decode()
            except OSError:
                continue  # so is the gateway
            for name, value in _DATA.findall(page):
                before, now = self._counters.get(name, 0.0), float(value)
                if now < before:
                    self.went_back[name] = max(self.went_back.get(name, 0.0), before - now)
                self._counters[name] = now


def run(devices: int, racks: int, rate_hz: float, standby: bool, freeze: bool, dsn: str) -> Iterator[Death | Outcome]:
    """Yields each death as it happens, then the outcome. `freeze`: the node is frozen instead of killed.

    Raises:
        KarmanError: the pipeline does not start, or does not end.
    """
    generator = Generator(Load(devices, 0.0, rate_hz=rate_hz, both_channels=False))
    driver = None
    with tempfile.TemporaryDirectory(prefix="karman-failures-") as folder, local_cluster() as cluster:
        os.environ[launch.CLUSTER] = cluster.address
        try:
            port = int(link.free_endpoints(1)[0].rpartition(":")[2])
            file = Path(folder) / "fleet.yaml"
            file.write_text(json.dumps(_fleet(generator.endpoints, racks, port, standby, folder)), "utf-8")
            driver = _driver(file, dsn)
            with launch.a_ray():
                yield from _under_load(
                    generator, cluster, driver, f"http://127.0.0.1:{port}", devices, rate_hz, standby, freeze, dsn
                )
        finally:
            del os.environ[launch.CLUSTER]
            generator.close()
            if driver is not None:
                driver.kill()
                driver.wait()


def _under_load(
    generator: Generator, cluster: LocalCluster, driver: subprocess.Popen[bytes], url: str, *about: Any
) -> Iterator[Death | Outcome]:
    devices, rate_hz, standby, freeze, dsn = about
    _until(lambda: _started(url, standby), START_S, "the pipeline does not start in time")
    generator.say("inf")
    generator.answer()
    watch = _Watch(url)
    deaths = []
    try:
        time.sleep(WARM_UP_S)
        for what, kill in _victims(cluster, driver, url, standby, freeze):
            watch.begin()
            killed_s = time.monotonic()
            pids = kill()
            back_s = _back_s(url, pids, killed_s)
            time.sleep(max(0.0, STEP_S - (time.monotonic() - killed_s)))
            death = Death(what, back_s, watch.stood_still_s)
            deaths.append(death)
            yield death
    finally:
        watch.close()
    generator.say("enough")
    sent = generator.answer()["published"]
    time.sleep(SETTLE_S)
    balance = _stop()
    with psycopg.connect(dsn) as connection:
        counted = connection.execute("SELECT count(*), count(DISTINCT (device_id, stream_id, sequence)) FROM cycle")
        rows, distinct = counted.fetchone() or (0, 0)
    yield Outcome(
        devices, rate_hz, standby, tuple(deaths), sent, balance, rows, rows - distinct, watch.counters, watch.went_back
    )


def _victims(
    cluster: LocalCluster, driver: subprocess.Popen[bytes], url: str, standby: bool, freeze: bool
) -> Iterator[tuple[str, Any]]:
    """What dies, in this order, and how: each returns the processes that died with it, by actor."""

    def actor(name: str) -> dict[str, int]:
        pid = int(_told(url, name)[name]["pid"])
        os.kill(pid, signal.SIGKILL)
        return {name: pid}

    def node() -> dict[str, int]:
        actors = _told(url, "ingest-0")
        lost = actors["ingest-0"]["node"]
        (cluster.freeze if freeze else cluster.kill)(lost)
        return {name: entry["pid"] for name, entry in actors.items() if entry["node"] == lost}

    def end_driver() -> dict[str, int]:
        driver.kill()
        driver.wait()
        return {}

    yield "an ingest", lambda: actor("ingest-0")
    if standby:
        yield "the standby that sends now", lambda: actor("standby-of-ingest-0")
    for what, name in (
        ("an aggregator", topology.aggregator_name("a")),
        ("a shard of the sums", topology.fleet_shard_name(0)),
        ("the fleet", topology.FLEET),
        ("the writer of the database", topology.STORE),
        ("the gateway", topology.EXPORTER),
        ("the supervisor", topology.SUPERVISOR),
    ):
        yield what, lambda name=name: actor(name)
    yield NODE, node
    yield "the driver", end_driver


def _back_s(url: str, died: Mapping[str, int], since_s: float) -> float | None:
    """Seconds until all that died answer as other processes; None if they do not."""
    while time.monotonic() - since_s < BACK_S:
        actors = _actors(url)
        if actors and all(
            name in actors and actors[name]["up"] and actors[name]["pid"] != pid for name, pid in died.items()
        ):
            return time.monotonic() - since_s
        time.sleep(LOOK_S)
    return None


def _fleet(endpoints: list[str], racks: int, port: int, standby: bool, folder: str) -> dict[str, Any]:
    """A fleet file: devices on feeds A and B of racks, which stand in a few rows."""
    names = [f"r{number:02d}" for number in range(racks)]
    rows = {f"row{row}": names[row::ROWS] for row in range(ROWS)}
    return {
        "topology": {"site": {"hall": {row: members for row, members in rows.items() if members}}},
        "devices": [
            {
                "id": f"d{number:04d}",
                "endpoint": endpoint,
                "rack": names[number % racks],
                "feed": "AB"[number // racks % 2],
            }
            for number, endpoint in enumerate(endpoints)
        ],
        "devices_per_actor": PACKED,
        "fleet": {"shards": 2},
        "standby": standby,
        "http": {"port": port},
        "spool_dir": f"{folder}/spool",
    }


def _driver(file: Path, dsn: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "pipeline", "run", "-c", str(file)],
        env={**os.environ, "KARMAN_DSN": dsn},
        stdout=subprocess.DEVNULL,
    )


def _stop() -> dict[str, Any]:
    """End the pipeline as its user would, now that the one who started it is gone; the balance."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "pipeline", "stop", "--report", report.name],
            stdout=subprocess.DEVNULL,
            check=False,
        )
        text = Path(report.name).read_text("utf-8")
    if not text:
        raise KarmanError("the pipeline did not end in order")
    return dict(json.loads(text))


def _status(url: str) -> dict[str, Any]:
    try:
        return dict(get_json(f"{url}/api/v1/status") or {})
    except KarmanError:
        return {}


def _started(url: str, standby: bool) -> bool:
    """Whether everything is there: standbys are made last, and then are to hear the devices."""
    members = [entry["up"] for name, entry in _actors(url).items() if topology.is_ingest(name)]
    ingests = sum(1 for name in _actors(url) if topology.is_ingest(name) and topology.is_first(name))
    return bool(members) and all(members) and len(members) == ingests * (2 if standby else 1)


def _actors(url: str) -> dict[str, dict[str, Any]]:
    return dict(_status(url).get("actors", {}))


def _told(url: str, name: str) -> dict[str, dict[str, Any]]:
    """The actors, as soon as that one is up among them: a supervisor or gateway that began anew asks them all first."""

    def with_it() -> dict[str, dict[str, Any]] | None:
        actors = _actors(url)
        return actors if actors.get(name, {}).get("up") else None

    found: dict[str, dict[str, Any]] = _until(with_it, BACK_S, f"{name} is not up")
    return found


def _until(condition: Callable[[], Any], seconds: float, otherwise: str) -> Any:
    """What it says as soon as it says something."""
    deadline_s = time.monotonic() + seconds
    while not (said := condition()):
        if time.monotonic() > deadline_s:
            raise KarmanError(otherwise)
        time.sleep(LOOK_S)
    return said
