"""kill -9 on any actor: the stream goes on, and what was lost is counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.adapters import embedded

ACTORS = [
    "IngestActor",
    "PhaseAggregatorActor",
    "TimescaleWriterActor",
    "PrometheusWriterActor",
    "SupervisorActor",
    "ReplayActor",
    "FleetActor",
]


@pytest.mark.timeout(300)
def test_every_kind_of_actor_may_die(
    start: Callable[..., Any], public_folder: Path, until_true: Callable[..., Any]
) -> None:
    demo = start("demo", "sample1", "--devices", "2", "--data-dir", str(public_folder))
    demo.ready()
    for name in ACTORS:
        before = until_true(lambda: demo.status() or None)["balance"]["stored"]
        victim = demo.actor(name)
        victim.kill()
        killed_s = time.monotonic()
        # A second's worth beyond what may have been on its way when the actor died.
        until_true(
            lambda before=before: (demo.status() or {"balance": {"stored": 0}})["balance"]["stored"] > before + 240, 20
        )
        assert time.monotonic() - killed_s < 15, f"the stream stood still after {name} was killed"
        until_true(lambda name=name, victim=victim: demo.actor(name).pid != victim.pid, 20)
    assert demo.end() == 0, demo.output()
    report = demo.report()
    assert report["dropped"] == {}
    assert report["in_flight"] == 0
    assert report["stored"] == report["received"]
    # `skipped` was due while the replay itself was dead: it shows as missing, as a silent device would.
    assert report["published"] + report["skipped"] == report["received"] + report["missing"]
    assert 0 < report["missing"] < 2 * 60 * 10
    with embedded.postgres(public_folder) as dsn, psycopg.connect(dsn) as connection:
        # Rows and gaps together are every frame from the first to the last, of each device and stream, and none twice.
        rows = connection.execute(
            "SELECT count(*), count(DISTINCT sequence), max(sequence) - min(sequence) + 1,"
            " (SELECT coalesce(sum(missing), 0) FROM gap g WHERE (g.device_id, g.stream_id) = (c.device_id, c.stream_id))"
            " FROM cycle c GROUP BY device_id, stream_id"
        ).fetchall()
        reasons = {reason for (reason,) in connection.execute("SELECT DISTINCT reason FROM gap")}
    assert len(rows) == 6
    for count, distinct, span, missing in rows:
        assert count == distinct
        assert count + missing == span
    assert "restart" in reasons


def test_sigterm_stores_what_was_received(start: Callable[..., Any], public_folder: Path) -> None:
    demo = start("demo", "sample2", "--speed", "5", "--data-dir", str(public_folder))
    demo.ready()
    assert demo.end(15) == 0, demo.output()
    report = demo.report()
    assert report["published"] == report["received"] == report["stored"] > 0
    assert demo.get("/metrics") is None
