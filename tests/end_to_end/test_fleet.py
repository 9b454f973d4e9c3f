"""A fleet from its file to the sums: in the metrics, the status and the database, through the death of its actor."""

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


def energy_j(device: NDArray[np.float64], second_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energy of the cycles (start in s, power in W) of one stream within each second that begins at `second_s`."""
    start_s, power_w = device.T
    running_j = np.append(0.0, np.cumsum(power_w[:-1] * np.diff(start_s)))
    return np.interp(second_s + 1, start_s, running_j) - np.interp(second_s, start_s, running_j)


@pytest.mark.timeout(400)
def test_sums_are_those_of_the_stored_cycles_and_outlive_their_actor(
    start: Callable[..., Any],
    publish: Callable[[int], list[str]],
    public_folder: Path,
    tmp_path: Path,
    port: int,
    until_true: Callable[..., Any],
) -> None:
    endpoints = publish(4)
    devices = [{"id": f"d{n}", "endpoint": endpoint, "rack": f"r{n % 2}"} for n, endpoint in enumerate(endpoints)]
    file = tmp_path / "fleet.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "http": {"port": port},
                "topology": {"site": {"hall": {"row": ["r{0..1}"]}}},
                "defaults": {"breaker_a": 60, "feed": "A"},
                "devices": devices,
                "devices_per_actor": 2,
                "spool_dir": "spool",
            }
        )
    )
    with embedded.postgres(public_folder) as dsn:
        run = start("run", "-c", str(file), at=port, KARMAN_DSN=dsn)
        run.ready()

        def told() -> float:
            found = SITE_ENERGY.search(run.get("/metrics") or "")
            return float(found[1]) if found else 0.0

        def whole() -> Any:
            site = run.status().get("fleet", {}).get("site", {}).get("site", {})
            return site.get("members_present") == 4 and site

        site = until_true(whole, 60)
        assert (site["members"], site["real_power_w"] > 0, site["breaker_headroom_a"] > 0) == (4, True, True)
        assert all(abs(device["clock_offset_s"]) < 0.1 for device in run.status()["devices"].values())
        before = until_true(lambda: told() > 60_000 and told(), 60)
        victim = run.actor("FleetActor")
        victim.kill()
        until_true(lambda: run.actor("FleetActor").pid != victim.pid, 30)
        until_true(lambda: told() > before + 30_000, 60)
        assert run.end() == 0, run.output()
        with psycopg.connect(dsn) as connection:
            cycles = np.array(
                connection.execute(
                    "SELECT d.id, s.id, extract(epoch FROM time)::float8, a_real_power_w FROM cycle c"
                    " JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id WHERE s.name = ANY(%s)"
                    " ORDER BY time",
                    [list(STREAMS)],
                ).fetchall(),
                np.float64,
            )
            rows = connection.execute(
                "SELECT extract(epoch FROM time)::bigint, members_present, coverage_ratio, real_power_w, energy_j"
                " FROM fleet_1s WHERE level = 'site' AND phase = 'all' ORDER BY time"
            ).fetchall()
            parts = connection.execute(
                "SELECT time, sum(energy_j) FILTER (WHERE level = 'rack'), sum(energy_j) FILTER (WHERE level = 'site')"
                " FROM fleet_1s WHERE phase <> 'all' GROUP BY time"
            ).fetchall()
    seconds = [second for second, *_ in rows]
    assert all(after == before + 1 for before, after in pairwise(seconds)), "no second is missing"
    covered = [(second, told_j) for second, present, coverage, _, told_j in rows if present == 4 and coverage == 1.0]
    assert len(covered) >= len(rows) - 6  # at the beginning and the end, and nothing when the actor died
    at = np.array([second for second, _ in covered], np.float64)
    streams = {(device, stream) for device, stream, *_ in cycles.tolist()}
    assert len(streams) == 12
    offline_j = sum(energy_j(cycles[(cycles[:, 0] == d) & (cycles[:, 1] == s)][:, 2:], at) for d, s in streams)
    assert np.array([told_j for _, told_j in covered]) == pytest.approx(offline_j, rel=1e-5)
    assert all(racks == pytest.approx(site, rel=1e-12) for _, racks, site in parts)
