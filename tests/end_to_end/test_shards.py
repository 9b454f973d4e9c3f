"""Several writers and several aggregators of a channel; and an actor that dies over and over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import yaml

from pipeline.adapters import embedded
from pipeline.core.assignment import shard_of

DEVICES = [f"pdu{n}" for n in range(8)]


@pytest.mark.timeout(300)
def test_shards_share_the_devices_and_the_balance_is_one(
    start: Callable[..., Any],
    publish: Callable[[int], list[str]],
    public_folder: Path,
    tmp_path: Path,
    port: int,
    until_true: Callable[..., Any],
) -> None:
    assert {shard_of(name, 2) for name in DEVICES} == {0, 1}
    fleet = tmp_path / "fleet.yaml"
    settings = {"http": {"port": port}, "devices_per_actor": 4, "store_shards": 2, "aggregator_shards": 2}
    endpoints = zip(DEVICES, publish(len(DEVICES)), strict=True)
    devices = [{"id": name, "endpoint": endpoint} for name, endpoint in endpoints]
    fleet.write_text(yaml.safe_dump({**settings, "spool_dir": str(tmp_path / "spool"), "devices": devices}))
    with embedded.postgres(public_folder) as dsn:
        run = start("run", "-c", str(fleet), at=port, KARMAN_DSN=dsn)
        run.ready()

        def all_are_heard() -> bool:
            found = run.status().get("devices", {})
            return found.keys() == set(DEVICES) and all(
                entry["phases"] and not entry["silent"] for entry in found.values()
            )

        until_true(all_are_heard)
        actors = run.status()["actors"]
        assert {"timescale-writer-1", "aggregator-a-1", "aggregator-b-1"} < actors.keys()
        psutil.Process(actors["timescale-writer-1"]["pid"]).kill()

        # An aggregator that dies over and over waits, longer each time, and comes again.
        killed: set[int] = set()

        def it_waits() -> bool:
            entry = run.status().get("actors", {}).get("aggregator-a-1", {})
            if entry.get("up") and entry["pid"] not in killed:
                killed.add(entry["pid"])
                psutil.Process(entry["pid"]).kill()
            return bool(entry.get("waits_s"))

        until_true(it_waits, 90)
        until_true(lambda: run.status()["actors"]["aggregator-a-1"]["up"], 60)
        assert run.status()["actors"]["aggregator-a-1"]["restarts"] == len(killed)
        until_true(all_are_heard)
        assert run.end() == 0, run.output()
        report = run.report()
        assert report["received"] == report["stored"] > 0
        assert (report["in_flight"], report["dropped"], report["missing"]) == (0, {}, 0)
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(
                "SELECT count(*), count(DISTINCT sequence), max(sequence) - min(sequence) + 1 FROM cycle"
                " GROUP BY device_id, stream_id"
            ).fetchall()
            producers = connection.execute("SELECT count(DISTINCT producer) FROM ledger").fetchone()
    assert len(rows) == 3 * len(DEVICES)
    assert all(count == distinct == span for count, distinct, span in rows)
    assert producers is not None
    assert producers[0] >= 2
