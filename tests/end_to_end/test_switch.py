"""`karman demo switch`: another scenario at once, without a break in sequence or time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from pipeline.adapters import embedded


def test_a_switch_breaks_neither_sequence_nor_time(
    start: Callable[..., Any], karman: Callable[..., Any], public_folder: Path, until_true: Callable[..., Any]
) -> None:
    demo = start("demo", "sample1", "--devices", "2", "--data-dir", str(public_folder))
    demo.ready()
    switched = karman("demo", "switch", "sample3", "--port", str(demo.port))
    assert (switched.returncode, switched.stdout) == (0, "now playing sample3 (simulated)\n"), switched.stderr
    until_true(lambda: demo.status()["replay"]["recording"] == "sample3")
    unknown = karman("demo", "switch", "sample9", "--port", str(demo.port))
    assert unknown.returncode == 2
    assert "no recording named 'sample9'" in unknown.stderr
    path = karman("demo", "switch", "../sample2", "--port", str(demo.port))
    assert path.returncode == 2
    demo.actor("ReplayActor").kill()  # started anew, it plays what it was switched to
    published = demo.status()["replay"]["published"]
    until_true(lambda: demo.status()["replay"]["resumed"] and demo.status()["replay"]["published"] > published + 240)
    assert demo.status()["replay"]["recording"] == "sample3"
    assert demo.end() == 0, demo.output()
    report = demo.report()
    assert report["stored"] == report["received"]
    assert report["published"] + report["skipped"] == report["received"] + report["missing"]
    with embedded.postgres(public_folder) as dsn, psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT device_id, stream_id, count(*), count(DISTINCT sequence), max(sequence) - min(sequence) + 1,"
            " (SELECT coalesce(sum(missing), 0) FROM gap g WHERE (g.device_id, g.stream_id) = (c.device_id, c.stream_id)),"
            " round(60 * extract(epoch FROM max(time) - min(time))) + 1"
            " FROM cycle c GROUP BY device_id, stream_id"
        ).fetchall()
        backwards = connection.execute(
            "SELECT count(*) FROM (SELECT time - lag(time) OVER (PARTITION BY device_id, stream_id ORDER BY sequence)"
            " AS step FROM cycle) s WHERE step <= interval '0'"
        ).fetchone()
    assert len(rows) == 6
    assert backwards == (0,)
    for _, _, count, distinct, span, missing, frames in rows:
        assert count == distinct
        assert count + missing == span == frames
