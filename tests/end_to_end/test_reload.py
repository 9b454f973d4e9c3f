"""A fleet file that changes: devices come, go and move, and the others notice nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import yaml

from pipeline.adapters import embedded

FIRST = [f"d{n}" for n in range(6)]
LATER = [f"d{n}" for n in range(6, 16)]


class Fleet:
    """A fleet file and the pipeline that runs by it."""

    def __init__(self, path: Path, port: int, endpoints: list[str]) -> None:
        self.path = path
        self.settings: dict[str, Any] = {"http": {"port": port}, "devices_per_actor": 4, "spool_dir": "spool"}
        self._endpoints = {f"d{n}": endpoint for n, endpoint in enumerate(endpoints)}
        self.running: Any = None
        self.received: dict[str, int] = {}

    def write(self, devices: Iterable[str], **settings: Any) -> None:
        self.settings |= settings
        entries = [{"id": name, "endpoint": self._endpoints[name]} for name in devices]
        self.path.write_text(yaml.safe_dump({**self.settings, "devices": entries}))

    def devices(self) -> dict[str, Any]:
        """The devices of the status document; none of their counts has ever gone back."""
        found = dict(self.running.status().get("devices", {}))
        for name, entry in found.items():
            assert entry["received"] >= self.received.get(name, 0), f"the count of {name} went back"
            self.received[name] = entry["received"]
        return found

    def hosts(self, names: Iterable[str]) -> bool:
        """Whether exactly these are received, every one of them."""
        before = self.devices()
        time.sleep(0.5)
        after = self.devices()
        return set(after) == set(names) and all(
            name in before and after[name]["received"] > before[name]["received"] for name in after
        )


@pytest.mark.timeout(400)
def test_a_change_touches_only_whom_it_is_about(
    start: Callable[..., Any],
    publish: Callable[[int], list[str]],
    public_folder: Path,
    tmp_path: Path,
    port: int,
    until_true: Callable[..., Any],
) -> None:
    fleet = Fleet(tmp_path / "fleet.yaml", port, publish(16))
    with embedded.postgres(public_folder) as dsn:
        fleet.write(FIRST)
        fleet.running = run = start("run", "-c", str(fleet.path), at=port, KARMAN_DSN=dsn)
        run.ready()
        until_true(lambda: fleet.hosts(FIRST), 20)

        fleet.write([*LATER, *FIRST])  # ten more, in front
        until_true(lambda: fleet.hosts([*FIRST, *LATER]), 40)
        assert "configuration: added d6, d7, d8, d9, d10 and 5 more" in run.output()

        without = [name for name in [*FIRST, *LATER] if name != "d2"]
        fleet.write(without)
        until_true(lambda: fleet.hosts(without), 40)
        fleet.write([*FIRST, *LATER])  # it comes again, and goes on counting
        until_true(lambda: fleet.hosts([*FIRST, *LATER]), 40)

        fleet.path.write_text("devices: [{id: d0, endpont: tcp://127.0.0.1:1}]")
        until_true(lambda: "the configuration stays as it was" in run.output(), 20)
        assert "did you mean 'endpoint'" in run.output()
        until_true(lambda: "karman_configuration_refused 1.0" in (run.get("/metrics") or ""), 20)
        assert "did you mean 'endpoint'" in run.status()["notices"][0]
        fleet.write([*FIRST, *LATER], streams=["threephase/karman1"])
        until_true(lambda: "streams cannot change while the pipeline runs" in run.output(), 20)
        del fleet.settings["streams"]
        fleet.write([*FIRST, *LATER])
        run.process.send_signal(signal.SIGHUP)
        until_true(lambda: "configuration: nothing changed" in run.output(), 20)
        until_true(lambda: "karman_configuration_refused 0.0" in (run.get("/metrics") or ""), 20)
        until_true(lambda: fleet.hosts([*FIRST, *LATER]), 40)

        actors = run.status()["actors"]
        supervisor, ingest = (psutil.Process(actors[name]["pid"]) for name in ("supervisor", "ingest-0"))
        supervisor.kill()  # what is in force now, not what it was started with, is known to whoever is started anew
        ingest.kill()
        until_true(lambda: run.actor("SupervisorActor").pid != supervisor.pid, 30)
        until_true(lambda: fleet.hosts([*FIRST, *LATER]), 60)
        assert fleet.devices().keys() == {*FIRST, *LATER}

        fleet.write([*FIRST, *LATER], devices_per_actor=2)  # half of them move to another ingest
        until_true(lambda: "configuration: moved" in run.output(), 60)
        until_true(lambda: fleet.hosts([*FIRST, *LATER]), 60)
        until_true(lambda: len([name for name in run.status()["actors"] if name.startswith("ingest-")]) == 8)
        assert run.end() == 0, run.output()
        report = run.report()
        assert report["received"] == report["stored"] + sum(report["dropped"].values())
        assert report["in_flight"] == 0
        with psycopg.connect(dsn) as connection:
            rows = connection.execute(
                "SELECT d.name, count(*), count(DISTINCT sequence), max(sequence) - min(sequence) + 1,"
                " (SELECT coalesce(sum(missing), 0) FROM gap g WHERE (g.device_id, g.stream_id) = (c.device_id, c.stream_id)),"
                " (SELECT count(*) FROM gap g WHERE (g.device_id, g.stream_id) = (c.device_id, c.stream_id))"
                " FROM cycle c JOIN device d ON d.id = device_id GROUP BY d.name, device_id, stream_id"
            ).fetchall()
    assert len(rows) == 3 * 16
    for name, count, distinct, span, missing, _ in rows:
        assert count == distinct, name
        assert count + missing == span, name
    # With four to an ingest d4 and d5 were in the second. Nobody killed that, and the first two of an ingest never move.
    untouched = {name: gaps for name, *_, gaps in rows if name in ("d4", "d5")}
    assert untouched == {"d4": 0, "d5": 0}
