"""What a real Prometheus sees of a running pipeline: every series, exact energy, silence and return."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.adapters import embedded, link
from pipeline.core import families
from pipeline.core.fleet import families as fleet
from pipeline.core.model import STREAMS

# Series that only stand on the page when something has happened, or where something is configured.
OCCASIONAL = {families.DROPPED, fleet.EXCLUDED, fleet.REDUNDANCY}
# Panels of the original's Summary Statistics, as it queries them.
ORIGINAL = [
    "max(rms_current_peak{phase='a'}) / 60 * 100",
    "max(rms_current_peak / rms_current_average)",
    "avg(power_factor_average)",
    "100 - max(rms_current_peak) / 60 * 100",
    "rms_voltage_average{stream='threephase/karman1', phase='a'}",
    "real_power_three_phase_peak{stream='cycle-aligned', phase='a'} / 1000",
    "sum(active_power_average)",
]
ENERGY = "karman_imported_energy_joules_total"
# The energy of each stream from the rows themselves: the step from the row before where the numbers follow.
FROM_ROWS = """
SELECT s.name, sum(p * CASE WHEN sequence = before + 1 THEN extract(epoch FROM time - earlier)::float8 ELSE 1 / 60.0::float8 END)
FROM (
    SELECT stream_id, time, sequence, a_real_power_w::float8 AS p,
           lag(sequence) OVER w AS before, lag(time) OVER w AS earlier
    FROM cycle WINDOW w AS (PARTITION BY device_id, stream_id ORDER BY time)
) rows JOIN stream s ON s.id = stream_id GROUP BY 1
"""


@pytest.mark.prometheus
def test_every_family_has_data_and_the_originals_queries_answer(
    start: Callable[..., Any], public_folder: Path, prometheus: Callable[..., Any], until_true: Callable[..., Any]
) -> None:
    demo = start("demo", "sample1", "--devices", "2", "--data-dir", str(public_folder))
    demo.ready()
    with prometheus(demo.port) as query:
        until_true(lambda: query(families.COMPLETENESS.name))
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=demo.get("/metrics"), capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")

        def missing() -> set[str]:
            return {family.name for family in families.ALL if not query(family.name)}

        occasional = {family.name for family in OCCASIONAL}
        until_true(lambda: missing() <= occasional)  # the fleet's sums wait for late cycles
        for family in families.COMPATIBLE:
            labels = {tuple(sorted(series["metric"])) for series in query(family.name)}
            assert labels == {("__name__", "device", "instance", "job", "phase", "rack", "stream")}
        for expression in ORIGINAL:
            assert query(expression), expression
        assert query(f"count(real_power_latest{{stream='{STREAMS[0]}'}})")[0]["value"][1] == "2"
        assert query("ALERTS{alertstate='firing'}") == []
    assert demo.end() == 0


@pytest.mark.prometheus
@pytest.mark.timeout(300)
def test_energy_is_exact_through_restarts_and_a_silent_device_is_named(
    start: Callable[..., Any], prometheus: Callable[..., Any], until_true: Callable[..., Any]
) -> None:
    (endpoint,) = link.free_endpoints(1)

    def replay(seconds: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", "replay", "sample1", "--bind", endpoint, f"--duration={seconds}"],
            stdout=subprocess.DEVNULL,
        )

    with embedded.temporary() as dsn:
        run = start("run", f"--connect=bench1={endpoint}", KARMAN_DSN=dsn)
        until_true(lambda: run.status().get("devices"), 60)

        def energy() -> dict[str, float]:
            lines = [line for line in (run.get("/metrics") or "").splitlines() if line.startswith(ENERGY + "{")]
            return {line.split('stream="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}

        def agrees() -> bool:
            with psycopg.connect(dsn) as connection:
                wanted = dict(connection.execute(FROM_ROWS).fetchall())
            return len(wanted) == 3 and energy() == {key: pytest.approx(j, rel=1e-9) for key, j in wanted.items()}

        with prometheus(run.port) as query:
            publisher = replay(12)
            until_true(lambda: run.status()["balance"]["stored"] > 240, 30)
            for name in ("PhaseAggregatorActor", "PrometheusWriterActor"):
                victim = run.actor(name)
                victim.kill()
                until_true(lambda victim=victim, name=name: run.actor(name).pid != victim.pid, 20)
            assert publisher.wait(60) == 0
            until_true(lambda: run.status().get("balance", {}).get("stored") == 720, 20)
            until_true(agrees, 20)
            before = energy()

            # Silent: the gauges go, the counters and the last frame's time stay, and the alert names the device.
            until_true(lambda: query(families.RECEIVED.name) and not query("real_power_latest"), 20)
            assert not query("karman_real_power_mean_watts")
            assert query(families.LAST_FRAME.name)
            fired = until_true(lambda: query("ALERTS{alertname='KarmanDeviceSilent', alertstate='firing'}"), 40)
            assert fired[0]["metric"]["device"] == "bench1"

            # So they do when its ingest begins anew meanwhile, and hears nothing.
            victim = run.actor("IngestActor")
            victim.kill()
            until_true(lambda: run.status()["actors"]["ingest-0"]["pid"] not in (None, victim.pid), 30)
            time.sleep(3)  # it has been asked how it stands
            assert agrees()
            assert f'{families.RECEIVED.name}{{device="bench1"}} 720' in (run.get("/metrics") or "")

            # Back: a new numbering, the energy goes on from where it was.
            assert replay(5).wait(60) == 0
            until_true(lambda: run.status()["balance"]["stored"] == 720 + 300, 20)
            until_true(agrees, 20)
            assert all(energy()[stream] > joules for stream, joules in before.items())
            gap_s = float(query(f"max({families.ENERGY[5].name})")[0]["value"][1])
            assert gap_s > 10
        assert run.end() == 0
