"""A fleet from its file to the sums: in the metrics, the status and the database, through the death of its actors."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import yaml
from numpy.typing import NDArray

from pipeline.adapters import embedded
from pipeline.core.model import STREAMS

SITE_ENERGY = re.compile(
    r'^karman_fleet_energy_joules_total\{level="site",name="site",phase="all"\} (\S+)$', re.MULTILINE
)


SITE_PEAK = re.compile(
    r'^karman_fleet_real_power_peak_15m_watts\{level="site",name="site",phase="all"\} (\S+)$', re.MULTILINE
)


def energy_j(device: NDArray[np.float64], second_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energy of the cycles (start in s, power in W) of one stream within each second that begins at `second_s`."""
    start_s, power_w = device.T
    running_j = np.append(0.0, np.cumsum(power_w[:-1] * np.diff(start_s)))
    return np.interp(second_s + 1, start_s, running_j) - np.interp(second_s, start_s, running_j)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("victims", [["FleetActor"], ["FleetShardActor", "FleetActor"]], ids=["1 shard", "2 shards"])
def test_sums_are_those_of_the_stored_cycles_and_outlive_their_actors(
    victims: list[str],
    start: Callable[..., Any],
    publish: Callable[[int], list[str]],
    public_folder: Path,
    tmp_path: Path,
    port: int,
    until_true: Callable[..., Any],
) -> None:
    endpoints = publish(5)
    devices = [{"id": f"d{n}", "endpoint": endpoint, "rack": f"r{n % 2}"} for n, endpoint in enumerate(endpoints)]
    file = tmp_path / "fleet.yaml"

    def write(count: int) -> None:
        document = {
            "http": {"port": port},
            "topology": {"site": {"hall": {"row": ["r{0..1}"]}}},
            "defaults": {"breaker_a": 60, "feed": "A"},
            "devices": devices[:count],
            "devices_per_actor": 2,
            "fleet": {"shards": len(victims)},
            "spool_dir": "spool",
        }
        file.write_text(yaml.safe_dump(document))

    write(4)
    with embedded.postgres(public_folder) as dsn:
        run = start("run", "-c", str(file), at=port, KARMAN_DSN=dsn)
        run.ready()

        seen, peaks_w = [0.0], [0.0]

        def told() -> float:
            page = run.get("/metrics") or ""
            for values, pattern in ((seen, SITE_ENERGY), (peaks_w, SITE_PEAK)):
                if found := pattern.search(page):
                    values.append(float(found[1]))
            return seen[-1]

        def whole(count: int = 4) -> Any:
            site = run.status().get("fleet", {}).get("site", {}).get("site", {})
            return site.get("members_present") == count and site

        site = until_true(whole, 60)
        assert (site["members"], site["real_power_w"] > 0, site["breaker_headroom_a"] > 0) == (4, True, True)
        assert all(abs(device["clock_offset_s"]) < 0.1 for device in run.status()["devices"].values())
        until_true(lambda: told() > 60_000, 60)
        for name in victims:
            victim = run.actor(name)
            victim.kill()
            killed_at_j = told()
            until_true(lambda name=name, victim=victim: run.actor(name).pid != victim.pid, 30)
            until_true(lambda killed_at_j=killed_at_j: told() > killed_at_j + 30_000, 60)
        write(5)
        until_true(lambda: whole(5), 60)
        grown_at_j = told()
        until_true(lambda: told() > grown_at_j, 60)
        assert seen == sorted(seen), "no counter goes back"
        assert peaks_w == sorted(peaks_w), "nor a peak of a quarter of an hour"
        assert peaks_w[-1] > 0
        shards = {name for name in run.status()["actors"] if name.startswith("fleet-shard-")}
        assert shards == ({"fleet-shard-0", "fleet-shard-1"} if len(victims) > 1 else set())
        assert run.end() == 0, run.output()
        with psycopg.connect(dsn) as connection:
            cycles = np.array(
                connection.execute(
                    "SELECT substr(d.name, 2)::int, s.id, extract(epoch FROM time)::float8, a_real_power_w FROM cycle c"
                    " JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id WHERE s.name = ANY(%s)"
                    " ORDER BY time",
                    [list(STREAMS)],
                ).fetchall(),
                np.float64,
            )
            rows = connection.execute(
                "SELECT extract(epoch FROM time)::bigint, members, members_present, coverage_ratio, energy_j"
                " FROM fleet_1s WHERE level = 'site' AND phase = 'all' ORDER BY time"
            ).fetchall()
            parts = connection.execute(
                "SELECT time, sum(energy_j) FILTER (WHERE level = 'rack'), sum(energy_j) FILTER (WHERE level = 'site')"
                " FROM fleet_1s WHERE phase <> 'all' GROUP BY time"
            ).fetchall()
    seconds = [second for second, *_ in rows]
    assert all(after == before + 1 for before, after in pairwise(seconds)), "no second is missing"
    streams = {(device, stream) for device, stream, *_ in cycles.tolist()}
    assert len(streams) == 15
    # How long the very last cycle of a stream was the table does not tell.
    ends_s = min(cycles[(cycles[:, 0] == d) & (cycles[:, 1] == s)][-1, 2] for d, s in streams)
    for size in (4, 5):
        of_size = [row for row in rows if row[1] == size]
        covered = [
            (second, told_j) for second, _, present, coverage, told_j in of_size if (present, coverage) == (size, 1)
        ]
        assert len(covered) >= len(of_size) - 6  # at the beginning and the end, and nothing when an actor died
        covered = [(second, told_j) for second, told_j in covered if second + 1 <= ends_s]
        at = np.array([second for second, _ in covered], np.float64)
        offline_j = sum(
            energy_j(cycles[(cycles[:, 0] == d) & (cycles[:, 1] == s)][:, 2:], at) for d, s in streams if d < size
        )
        assert np.array([told_j for _, told_j in covered]) == pytest.approx(offline_j, rel=1e-5)
    assert all(racks == pytest.approx(site, rel=1e-12) for _, racks, site in parts)


@pytest.mark.timeout(300)
def test_seconds_that_wait_for_the_database_at_the_end_are_told(
    start: Callable[..., Any],
    publish: Callable[[int], list[str]],
    public_folder: Path,
    tmp_path: Path,
    port: int,
    until_true: Callable[..., Any],
) -> None:
    file = tmp_path / "fleet.yaml"
    device = {"id": "d", "endpoint": publish(1)[0], "rack": "r1"}
    file.write_text(yaml.safe_dump({"http": {"port": port}, "devices": [device], "spool_dir": "spool"}))
    with embedded.postgres(public_folder) as dsn:
        run = start("run", "-c", str(file), at=port, KARMAN_DSN=dsn)
        run.ready()
    until_true(lambda: run.status()["balance"]["spooled"] > 120)
    assert run.end() == 0, run.output()
    assert run.report()["fleet_unwritten_s"] >= 1
    assert "seconds of the fleet's sums are not in the database" in run.output()
