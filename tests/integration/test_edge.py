"""An edge before anything is sent; what Ray does with it: tests/end_to_end."""

from __future__ import annotations

import pyarrow as pa

from actors.edge import Edge
from pipeline.adapters import recordings

COLUMNS = ["time", "device", "stream", "a_real_power_w"]


def test_rows_that_wait_take_no_memory_of_their_own_and_count_by_their_size() -> None:
    rows = recordings.load("sample1").cycles.slice(0, 1000)
    chosen = rows.select([name for name in COLUMNS if name in rows.schema.names])
    edge = Edge("nobody", "push", "p", 1, 2 * chosen.nbytes, window=1, retain_s=10)
    before = pa.total_allocated_bytes()
    assert edge.offer(chosen)
    assert edge.offer(b"x" * 100)
    assert pa.total_allocated_bytes() == before
    assert edge.queue("ingest-0").nbytes == chosen.nbytes + 100
    assert not edge.offer(chosen)  # there is no room
    assert edge.queue("ingest-0").dropped == 1
