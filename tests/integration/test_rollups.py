"""The one-second roll-ups equal SQL over the rows, whatever the batches were; the levels above equal them."""

from __future__ import annotations

import contextlib
import random
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from pipeline.adapters.timescale import upkeep
from pipeline.adapters.timescale.schema import Flavour
from pipeline.adapters.timescale.statements import RECOMPUTE_MINUTE
from pipeline.adapters.timescale.store import Store
from pipeline.core.model import QUANTITIES, Batch, Tally
from tests.integration.batches import START_US, batch, cycles, spectra

FROM_ROWS = "SELECT date_trunc('second', time), device_id, stream_id, count(*), " + ", ".join(
    f"count({column}) FILTER (WHERE {known}), coalesce(sum({column}::float8) FILTER (WHERE {known}), 0),"
    f" coalesce(sum({column}::float8 * {column}::float8) FILTER (WHERE {known}), 0),"
    f" min({column}) FILTER (WHERE {known}), max({column}) FILTER (WHERE {known})"
    for column, known in (
        (f"a_{q.column}", f"a_{q.column} NOT IN ('NaN', 'Infinity', '-Infinity')") for q in QUANTITIES
    )
)
FROM_ROLLUP = "SELECT time, device_id, stream_id, row_count, " + ", ".join(
    f"{q.column}_{name}" for q in QUANTITIES for name in ("count", "sum", "sumsq", "min", "max")
)


@pytest.fixture(params=["in order", "shuffled", "two writers"])
def filled(database: str, request: pytest.FixtureRequest):
    """Fifteen seconds of two devices, cut into batches at random, some sent twice."""
    stores = [Store(database) for _ in range(2 if request.param == "two writers" else 1)]
    rng = random.Random(5)
    batches = []
    for device in ("rack1-pdu2", "rack2-pdu1"):
        rows = cycles(900, device)
        starts = sorted(rng.sample(range(1, rows.num_rows), 20))
        for first, last in zip([0, *starts], [*starts, rows.num_rows], strict=True):
            part = rows.take(pa.array(np.arange(first, last)))
            batches.append(Batch("p", 1, len(batches), {device: Tally(rows=part.num_rows)}, part, spectra([])))
    if request.param == "shuffled":
        rng.shuffle(batches)
    for start in range(0, len(batches), 3):
        for store in stores[:: -1 if start % 2 else 1]:
            store.write(batches[start : start + 3])
            store.write(batches[max(0, start - 2) : start + 1])
    yield stores[0]
    for store in stores:
        store.close()


def exactly(rows: list[tuple]) -> list[tuple]:
    return [tuple(None if value is None else pytest.approx(value, rel=1e-12) for value in row[3:]) for row in rows]


def test_a_second_equals_sql_over_its_rows(filled: Store, database: str) -> None:
    with psycopg.connect(database) as connection:
        wanted = connection.execute(f"{FROM_ROWS} FROM cycle GROUP BY 1, 2, 3 ORDER BY 1, 2, 3").fetchall()
        stored = connection.execute(f"{FROM_ROLLUP} FROM power_1s WHERE channel = 'a' ORDER BY 1, 2, 3").fetchall()
        assert connection.execute("SELECT count(*) FROM power_1s WHERE channel <> 'a'").fetchone() == (0,)
    assert len(stored) == 2 * 3 * 15
    assert [row[:3] for row in stored] == [row[:3] for row in wanted]
    assert [row[3:] for row in stored] == exactly(wanted)


def test_whole_seconds_in_order_need_no_merge(database: str) -> None:
    with contextlib.closing(Store(database)) as store:
        for number in range(5):
            rows = cycles(60, "rack1-pdu2", first=60 * number)
            store.write([Batch("p", 1, number, {"rack1-pdu2": Tally(rows=rows.num_rows)}, rows, spectra([]))])
        assert store.rollups.merges == 1  # that of a device not known yet
        assert store.connection.execute("SELECT min(row_count), count(*) FROM power_1s").fetchone() == (60, 15)


def test_a_minute_is_computed_when_it_is_over(filled: Store) -> None:
    if filled.flavour is not Flavour.PLAIN:
        pytest.skip("TimescaleDB's aggregates do it")
    over_us = START_US // 60_000_000 * 60_000_000 + 60_000_000
    for at_us, minutes in ((over_us - 1, 0), (over_us, 1), (over_us, 0)):
        assert upkeep.roll_up(filled.connection, filled.flavour, filled.partitions, at_us) == minutes


def test_seconds_that_are_just_being_stored_are_in_their_minute(database: str) -> None:
    with contextlib.closing(Store(database)) as store, psycopg.connect(database) as other:
        if store.flavour is not Flavour.PLAIN:
            pytest.skip("TimescaleDB's aggregates do it")
        store.write([batch(0, cycles(20))])  # its minute is on the list
        with ThreadPoolExecutor(1) as pool:
            with store.connection.transaction():
                store.write([batch(1, cycles(20, first=20))])
                rolled_up = pool.submit(upkeep.roll_up, other, Flavour.PLAIN, upkeep.Partitions())
                waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
                while not rolled_up.done() and store.connection.execute(waits).fetchone() == (0,):
                    time.sleep(0.01)
            assert rolled_up.result(20) == 1
        seconds, minutes, due = (
            "(SELECT sum(row_count) FROM power_1s)",
            "(SELECT sum(row_count) FROM power_1m)",
            "count(*)",
        )
        told = store.connection.execute(f"SELECT {seconds}, {minutes}, {due} FROM rollup_due").fetchone()
        assert told == (120, 120, 0)


def test_minutes_of_an_hour_that_two_writers_roll_up_at_once_are_all_in_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "MINUTES_TOGETHER", 1)
    with contextlib.ExitStack() as opened:
        stores = [opened.enter_context(contextlib.closing(Store(database))) for _ in range(2)]
        if stores[0].flavour is not Flavour.PLAIN:
            pytest.skip("TimescaleDB's aggregates do it")
        hour = opened.enter_context(psycopg.connect(database))
        pool = opened.enter_context(ThreadPoolExecutor(2))

        def due(number: int, minute: int, store: Store) -> None:
            store.write([batch(number, cycles(60, first=3600 * minute))])

        def rolled_up(store: Store) -> Future[int]:
            return pool.submit(upkeep.roll_up, store.connection, Flavour.PLAIN, store.partitions)

        def wait_for_waiting(count: int) -> None:
            waiting = "SELECT count(*) >= %s FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            with psycopg.connect(database, autocommit=True) as looking:
                while looking.execute(waiting, [count]).fetchone() == (False,):
                    time.sleep(0.01)

        due(0, 3, stores[0])
        rolled_up(stores[0]).result(20)
        hour.execute("SELECT 1 FROM power_1h FOR UPDATE")  # who rolls up comes so far, and stops
        due(1, 2, stores[0])
        first = rolled_up(stores[0])
        wait_for_waiting(1)
        with contextlib.closing(Store(database)) as third:
            due(2, 0, third)  # rows of a spool, say: the oldest minute now, which the other has not taken
        second = rolled_up(stores[1])
        wait_for_waiting(2)
        hour.rollback()
        assert first.result(20)
        assert second.result(20)
        told = hour.execute("SELECT (SELECT sum(row_count) FROM power_1m), sum(row_count) FROM power_1h").fetchone()
        assert told == (540, 540)


def test_a_minute_reads_its_seconds_and_no_others(database: str) -> None:
    with contextlib.closing(Store(database)) as store:
        if store.flavour is not Flavour.PLAIN:
            pytest.skip("TimescaleDB's aggregates do it")
        for day in range(5):
            times = cycles(60).column("time").view(pa.int64()).to_numpy() - day * 86_400_000_000
            rows = cycles(60)
            rows = rows.set_column(0, rows.schema.field(0), pa.array(times).view(rows.column("time").type))
            store.write([batch(day, rows)])
        with store.connection.transaction():
            start = datetime.fromtimestamp(START_US / 1e6, UTC)
            plan = store.connection.execute(f"EXPLAIN {RECOMPUTE_MINUTE}".encode(), {"start": start}).fetchall()
        parts = {word for (line,) in plan for word in line.split() if word.startswith("power_1s_p")}
        assert len(parts) == 1
        assert upkeep.roll_up(store.connection, store.flavour, store.partitions) == 5
        sums = "(SELECT sum(row_count) FROM power_1m), sum(row_count)"
        assert store.connection.execute(f"SELECT {sums} FROM power_1h").fetchone() == (900, 900)


def test_minutes_and_hours_equal_the_seconds(filled: Store, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        if filled.flavour is Flavour.TIMESCALE:
            for view in ("power_1m", "power_1h"):
                connection.execute(f"CALL refresh_continuous_aggregate('{view}', NULL, NULL)")
        else:
            assert upkeep.roll_up(filled.connection, filled.flavour, filled.partitions) == 1
            assert upkeep.roll_up(filled.connection, filled.flavour, filled.partitions) == 0
        for view in ("power_1m", "power_1h"):
            for column in ("row_count", "real_power_w_sum", "rms_voltage_v_sumsq", "rms_current_a_count"):
                seconds, above = (
                    connection.execute(
                        f"SELECT stream_id, sum({column})::float8 FROM {table} GROUP BY 1 ORDER BY 1"
                    ).fetchall()
                    for table in ("power_1s", view)
                )
                assert above == [(stream, pytest.approx(value, rel=1e-12)) for stream, value in seconds]
            extremes = [
                connection.execute(f"SELECT min(real_power_w_min), max(real_power_w_max) FROM {table}").fetchone()
                for table in ("power_1s", view)
            ]
            assert extremes[0] == extremes[1]


def test_the_view_gives_rms_of_rms_and_the_power_factor_of_the_sums(filled: Store, database: str) -> None:
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT v.rms_voltage_v, v.power_factor, c.rms, c.pf FROM power_1s_by_phase v JOIN ("
            " SELECT date_trunc('second', time) AS second, d.name AS device, s.name AS stream,"
            " sqrt(avg(a_rms_voltage_v::float8 ^ 2) FILTER (WHERE a_rms_voltage_v NOT IN ('NaN', 'Infinity'))) AS rms,"
            " sum(a_real_power_w::float8) FILTER (WHERE a_real_power_w <> 'NaN')"
            " / sum(a_apparent_power_va::float8) FILTER (WHERE a_apparent_power_va <> 'NaN') AS pf"
            " FROM cycle JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id GROUP BY 1, 2, 3"
            ") c ON (c.second, c.device, c.stream) = (v.time, v.device, v.stream)"
        ).fetchall()
    assert len(rows) == 90
    for rms, factor, wanted_rms, wanted_factor in rows:
        assert rms == pytest.approx(wanted_rms, rel=1e-12)
        assert factor == pytest.approx(wanted_factor, rel=1e-12)
