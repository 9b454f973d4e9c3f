"""kill -9 on an ingest: with a standby nothing is lost and nothing comes twice; without one, what is lost is counted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psutil
import psycopg
import pytest

from pipeline.adapters import embedded, link
from tests import energy

SECONDS = 25
DEVICES = 3
STREAMS = """
SELECT d.name, count(*), count(DISTINCT sequence), min(sequence), max(sequence),
       (SELECT coalesce(sum(missing), 0) FROM gap g WHERE (g.device_id, g.stream_id) = (c.device_id, c.stream_id)),
       (SELECT sum(row_count) FROM power_1s r WHERE (r.device_id, r.stream_id) = (c.device_id, c.stream_id))
FROM cycle c JOIN device d ON d.id = device_id GROUP BY d.name, device_id, stream_id
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("standby", [True, False])
def test_an_ingest_dies_again_and_again(
    start: Callable[..., Any], until_true: Callable[..., Any], standby: bool
) -> None:
    endpoints = link.free_endpoints(1)
    first_port = int(endpoints[0].rpartition(":")[2])
    devices = [f"--connect=d{n}=tcp://127.0.0.1:{first_port + n}" for n in range(DEVICES)]
    with embedded.temporary() as dsn:
        extra = ["--standby"] if standby else []
        run = start("run", *devices, "--devices-per-actor", "2", *extra, KARMAN_DSN=dsn)
        until_true(lambda: run.status().get("devices"), 60)
        publisher = subprocess.Popen(
            [
                *(sys.executable, "-m", "pipeline", "replay", "--bind", endpoints[0]),
                *("--loop", f"--duration={SECONDS}", f"--device-count={DEVICES}"),
            ],
            stdout=subprocess.DEVNULL,
        )
        until_true(lambda: run.status()["balance"]["stored"] > 100, 30)
        received: list[int] = []
        # An aggregator that dies together with the ingest asks its successor for what it has not seen.
        second = ("standby-of-ingest-0", "aggregator-a") if standby else ("ingest-0",)
        for names in (("ingest-0",), second, ("ingest-0",)):
            pids = {name: run.status()["actors"][name]["pid"] for name in names}
            for pid in pids.values():
                psutil.Process(pid).kill()
            before = run.status()["balance"]["stored"]
            until_true(lambda pids=pids: all(run.status()["actors"][n]["pid"] != pid for n, pid in pids.items()), 30)
            until_true(lambda before=before: run.status()["balance"]["stored"] > before + 60 * DEVICES, 30)
            received.append(run.status()["devices"]["d0"]["received"])
        assert publisher.wait(60) == 0

        def all_counted() -> bool:
            with psycopg.connect(dsn) as connection:
                wanted = energy.from_rows(connection)
            exact = {key: pytest.approx(joules, rel=1e-9) for key, joules in wanted.items()}
            return len(wanted) == 3 * DEVICES and energy.exposed(run.get("/metrics") or "") == exact

        # Without one, what died with an ingest may have been counted in one place and not in the other.
        until_true(all_counted if standby else lambda: run.status()["balance"]["in_flight"] == 0, 20)
        assert run.end() == 0, run.output()
        report = run.report()
        with psycopg.connect(dsn) as connection:
            streams = connection.execute(STREAMS).fetchall()
            reasons = {reason for (reason,) in connection.execute("SELECT DISTINCT reason FROM gap")}
    # From what was first stored of each device: the publisher begins when any of its subscribers is there.
    sent = sum(SECONDS * 60 - first for first in {device: first for device, _, _, first, *_ in streams}.values())
    assert received == sorted(received)
    assert report["dropped"] == {}
    assert report["in_flight"] == 0
    assert report["stored"] == report["received"]
    assert report["received"] + report["missing"] == sent
    assert len(streams) == 3 * DEVICES
    for _, count, distinct, first, last, missing, rolled_up in streams:
        assert count == distinct == rolled_up
        assert count + missing == last - first + 1
        assert last == SECONDS * 60 - 1
    if standby:
        assert (report["stored"], report["missing"], reasons) == (sent, 0, set())
    else:
        assert report["missing"] > 0
        assert reasons == {"restart"}
