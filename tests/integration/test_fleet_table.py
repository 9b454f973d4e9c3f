"""The sums of a fleet in a real database: written again they replace themselves, and people find them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from pipeline.adapters import fleet_deposit
from pipeline.adapters.deposit import Deposit
from pipeline.adapters.timescale import fleet
from pipeline.adapters.timescale.store import Store
from pipeline.adapters.timescale.upkeep import apply_policies, tidy
from pipeline.core.config import Storage
from pipeline.core.errors import RefusedError
from pipeline.core.fleet import table
from tests.fleets import START_S, Run, cycles, devices
from tests.integration.batches import batch


def written(database: str, *batches: pa.RecordBatch) -> None:
    store = Store(database)
    try:
        for rows in batches:
            fleet.write(store.connection, store.flavour, store.partitions, rows)
    finally:
        store.close()


def seconds() -> tuple[Run, list[pa.RecordBatch]]:
    run = Run(devices(2, 2, breaker_a=60.0))
    figures = run.feed(cycles(devices(2, 2), np.full((4, 240, 3), 1000.0)))
    return run, [table.rows(run.summary.places, each) for each in figures]


def test_what_is_told_is_what_is_read(database: str) -> None:
    run, batches = seconds()
    written(database, *batches)
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT members, members_present, coverage_ratio, real_power_w, real_power_max_w, current_a, energy_j,"
            " coincidence_ratio, redundancy_headroom_a FROM fleet_1s WHERE level = 'row' AND name = 'row0' AND phase = 'B' AND time = %s",
            [datetime.fromtimestamp(START_S + 2, UTC)],
        ).fetchall()
        (count,) = connection.execute("SELECT count(*) FROM fleet_1s").fetchone() or (0,)
        unknown = connection.execute("SELECT DISTINCT current_a FROM fleet_1s WHERE phase = 'all'").fetchall()
    assert count == len(run.figures) * len(run.summary.places)
    drawn_a = 4000 / 277
    left_a = 0.8 * 120 - drawn_a  # two of four devices are on either feed
    amperes = (pytest.approx(told_a, rel=1e-3) for told_a in (drawn_a, left_a))
    assert found == [(4, 4, 1.0, 4000.0, 4000.0, next(amperes), pytest.approx(4000.0, rel=1e-4), 1.0, next(amperes))]
    assert unknown == [(None,)]


def test_a_second_that_is_written_again_replaces_itself(database: str) -> None:
    _, batches = seconds()
    column = batches[2].schema.get_field_index("real_power_w")
    other = batches[2].set_column(column, batches[2].schema.field(column), pa.array([7.0] * batches[2].num_rows))
    written(database, *batches, *batches, other)
    with psycopg.connect(database) as connection:
        told = connection.execute(
            "SELECT DISTINCT real_power_w FROM fleet_1s WHERE time = %s", [other["time"][0].as_py()]
        )
        assert told.fetchall() == [(7.0,)]
        (count,) = connection.execute("SELECT count(*) FROM fleet_1s").fetchone() or (0,)
    assert count == sum(rows.num_rows for rows in batches)


def test_trouble_with_the_sums_alone_keeps_no_cycles_waiting(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_deposit, "PUT_OFF_S", 0.2)
    _, sums = seconds()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION busy() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'somebody holds a lock' USING ERRCODE = '55P03'; END $$"
        )
        connection.execute("CREATE TRIGGER busy BEFORE INSERT ON fleet_1s FOR EACH ROW EXECUTE FUNCTION busy()")
        deposit = Deposit(database, Storage(), 0, 1, tmp_path)
        try:
            handed_in = deposit.fleet.hand_in(sums[0])
            for number in range(3):
                deposit.hand_in(batch(number), 0).result(20)
                time.sleep(0.2)
            stats = deposit.stats()
            assert (stats["error"], stats["spool_segments"], handed_in.done()) == (None, 0, False)
            connection.execute("DROP TRIGGER busy ON fleet_1s")
            handed_in.result(20)
        finally:
            deposit.close()
        assert connection.execute("SELECT count(*) FROM fleet_1s").fetchone() == (sums[0].num_rows,)


def test_what_the_database_refuses_is_told_apart_from_what_it_cannot_take_now(database: str) -> None:
    _, batches = seconds()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE fleet_1s CASCADE")
    with pytest.raises(RefusedError):
        written(database, batches[0])


def test_old_seconds_go_and_readers_may_read(database: str) -> None:
    _, batches = seconds()
    written(database, *batches)
    settings = Storage(keep_1s_s=3600.0)
    store = Store(database)
    try:
        later_us = (START_S + 3 * 86400) * 1_000_000
        if store.flavour == "timescale":
            apply_policies(store.connection, settings, 4)
            tables = "SELECT hypertable_name FROM timescaledb_information.jobs WHERE proc_name = %s"
            for job in ("policy_retention", "policy_compression"):
                assert ("fleet_1s",) in store.connection.execute(tables, [job]).fetchall()
        else:
            tidy(store.connection, store.flavour, store.partitions, settings, 4, later_us)
            assert store.connection.execute("SELECT count(*) FROM fleet_1s").fetchone() == (0,)
        store.connection.commit()
        store.connection.execute("SET ROLE karman_reader")
        store.connection.execute("SELECT * FROM fleet_1s").fetchall()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            store.connection.execute("DELETE FROM fleet_1s")
    finally:
        store.close()


def test_every_column_says_what_it_is(database: str) -> None:
    with psycopg.connect(database) as connection:
        found = dict(
            connection.execute(
                "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute"
                " WHERE attrelid = 'fleet_1s'::regclass AND attnum > 0 AND NOT attisdropped"
            ).fetchall()
        )
    assert list(found) == table.SCHEMA.names
    assert all(found.values())
