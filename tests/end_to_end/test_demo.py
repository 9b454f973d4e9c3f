"""`karman demo`: the recording comes out of the database as it went in."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from pipeline.adapters import embedded, recordings
from pipeline.core.model import STREAMS, value_columns


def test_frames_times_and_values_are_those_of_the_recording(start: Callable[..., Any], public_folder: Path) -> None:
    demo = start("demo", "sample3", "--duration", "6", "--devices", "4", "--data-dir", str(public_folder))
    assert demo.wait() == 0, demo.output()
    report = demo.report()
    assert {
        key: report[key] for key in ("published", "received", "stored", "rows", "dropped", "missing", "in_flight")
    } == {
        "published": 4 * 360,
        "received": 4 * 360,
        "stored": 4 * 360,
        "rows": 4 * 360 * 3,
        "dropped": {},
        "missing": 0,
        "in_flight": 0,
    }
    assert "simulated" in demo.output()
    recording = recordings.load("sample3").cycles.slice(0, 360 * 3)
    wanted = {
        stream: np.stack(
            [
                recording.filter(np.array(recording.column("stream").to_pylist()) == stream)
                .column(name)
                .to_numpy(zero_copy_only=False)
                for name in value_columns("a")
            ],
            axis=1,
        )
        for stream in STREAMS
    }
    with embedded.postgres(public_folder) as dsn, psycopg.connect(dsn) as connection:
        starts = connection.execute("SELECT DISTINCT min(time) FROM cycle GROUP BY device_id, stream_id").fetchall()
        assert len(starts) == 1
        for device in ("karman1", "karman2", "karman3", "karman4"):
            for stream in STREAMS:
                rows = connection.execute(
                    f"SELECT sequence, round(1e6 * extract(epoch FROM time - %s))::bigint, flags, {', '.join(value_columns('a'))}"
                    " FROM cycle JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id"
                    " WHERE d.name = %s AND s.name = %s ORDER BY time",
                    [starts[0][0], device, stream],
                ).fetchall()
                assert [row[0] for row in rows] == list(range(360))
                assert [row[1] for row in rows] == [round(n * 1e6 / 60) for n in range(360)]
                assert {row[2] for row in rows} == {0}
                stored = np.array([row[3:] for row in rows], np.float32)
                np.testing.assert_array_equal(stored.view(np.int32), wanted[stream].view(np.int32))
        assert connection.execute("SELECT count(*) FROM cycle WHERE b_real_power_w IS NOT NULL").fetchone() == (0,)


def test_what_is_broken_off_while_it_starts_says_so(
    start: Callable[..., Any], public_folder: Path, until_true: Callable[..., Any]
) -> None:
    demo = start("demo", "sample3", "--data-dir", str(public_folder))
    until_true(lambda: "starting" in demo.output(), 30)
    assert demo.end(signal.SIGTERM) == 128 + signal.SIGTERM
    assert "broken off" in demo.output()
