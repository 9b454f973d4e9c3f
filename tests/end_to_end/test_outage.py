"""kill -9 on the database, then on the writer, then on the whole pipeline while the database is still away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from pipeline.adapters import embedded, link

DEVICES = int(os.environ.get("KARMAN_TEST_OUTAGE_DEVICES", "4"))
OUTAGE_S = float(os.environ.get("KARMAN_TEST_OUTAGE_S", "0"))  # the database is away at least so long


def kill_everything_below(pid: int) -> None:
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        if "postgres" not in process.name():
            process.kill()
    psutil.wait_procs(family, timeout=10)


@pytest.mark.timeout(300 + 2 * OUTAGE_S)
def test_nothing_acknowledged_is_lost_and_the_dead_time_is_a_gap(
    start: Callable[..., Any], public_folder: Path, tmp_path: Path, until_true: Callable[..., Any]
) -> None:
    endpoints = link.free_endpoints(1)
    first_port = int(endpoints[0].rpartition(":")[2])
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        dsn = server.enter_context(embedded.postgres(public_folder))
        replay = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipeline",
                "replay",
                "--bind",
                endpoints[0],
                "--no-wait",
                "--loop",
                f"--device-count={DEVICES}",
            ],
            stdout=subprocess.DEVNULL,
        )
        stack.callback(replay.wait, 20)
        stack.callback(replay.terminate)
        devices = [f"--connect=d{n}=tcp://127.0.0.1:{first_port + n}" for n in range(DEVICES)]
        command = ["run", *devices, "--devices-per-actor", str(DEVICES // 2), "--spool-dir", str(tmp_path / "spool")]

        run = start(*command, KARMAN_DSN=dsn)
        run.ready()
        postmaster = int((public_folder / "postgres" / "postmaster.pid").read_text().split("\n")[0])
        psutil.Process(postmaster).kill()
        back_s = time.monotonic() + OUTAGE_S
        server.close()
        until_true(lambda: run.status()["balance"]["spooled"] > 100, 30)
        time.sleep(OUTAGE_S / 4)
        received = run.status()["balance"]["received"]

        victim = run.actor("TimescaleWriterActor")
        victim.kill()
        until_true(lambda: run.actor("TimescaleWriterActor").pid != victim.pid, 30)
        until_true(lambda: run.status()["balance"]["received"] > received + 60 * DEVICES * 2, 30)
        assert run.status()["balance"]["dropped"] == {}

        time.sleep(OUTAGE_S / 4)
        kill_everything_below(run.process.pid)
        run = start(*command, KARMAN_DSN=dsn)
        spooled = until_true(lambda: (run.status() or {"balance": {"spooled": 0}})["balance"]["spooled"], 60)
        assert spooled > 0
        assert "starting all the same" in run.output()

        time.sleep(max(0.0, back_s - time.monotonic()))
        dsn = server.enter_context(embedded.postgres(public_folder))
        until_true(
            lambda: run.status()["balance"]["spooled"] == 0 and not run.status()["store"]["error"], 60 + OUTAGE_S
        )
        time.sleep(1)
        assert run.end(signal.SIGTERM) == 0, run.output()
        report = run.report()
        assert report["dropped"] == {}
        assert report["in_flight"] == report["spooled"] == 0
        with psycopg.connect(dsn) as connection:
            streams = connection.execute(
                "SELECT count(*), count(DISTINCT sequence), max(sequence) - min(sequence) + 1,"
                " (SELECT coalesce(sum(missing), 0) FROM gap g WHERE (g.device_id, g.stream_id) = (c.device_id, c.stream_id)),"
                " (SELECT sum(row_count) FROM power_1s r WHERE (r.device_id, r.stream_id) = (c.device_id, c.stream_id))"
                " FROM cycle c GROUP BY device_id, stream_id"
            ).fetchall()
            reasons = connection.execute("SELECT reason, count(*) FROM gap GROUP BY 1").fetchall()
    assert len(streams) == 3 * DEVICES
    for count, distinct, span, missing, rolled_up in streams:
        assert count == distinct == rolled_up
        assert count + missing == span
    assert reasons == [("restart", 3 * DEVICES)]
