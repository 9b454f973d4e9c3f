"""A device that sends a hundred thousand messages at once: they are handed on in parts, and none is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg

from actors.ingest import HANDED_IN_AT_ONCE
from pipeline.adapters import embedded, link, recordings
from pipeline.adapters.publisher import Publisher
from pipeline.bench.generator import Templates
from pipeline.core.config import DEFAULT_TOPIC, Limits
from pipeline.core.rhythm import AT_ONCE

BURST = 100_000  # messages
STREAMS = 3
ROW_BYTES = 108  # at least, in memory


def test_a_burst_is_handed_on_in_parts(start: Callable[..., Any], until_true: Callable[..., Any]) -> None:
    (endpoint,) = link.free_endpoints(1)
    publisher = Publisher([endpoint], DEFAULT_TOPIC, queue=link.queue_of(1))
    templates = Templates(recordings.load("sample1"), both=False, prefix=b"")
    try:
        with embedded.temporary() as dsn:
            run = start("run", "--connect", f"bench={endpoint}", KARMAN_DSN=dsn)
            assert publisher.wait_for_subscribers(60), run.output()
            number, now_us = np.arange(100), time.time_ns() // 1000
            publisher.send_run(0, templates.stamped(number, now_us + number))
            run.ready()
            number = np.arange(100, 100 + BURST)
            publisher.send_run(0, templates.stamped(number, now_us + 1_000 * number - 100_000_000))
            until_true(lambda: (run.status() or {"balance": {}})["balance"].get("received") == 100 + BURST)
            assert run.end(15) == 0, run.output()
            report = run.report()
            with psycopg.connect(dsn) as connection:
                (most,) = connection.execute("SELECT max(row_count) FROM ledger").fetchone() or (0,)
    finally:
        publisher.close()
    assert (report["received"], report["stored"]) == (100 + BURST, 100 + BURST)
    assert (report["missing"], sum(report["dropped"].values())) == (0, 0)
    assert most <= Limits().outbox_bytes * HANDED_IN_AT_ONCE / ROW_BYTES + 2 * AT_ONCE * STREAMS
