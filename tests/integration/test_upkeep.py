"""What happens to the rows while time passes: partitions, chunks, the columnstore, aggregates, retention, indexes."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pyarrow as pa
import pytest

from pipeline.adapters.timescale import jobs, upkeep
from pipeline.adapters.timescale import usage as usage_of
from pipeline.adapters.timescale.schema import Flavour
from pipeline.adapters.timescale.store import Store
from pipeline.adapters.timescale.usage import usage
from pipeline.core.config import DAY_S, Storage
from pipeline.core.model import Batch, Tally
from tests.integration.batches import START_US, batch, cycles, spectra

HOUR_US = 3_600_000_000
SERIES = ("cycle", "spectrum", "power_1s", "power_1m", "power_1h", "fleet_1s")


@pytest.fixture
def store(database: str):
    store = Store(database)
    yield store
    store.close()


def needs(store: Store, flavour: Flavour) -> None:
    if store.flavour is not flavour:
        pytest.skip(f"concerns {flavour.value} only")
    if flavour is Flavour.TIMESCALE:  # the tests run its jobs: not both at once
        store.connection.execute("SELECT _timescaledb_functions.stop_background_workers()")
        store.connection.commit()


def partition(time_us: int) -> str:
    return f"cycle_p{datetime.fromtimestamp(time_us / 1e6, UTC):%Y%m%d%H}"


def test_partitions_are_made_ahead_and_dropped_when_all_their_rows_are_too_old(store: Store) -> None:
    needs(store, Flavour.PLAIN)
    settings = replace(Storage(), keep_cycles_s=2 * 3600.0, keep_1s_s=DAY_S)
    store.write([batch(0, cycles(20))])
    connection = store.connection
    first = START_US // HOUR_US * HOUR_US
    assert store.partitions.tidy(connection, settings, first + 3 * HOUR_US - 1) == []
    assert connection.execute("SELECT count(*) FROM cycle").fetchone() == (60,)
    dropped = store.partitions.tidy(connection, settings, first + 3 * HOUR_US + 1)
    assert dropped == [partition(first)]
    assert connection.execute(
        "SELECT (SELECT count(*) FROM cycle), (SELECT sum(row_count) FROM power_1s)"
    ).fetchone() == (0, 60)
    made = connection.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'cycle'::regclass").fetchone()
    assert made == (3,)  # of both looks: this hour's and the next
    connection.commit()
    # A row so late that its partition is gone gets a new one, and goes with the next look.
    assert store.write([batch(1, cycles(20))]) == 1
    connection.execute("CREATE TABLE of_the_operator PARTITION OF cycle DEFAULT")  # concerns us not
    assert len(store.partitions.tidy(connection, settings, first + 3 * HOUR_US + 1)) == 1


def growing(store: Store, number: int) -> None:
    """Store two parts of the index by time, and let the server count their rows."""
    rows = cycles(6000, first=6000 * number)
    store.write([Batch("p", 1, number, {"rack1-pdu2": Tally(rows=rows.num_rows)}, rows, spectra([]))])
    store.connection.execute("SELECT pg_stat_force_next_flush()")
    store.connection.commit()


def unknown_parts(store: Store, index: str) -> int:
    """How many parts an index did not know of; afterwards it does."""
    (parts,) = store.connection.execute("SELECT brin_summarize_new_values(%s::regclass)", [index]).fetchone() or (0,)
    store.connection.commit()
    return int(parts)


def test_who_reads_for_long_holds_nobody_up(store: Store, database: str) -> None:
    """Neither new partitions nor others who read; what is too old goes when they have ended."""
    needs(store, Flavour.PLAIN)
    settings = replace(Storage(), keep_cycles_s=2 * 3600.0)
    store.write([batch(0, cycles(20))])
    connection, later_us = store.connection, START_US // HOUR_US * HOUR_US + 3 * HOUR_US + 1
    with psycopg.connect(database) as reader, psycopg.connect(database, autocommit=True) as another:
        reader.execute("SELECT count(*) FROM cycle")
        connection.execute("SET statement_timeout = '2s'")
        connection.commit()
        assert store.partitions.tidy(connection, settings, later_us) == []
        assert connection.execute("SELECT to_regclass(%s)", [partition(later_us + HOUR_US)]).fetchone() != (None,)
        assert another.execute("SELECT count(*) FROM cycle").fetchone() == (60,)
        reader.rollback()
        assert len(store.partitions.tidy(connection, settings, later_us)) == 1


def test_a_partition_is_as_its_table_is(store: Store) -> None:
    needs(store, Flavour.PLAIN)
    store.write([batch(0, cycles(20))])
    counted = (
        "SELECT (SELECT count(*) FROM pg_index WHERE indrelid = i.inhparent), "
        "(SELECT count(*) FROM pg_index x JOIN pg_inherits h ON h.inhrelid = x.indexrelid WHERE x.indrelid = i.inhrelid), "
        "(SELECT count(*) FROM pg_index WHERE indrelid = i.inhrelid) "
        "FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent WHERE c.relkind = 'p'"
    )
    found = store.connection.execute(counted.encode()).fetchall()
    assert len(found) >= 2
    assert all(one == attached == all_ > 0 for one, attached, all_ in found)


def test_the_indexes_by_time_know_what_was_stored_since_the_last_time(store: Store) -> None:
    summaries = upkeep.Summaries()
    growing(store, 0)
    assert summaries.renew(store.connection) == []  # what was there before is not looked through
    growing(store, 1)
    renewed = summaries.renew(store.connection)
    of_cycles = [name for name in renewed if "spectrum" not in name and "power" not in name and "fleet" not in name]
    assert len(of_cycles) == 1
    assert unknown_parts(store, of_cycles[0]) == 0
    growing(store, 2)
    assert unknown_parts(store, of_cycles[0]) >= 1  # PostgreSQL itself does not do it
    assert summaries.renew(store.connection) == renewed
    assert summaries.renew(store.connection) == []


def test_a_table_that_is_busy_keeps_nobody_waiting_and_is_looked_at_again(store: Store) -> None:
    summaries = upkeep.Summaries()
    summaries.renew(store.connection)
    growing(store, 0)
    dsn = store.connection.info.dsn
    growing_tables = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'cycle'::regclass"
    with psycopg.connect(dsn) as other:
        for (table,) in other.execute(growing_tables).fetchall():
            other.execute(f"LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE")
        meanwhile = summaries.renew(store.connection)
    afterwards = summaries.renew(store.connection)
    assert meanwhile
    assert len(afterwards) == 1
    assert not set(afterwards) & set(meanwhile)


def test_cycles_are_not_vacuumed_for_having_been_added(store: Store) -> None:
    store.write([batch(0, cycles(20))])
    options = store.connection.execute(
        "SELECT DISTINCT reloptions FROM pg_class c JOIN pg_inherits h ON h.inhrelid = c.oid"
        " WHERE h.inhparent IN ('cycle'::regclass, 'spectrum'::regclass)"
    ).fetchall()
    assert len(options) == 1
    assert "autovacuum_vacuum_insert_threshold=-1" in options[0][0]


def test_small_pipelines_index_cycles_by_device_and_large_ones_do_not(store: Store) -> None:
    for devices, wanted in ((200, 1), (201, 0), (1, 1)):
        upkeep.index_cycles(store.connection, Storage(), devices)
        found = store.connection.execute("SELECT count(*) FROM pg_indexes WHERE indexname = 'cycle_device_time'")
        assert found.fetchone() == (wanted,)
        store.connection.commit()


def test_neither_those_who_read_cycles_nor_those_there_are_keep_their_index_waiting(store: Store) -> None:
    indexed = (
        "SELECT tablename FROM pg_indexes WHERE indexname ~ 'cycle_(p.*_device_id_stream_id_time_idx|device_time)$'"
    )

    def seen_to(devices: int) -> set[str]:
        upkeep.index_cycles(store.connection, Storage(), devices)
        found = {name for (name,) in store.connection.execute(indexed)}
        store.connection.commit()
        return found - {"cycle"}

    store.write([batch(0, cycles(3))])
    with psycopg.connect(store.connection.info.dsn) as reader:
        reader.execute("SELECT count(*) FROM cycle")
        began_s = time.monotonic()
        assert seen_to(200) == set(), "what is there is not indexed"
        store.write([batch(1, cycles(3, first=10_000_000))])
        (newer,) = seen_to(200)
        reader.execute("SELECT count(*) FROM cycle")
        assert seen_to(201) == {newer}, "somebody reads it"
        assert time.monotonic() - began_s < 10, "nobody waits for who reads"
    assert seen_to(201) == set()


@pytest.mark.parametrize(
    ("devices", "cache_gib", "hours"), [(1, 8, 24), (10, 1, 0.25), (20, 8, 1), (1000, 8, 0.25), (1000, 384, 1)]
)
def test_a_chunk_being_written_fits_a_quarter_of_the_cache(devices: int, cache_gib: int, hours: float) -> None:
    assert upkeep.chunk_s(devices, cache_gib << 30) == hours * 3600


def test_timescale_has_its_hypertables_and_its_jobs_run(store: Store) -> None:
    needs(store, Flavour.TIMESCALE)
    settings = replace(Storage(), chunk_s=900.0)
    upkeep.apply_policies(store.connection, settings, 10)
    upkeep.apply_policies(store.connection, settings, 10)  # at every start
    with psycopg.connect(store.connection.info.dsn, autocommit=True) as connection:
        hypertables = connection.execute(
            "SELECT hypertable_name, compression_enabled FROM timescaledb_information.hypertables"
            " WHERE hypertable_name IN ('cycle', 'spectrum', 'power_1s') ORDER BY 1"
        ).fetchall()
        assert hypertables == [("cycle", True), ("power_1s", True), ("spectrum", True)]
        intervals = connection.execute(
            "SELECT extract(epoch FROM time_interval)::int FROM timescaledb_information.dimensions"
            " WHERE hypertable_name IN ('cycle', 'spectrum')"
        ).fetchall()
        assert intervals == [(900,), (900,)]
        policies = connection.execute(
            "SELECT job_id, proc_name, next_start IS NOT NULL FROM timescaledb_information.jobs"
            " WHERE proc_name LIKE 'policy\\_%%' AND hypertable_schema IS NOT NULL ORDER BY proc_name",
            [],
        ).fetchall()
        names = [name for _, name, _ in policies]
        assert names.count("policy_retention") == len(SERIES)
        assert names.count("policy_compression") == 4
        assert names.count("policy_refresh_continuous_aggregate") == 2
        for job, _, _ in policies:
            connection.execute("CALL run_job(%s)", [job])  # raises what fails


def test_the_jobs_run_also_where_the_scheduler_does_not(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(store, Flavour.TIMESCALE)
    monkeypatch.setattr(jobs, "LOOK_S", 0.1)
    dsn = store.connection.info.dsn
    with psycopg.connect(dsn, autocommit=True) as connection:
        upkeep.apply_policies(store.connection, Storage(), 1)
        rows = cycles(60)
        now_us = int(datetime.now(UTC).timestamp() * 1e6)
        times = rows.column("time").view(pa.int64()).to_numpy() - START_US + now_us - HOUR_US
        rows = rows.set_column(0, rows.schema.field(0), pa.array(times).view(rows.column("time").type))
        store.write([Batch("p", 1, 0, {"rack1-pdu2": Tally(60, 60, rows.num_rows)}, rows, spectra([]))])
        connection.execute(
            "SELECT alter_job(job_id, next_start => now() - interval '1 hour') FROM timescaledb_information.jobs"
            " WHERE hypertable_name = 'power_1m' AND proc_name = 'policy_refresh_continuous_aggregate'"
        )
        assert usage_of.failing_jobs(dsn) == {"it is not started": 1}
        keeper = jobs.JobKeeper(dsn)
        try:
            for _ in range(300):
                (count,) = connection.execute("SELECT sum(row_count)::bigint FROM power_1m").fetchone() or (None,)
                if count:
                    break
                time.sleep(0.1)
            assert (count, keeper.failing) == (rows.num_rows, 1)
        finally:
            keeper.close()


def test_jobs_that_were_never_started_are_run_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    needs(store, Flavour.TIMESCALE)
    dsn = store.connection.info.dsn
    begun = datetime.now(UTC)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT _timescaledb_functions.stop_background_workers()")
        upkeep.apply_policies(store.connection, Storage(), 1)
        assert jobs.failing(connection, begun) == []
        monkeypatch.setattr(jobs, "LATE_S", 0.0)
        assert len(jobs.failing(connection, begun)) >= 8


@pytest.mark.parametrize(
    ("kept", "starts"),
    [
        (Storage(), {"power_1m": 29 * DAY_S, "power_1h": 29 * DAY_S}),
        (Storage(keep_1s_s=6 * 3600.0), {"power_1m": 3 * 3600.0, "power_1h": 3 * 3600.0}),
        (Storage(keep_1m_s=7 * DAY_S), {"power_1m": 29 * DAY_S, "power_1h": 6 * DAY_S}),
    ],
)
def test_what_is_too_old_to_be_kept_below_is_not_rolled_up_again(
    store: Store, kept: Storage, starts: dict[str, float]
) -> None:
    needs(store, Flavour.TIMESCALE)
    upkeep.apply_policies(store.connection, kept, 1)
    told = store.connection.execute(
        "SELECT hypertable_name, extract(epoch FROM (config ->> 'start_offset')::interval)::float8"
        " FROM timescaledb_information.jobs WHERE proc_name = 'policy_refresh_continuous_aggregate'"
    ).fetchall()
    assert dict(told) == starts


def test_timescale_converts_old_chunks_and_rolls_up_what_comes_late(store: Store) -> None:
    needs(store, Flavour.TIMESCALE)
    frames = 60 * 120
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    back_us = START_US - (now_us - 4 * HOUR_US)
    rows = cycles(frames)
    times = rows.column("time")
    moved = rows.set_column(
        0, rows.schema.field(0), pa.array(times.view(pa.int64()).to_numpy() - back_us).view(times.type)
    )
    late = moved.slice(0, 30)
    tally = Tally(frames, frames, rows.num_rows)
    store.write([Batch("p", 1, 0, {"rack1-pdu2": tally}, moved.slice(30), spectra([]))])
    upkeep.apply_policies(store.connection, replace(Storage(), chunk_s=900.0), 1)
    with psycopg.connect(store.connection.info.dsn, autocommit=True) as connection:
        run(connection, "policy_compression")
        run(connection, "policy_refresh_continuous_aggregate")
        (before, after) = connection.execute(
            "SELECT sum(before_compression_total_bytes)::float8, sum(after_compression_total_bytes)::float8"
            " FROM hypertable_columnstore_stats('cycle')"
        ).fetchone() or (0, 0)
        assert after < before
        print(f"{after / frames:.0f} bytes a frame in the columnstore, {before / frames:.0f} before")
        store.write([Batch("p", 1, 1, {"rack1-pdu2": Tally(rows=30)}, late, spectra([]))])
        assert connection.execute("SELECT count(*), sum(sequence) FROM cycle").fetchone() == (
            rows.num_rows,
            sum(number for number in rows.column("sequence").to_pylist() if number is not None),
        )
        run(connection, "policy_refresh_continuous_aggregate")
        counts = [
            connection.execute(f"SELECT sum(row_count)::bigint FROM {series}").fetchone()
            for series in ("power_1s", "power_1m")
        ]
        assert counts == [(rows.num_rows,)] * 2


def test_timescale_rolls_up_what_a_spool_brings_after_days(store: Store) -> None:
    needs(store, Flavour.TIMESCALE)
    upkeep.apply_policies(store.connection, Storage(), 1)
    now_us = int(datetime.now(UTC).timestamp() * 1e6)
    rows = cycles(600)
    times = rows.column("time")
    with psycopg.connect(store.connection.info.dsn, autocommit=True) as connection:
        for number, hours in enumerate((1, 2, 23, 30, 80, 20 * 24)):  # the newest first, as live data does
            back_us = START_US - (now_us - hours * HOUR_US)
            moved = pa.array(times.view(pa.int64()).to_numpy() - back_us).view(times.type)
            store.write([batch(number, rows.set_column(0, rows.schema.field(0), moved))])
            run(connection, "policy_refresh_continuous_aggregate")
        for series in ("power_1s", "power_1m", "power_1h"):
            told = connection.execute(f"SELECT sum(row_count)::bigint FROM {series}").fetchone()
            assert told == (6 * rows.num_rows,), series


def run(connection: psycopg.Connection, procedure: str) -> None:
    policies = connection.execute(
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = %s AND hypertable_schema IS NOT NULL",
        [procedure],
    ).fetchall()
    assert policies
    for (job,) in policies:
        connection.execute("CALL run_job(%s)", [job])


def test_usage_tells_the_size_of_every_series(store: Store) -> None:
    store.write([batch(0, cycles(600))])
    with psycopg.connect(store.connection.info.dsn, autocommit=True) as connection:
        connection.execute("ANALYZE")
    sizes = {entry.series: entry for entry in usage(store.connection.info.dsn)}
    assert tuple(sizes) == SERIES
    assert (sizes["cycle"].rows, sizes["cycle"].columnar_parts) == (1800, 0)
    assert sizes["cycle"].parts >= 1
    assert 1800 * 90 < sizes["cycle"].nbytes < 1800 * 400
