"""Batches in a real database: what was sent stands there bit for bit, and only once."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import conninfo

from pipeline.adapters.timescale import accounts, connection, schema
from pipeline.adapters.timescale import positions as positions_of
from pipeline.adapters.timescale.positions import positions
from pipeline.adapters.timescale.store import Store
from pipeline.core.continuity import Position
from pipeline.core.errors import InputError, StorageError
from pipeline.core.model import CYCLE_SCHEMA, VALUE_COLUMNS, Gap, Tally
from tests.integration.batches import START_US, arrived_together, batch, cycles, spectra


@pytest.fixture
def store(database: str):
    store = Store(database)
    yield store
    store.close()


def test_migrations_apply_once_also_when_two_pipelines_start_together(empty_database: str) -> None:
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(schema.migrate(empty_database))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    flavour, had = schema.applied(empty_database)
    wanted = schema.migrations(flavour)
    assert sorted(results) == [[], [migration.name for migration in wanted]]
    assert had == {migration.version for migration in wanted}


def test_tables_of_another_version_are_said_before_anything_is_stored(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE schema_migration SET digest = 'other' WHERE version = 2")
    with pytest.raises(InputError, match="0002_series differs"):
        schema.migrate(database)
    with psycopg.connect(database) as connection:
        connection.execute("ALTER TABLE schema_migration DROP COLUMN digest")
    with pytest.raises(InputError, match="another version of karman"):
        schema.migrate(database)


def test_tables_of_a_newer_version_are_left_alone(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO schema_migration VALUES (9999, '9999_future', 'x')")
    with pytest.raises(InputError, match="newer version of karman"):
        schema.migrate(database)
    assert 9999 in schema.applied(database)[1]


def test_the_table_of_the_system_before_is_not_run_over(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE bibimbap (time timestamptz NOT NULL, device text, data jsonb)")
    with pytest.raises(InputError, match="ALTER TABLE bibimbap RENAME TO bibimbap_original"):
        schema.migrate(empty_database)
    assert schema.applied(empty_database)[1] == set(), "nothing is done by halves"
    with psycopg.connect(empty_database) as connection:
        connection.execute("ALTER TABLE bibimbap RENAME TO bibimbap_original")
    assert schema.migrate(empty_database)


def test_to_look_changes_nothing(empty_database: str) -> None:
    flavour, _ = schema.applied(empty_database)
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'").fetchone() is None
    schema.migrate(empty_database)
    assert schema.applied(empty_database)[0] is flavour


def test_values_stand_in_the_table_bit_for_bit(store: Store, database: str) -> None:
    sent = cycles(20)
    store.write([batch(0, sent)])
    with psycopg.connect(database) as connection:
        stored = connection.execute(
            f"SELECT time, received, d.name, s.name, sequence, flags, {', '.join(VALUE_COLUMNS)} FROM cycle c"
            " JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id ORDER BY time, s.name"
        ).fetchall()
    wanted = [tuple(row[name] for name in CYCLE_SCHEMA.names if name != "message") for row in sent.to_pylist()]

    def exact(row: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(np.float32(value).tobytes() if isinstance(value, float) else value for value in row)

    assert [exact(row) for row in stored] == [exact(row) for row in wanted]
    assert math.isnan(stored[0][6])
    assert stored[6][6] is None


def test_a_resent_batch_is_stored_once_also_beside_a_new_one(store: Store, database: str) -> None:
    assert store.write([batch(0)]) == 1
    assert store.write([batch(0), batch(1, cycles(20, first=20))]) == 1
    assert store.write([batch(1, cycles(20, first=20))]) == 0
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT (time, stream_id)) FROM cycle").fetchone() == (
            120,
            120,
        )
    account = accounts.accounts(store.connection, 0)
    assert account == {
        ("ingest-0", 1000): Tally(received=42, delivered=40, rows=120, missing=4, dropped={"malformed": 2})
    }
    assert accounts.accounts(store.connection, 1001) == {}


def test_what_fails_for_no_fault_of_the_rows_leaves_nothing_and_may_be_tried_again(store: Store, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE ledger RENAME TO elsewhere")
        with pytest.raises(StorageError):
            store.write([batch(0), batch(1)])
        assert connection.execute(
            "SELECT (SELECT count(*) FROM cycle), (SELECT count(*) FROM quarantine)"
        ).fetchone() == (0, 0)
        connection.execute("ALTER TABLE elsewhere RENAME TO ledger")
    assert store.write([batch(0), batch(1)]) == 2


def test_positions_tell_where_streams_stand_and_late_rows_do_not_move_them_back(store: Store) -> None:
    store.write([batch(0, cycles(10, first=10)), batch(1, cycles(5, first=0))])
    found = positions(store.connection, ["rack1-pdu2", "unknown"], datetime.fromtimestamp(START_US / 1e6, UTC))
    assert found["cycle"][("rack1-pdu2", "threephase/karman1")] == Position(19, START_US + 19 * 16_667)
    assert len(found["cycle"]) == 3
    assert found["spectrum"] == {}
    assert accounts.last_epoch(store.connection, "ingest-0") == 1000
    assert accounts.last_epoch(store.connection, "ingest-1") == -1


def test_of_messages_that_arrived_together_the_last_one_tells_where_streams_stand(store: Store) -> None:
    row = {"device": "rack1-pdu2", "stream": "threephase/karman1", "flags": 0, "magnitude": [1.0], "phase": []}
    times = {"time": START_US, "received": START_US, "message": 0}
    many = spectra([row | times | {"sequence": number} for number in (60, 180, 120)])
    store.write([replace(batch(0, arrived_together(cycles(10))), spectra=many)])
    found = positions(store.connection, ["rack1-pdu2"], datetime.fromtimestamp(START_US / 1e6, UTC))
    assert {position.sequence for position in found["cycle"].values()} == {9}
    assert found["spectrum"] == {("rack1-pdu2", "threephase/karman1"): Position(180, START_US)}


def test_spectra_and_gaps_are_kept(store: Store, database: str) -> None:
    row = cycles(1).select(CYCLE_SCHEMA.names[:7]).to_pylist()[0]
    spectrum = spectra([row | {"magnitude": [1.5, 2.5], "phase": []}])
    gap = Gap("rack1-pdu2", "threephase/karman2", "cycle", 7, 12, 4, START_US, START_US + 83_335, "transport")
    store.write([replace(batch(0), spectra=spectrum, gaps=(gap,))])
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT magnitude, phase FROM spectrum").fetchall() == [([1.5, 2.5], [])]
        assert connection.execute(
            "SELECT d.name, s.name, product, after_sequence, before_sequence, missing, reason,"
            " extract(epoch FROM to_time - from_time)::float8 FROM gap JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id"
        ).fetchall() == [("rack1-pdu2", "threephase/karman2", "cycle", 7, 12, 4, "transport", 0.083335)]


def test_the_view_by_phase_shows_only_channels_that_have_values(store: Store, database: str) -> None:
    store.write([batch(0)])
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT DISTINCT device, phase FROM cycle_by_phase").fetchall() == [
            ("rack1-pdu2", "a")
        ]


def test_every_value_column_says_its_unit(database: str) -> None:
    with psycopg.connect(database) as connection:
        comments = dict(
            connection.execute(
                "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute"
                " WHERE attrelid = 'cycle'::regclass AND attname LIKE 'a\\_%%'",
                [],
            ).fetchall()
        )
    assert set(comments) == {name for name in VALUE_COLUMNS if name.startswith("a_")}
    assert all(comments.values())


@pytest.mark.parametrize(
    ("dsn", "kind", "said"),
    [
        ("postgresql://u:hunter2@127.0.0.1:1/power", StorageError, "127.0.0.1:1/power"),
        ("postgresql://u:hunter2@[::1", InputError, "postgresql://USER@HOST:PORT/DATABASE"),
        ("postgresql://u:hunter2/x@127.0.0.1:1/power", InputError, "%2F"),
        ("postgresql://u:x@hunter2@127.0.0.1:1/power", InputError, "%40"),
        ("password=hunter2 nonsense", InputError, "postgresql://USER@HOST:PORT/DATABASE"),
    ],
)
def test_a_dsn_that_fails_is_said_without_its_password(dsn: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind) as caught:
        connection.connect(dsn)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_options_of_a_dsn_hold_beside_ours(database: str) -> None:
    dsn = conninfo.make_conninfo(database, options="-c search_path=power -c statement_timeout=1")
    with connection.connect(dsn) as connected:
        told = [
            connected.execute(f"SHOW {name}").fetchone() for name in ("search_path", "statement_timeout", "timezone")
        ]
    assert told == [("power",), ("10s",), ("UTC",)]


def test_where_streams_stand_is_told_by_the_end_of_an_index(store: Store) -> None:
    """However long the history: by hours of it, not a row more is read."""
    store.write([batch(0)])
    seconds = 20_000
    names = [
        name
        for (name,) in store.connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'power_1s'::regclass AND attnum > 0 AND attname <> 'time'"
        )
    ]
    columns = ", ".join(names)
    store.connection.execute(
        f"INSERT INTO power_1s (time, {columns}) SELECT time - n * interval '1 s', {columns}"
        " FROM (SELECT * FROM power_1s ORDER BY time LIMIT 1) r, generate_series(1, %s) n".encode(),
        [seconds],
    )
    store.connection.commit()
    with psycopg.connect(store.connection.info.dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE power_1s")
        (plan,) = connection.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) " + positions_of._LAST_SECONDS, [["rack1-pdu2"]]
        ).fetchone() or ([],)
    assert 1 < sum(rows_read(plan[0]["Plan"])) < 200


def rows_read(plan: dict[str, Any]) -> Iterator[float]:
    """How many rows each scan of a table has brought, over all loops."""
    if "Relation Name" in plan:
        yield plan["Actual Rows"] * plan["Actual Loops"] + plan.get("Rows Removed by Filter", 0)
    for part in plan.get("Plans", ()):
        yield from rows_read(part)


def test_names_that_are_known_use_up_no_ids(store: Store) -> None:
    dsn = store.connection.info.dsn
    for number in range(3):
        with contextlib.closing(Store(dsn)) as again:
            again.write([batch(number)])
    for kind in ("device", "stream"):
        drawn = store.connection.execute(f"SELECT last_value FROM {kind}_id_seq").fetchone()
        assert drawn == store.connection.execute(f"SELECT count(*) FROM {kind}").fetchone()
