"""kill -9 on an ingest, and on a node: with a standby nothing is lost and nothing comes twice; without one, what is lost is counted."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from actors.local_cluster import local_cluster
from pipeline.adapters import embedded, link
from tests import energy

DEVICES = 3
# Messages of five seconds: longer than it takes until both of a pair hear a publisher that has begun (ZeroMQ tries every
# two seconds), and than a checkpoint is old. Who dies before, only he had heard it all.
BOTH_HEARD = 60 * DEVICES * 5
STREAMS = """
SELECT d.name, count(*), count(DISTINCT sequence), min(sequence), max(sequence),
       (SELECT coalesce(sum(missing), 0) FROM gap g WHERE (g.device_id, g.stream_id) = (c.device_id, c.stream_id)),
       (SELECT sum(row_count) FROM power_1s r WHERE (r.device_id, r.stream_id) = (c.device_id, c.stream_id))
FROM cycle c JOIN device d ON d.id = device_id GROUP BY d.name, device_id, stream_id
"""


def assert_counted_as_stored(run: Any, dsn: str, until_true: Callable[..., Any], seconds: float) -> None:
    """Before long the energy counters are those of the stored rows."""

    def counted_and_stored() -> tuple[Any, Any]:
        with psycopg.connect(dsn) as connection:
            wanted = energy.from_rows(connection)
        return energy.exposed(run.get("/metrics") or ""), wanted

    def agree() -> bool:
        counted, wanted = counted_and_stored()
        return len(wanted) == 3 * DEVICES and counted == exact(wanted)

    with suppress(AssertionError):  # the comparison below tells more
        until_true(agree, seconds)
    counted, wanted = counted_and_stored()
    assert len(wanted) == 3 * DEVICES
    assert counted == exact(wanted)


def exact(joules: dict[Any, float]) -> dict[Any, Any]:
    """To be compared with: the same, but for the order of adding up."""
    return {key: pytest.approx(value, rel=1e-9) for key, value in joules.items()}


@contextmanager
def publishing(endpoint: str) -> Iterator[None]:
    """Devices on consecutive ports, until the end."""
    publisher = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "replay", "--bind", endpoint, "--loop", f"--device-count={DEVICES}"],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        publisher.send_signal(signal.SIGINT)
        publisher.wait(20)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("standby", [True, False])
def test_an_ingest_dies_again_and_again(
    start: Callable[..., Any], until_true: Callable[..., Any], standby: bool
) -> None:
    (endpoint,) = link.free_endpoints(1)
    first_port = int(endpoint.rpartition(":")[2])
    devices = [f"--connect=d{n}=tcp://127.0.0.1:{first_port + n}" for n in range(DEVICES)]
    with embedded.temporary() as dsn:
        extra = ["--standby"] if standby else []
        run = start("run", *devices, "--devices-per-actor", "2", *extra, KARMAN_DSN=dsn)
        until_true(lambda: run.status().get("devices"), 60)
        received: list[int] = []
        with publishing(endpoint):
            until_true(lambda: run.status()["balance"]["stored"] > BOTH_HEARD, 30)
            # An aggregator that dies together with the ingest asks its successor for what it has not seen.
            second = ("standby-of-ingest-0", "aggregator-a") if standby else ("ingest-0",)
            for names in (("ingest-0",), second, ("ingest-0",)):
                pids = {name: run.status()["actors"][name]["pid"] for name in names}
                for pid in pids.values():
                    psutil.Process(pid).kill()
                until_true(
                    lambda pids=pids: all(run.status()["actors"][n]["pid"] != pid for n, pid in pids.items()), 30
                )
                # Before the next one dies, the new one has to have heard for longer than a checkpoint is old.
                before = run.status()["balance"]["stored"]
                until_true(lambda before=before: run.status()["balance"]["stored"] > before + BOTH_HEARD, 40)
                received.append(run.status()["devices"]["d0"]["received"])
        # Without one, what died with an ingest may have been counted in one place and not in the other.
        if standby:
            assert_counted_as_stored(run, dsn, until_true, 20)
        else:
            until_true(lambda: run.status()["balance"]["in_flight"] == 0, 20)
        assert run.end() == 0, run.output()
        report = run.report()
        with psycopg.connect(dsn) as connection:
            streams = connection.execute(STREAMS).fetchall()
            reasons = {reason for (reason,) in connection.execute("SELECT DISTINCT reason FROM gap")}
    # From what was first stored of each device: the publisher begins when any of its subscribers is there.
    sent = sum({device: last - first + 1 for device, _, _, first, last, *_ in streams}.values())
    assert received == sorted(received)
    assert report["dropped"] == {}
    assert report["in_flight"] == 0
    assert report["stored"] == report["received"]
    assert report["received"] + report["missing"] == sent
    assert len(streams) == 3 * DEVICES
    for _, count, distinct, first, last, missing, rolled_up in streams:
        assert count == distinct == rolled_up
        assert count + missing == last - first + 1
        assert last == max(last for *_, last, _, _ in streams)
    if standby:
        assert (report["stored"], report["missing"], reasons) == (sent, 0, set())
    else:
        assert report["missing"] > 0
        assert reasons == {"restart"}


@pytest.mark.timeout(240)
def test_a_node_dies_and_everything_on_it_comes_back_elsewhere(
    start: Callable[..., Any], until_true: Callable[..., Any], tmp_path: Path
) -> None:
    (endpoint,) = link.free_endpoints(1)
    first_port = int(endpoint.rpartition(":")[2])
    devices = [f"--connect=d{n}=tcp://127.0.0.1:{first_port + n}" for n in range(DEVICES)]
    with embedded.temporary() as dsn, local_cluster() as cluster:
        options = ["--devices-per-actor=2", "--standby", f"--spool-dir={tmp_path / 'spool'}"]
        run = start("run", *devices, *options, KARMAN_DSN=dsn, RAY_ADDRESS=cluster.address)
        until_true(lambda: run.status().get("devices"), 150)
        with publishing(endpoint):
            until_true(lambda: run.status()["balance"]["stored"] > BOTH_HEARD, 60)
            actors = run.status()["actors"]
            for number in range(2):
                here, there = (actors[name]["node"] for name in (f"ingest-{number}", f"standby-of-ingest-{number}"))
                assert here != there
            lost = actors["ingest-0"]["node"]
            before = run.status()["balance"]["stored"]
            cluster.kill(lost)

            def all_back() -> bool:
                now = run.status().get("actors", {})
                return now.keys() == actors.keys() and all(a["up"] and a["node"] != lost for a in now.values())

            until_true(all_back, 90)
            until_true(lambda: run.status()["balance"]["stored"] > before + BOTH_HEARD, 60)
        assert_counted_as_stored(run, dsn, until_true, 30)
        assert run.end() == 0, run.output()
        report = run.report()
        with psycopg.connect(dsn) as connection:
            streams = connection.execute(STREAMS).fetchall()
            gaps = connection.execute("SELECT count(*) FROM gap").fetchone()
    assert (report["dropped"], report["in_flight"], report["missing"], gaps) == ({}, 0, 0, (0,))
    assert report["stored"] == report["received"] == sum(count for _, count, *_ in streams) / 3
    for _, count, distinct, first, last, missing, rolled_up in streams:
        assert count == distinct == rolled_up == last - first + 1
        assert missing == 0
