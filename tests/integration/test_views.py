"""What people and dashboards read: the original's queries, and a role that can read and nothing else."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from psycopg import conninfo, sql

from pipeline.adapters.timescale import schema
from pipeline.adapters.timescale.store import Store
from pipeline.core.model import VALUE_COLUMNS
from tests import grafana
from tests.integration.batches import START_US, arrived_together, batch, cycles

# As the original's panel asks, Grafana's macro expanded.
ORIGINAL = """
SELECT time AS "time",
  (data -> 'threephase/karman1' -> 'phase_a' ->> 'real_power')::float / 1000 AS "Phase A",
  (data -> 'threephase/karman2' -> 'phase_a' ->> 'real_power')::float / 1000 AS "Phase B",
  (data -> 'threephase/karman3' -> 'phase_a' ->> 'real_power')::float / 1000 AS "Phase C",
  (data -> 'threephase/karman1' -> 'phase_a' ->> 'three_phase_real_power')::float / 1000 AS "Total"
FROM bibimbap WHERE device = 'bibimbap' AND time BETWEEN %s AND %s ORDER BY time
"""


@pytest.fixture
def filled(database: str) -> str:
    rows = {"rack1-pdu2": cycles(20), "rack9-pdu1": cycles(20)}
    plain = {
        device: part.set_column(7 + 4, VALUE_COLUMNS[4], pa.array([float(row) for row in range(60)], pa.float32()))
        for device, part in rows.items()
    }
    plain["rack9-pdu1"] = cycles(20, "rack9-pdu1")
    store = Store(database)
    for number, part in enumerate(plain.values()):
        store.write([batch(number, part)])
    store.close()
    return database


def test_the_originals_query_runs_unchanged(filled: str) -> None:
    span = [datetime.fromtimestamp(START_US / 1e6, UTC), datetime.fromtimestamp(START_US / 1e6 + 1, UTC)]
    with psycopg.connect(filled) as connection:
        rows = connection.execute(ORIGINAL, span).fetchall()
        assert len(rows) == 20
        assert rows[3][1:] == pytest.approx((0.009, 0.010, 0.011, 0.030))
        (shape,) = connection.execute("SELECT data FROM bibimbap ORDER BY time DESC LIMIT 1").fetchone() or ({},)
        assert set(shape) == {"threephase/karman1", "threephase/karman2", "threephase/karman3"}
        assert set(shape["threephase/karman1"]) == {"phase_a"}
        assert set(shape["threephase/karman1"]["phase_a"]) == {
            "rms_current", "rms_voltage", "dc_offset_voltage", "dc_offset_current", "real_power",
            "apparent_power", "reactive_power", "power_factor", "three_phase_real_power", "three_phase_reactive_power",
        }  # fmt: skip
        json.dumps(shape, allow_nan=False)


def test_each_figure_of_the_original_is_the_column_it_is_named_after(database: str) -> None:
    """Every column and phase has a number of its own."""
    rows = cycles(2)
    for place, name in enumerate(VALUE_COLUMNS):
        numbers = pa.array([100.0 * (place + 1) + row % 3 for row in range(rows.num_rows)], pa.float32())
        rows = rows.set_column(rows.schema.get_field_index(name), name, numbers)
    store = Store(database)
    store.write([batch(0, rows)])
    store.close()
    with psycopg.connect(database) as connection:
        shapes = [shape for (shape,) in connection.execute("SELECT data FROM bibimbap ORDER BY time")]
    wanted = {
        f"threephase/karman{phase + 1}": {
            f"phase_{channel}": {
                **{
                    name: 100.0 * (place + 1) + phase
                    for place, name in enumerate(map(quantity_of, VALUE_COLUMNS))
                    if VALUE_COLUMNS[place].startswith(f"{channel}_")
                },
                **{
                    f"three_phase_{power}_power": 300.0 * (VALUE_COLUMNS.index(f"{channel}_{power}_power_{unit}") + 1)
                    + 3
                    for power, unit in (("real", "w"), ("reactive", "var"))
                },
            }
            for channel in "ab"
        }
        for phase in range(3)
    }
    assert shapes == [wanted, wanted]


def quantity_of(column: str) -> str:
    """A column's name without channel and unit, as the original has it."""
    name = column[2:]
    return name if name == "power_factor" else name.rpartition("_")[0]


def test_the_documented_energy_is_of_the_cycles_that_are_there(database: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "storage.md").read_text("utf-8")
    query = next(block for block in page.split("```") if block.startswith("sql") and "energy_kwh" in block)[3:]
    rows = cycles(120)
    at = rows.schema.get_field_index("a_real_power_w")
    rows = rows.set_column(at, "a_real_power_w", pa.array([1000.0] * rows.num_rows, pa.float32()))
    store = Store(database)
    store.write([batch(0, rows.take([row for row in range(rows.num_rows) if row // 3 % 2 == 0]))])  # every other
    store.close()
    with psycopg.connect(database) as connection:
        found = connection.execute(query.strip().rstrip(";").encode()).fetchall()
    assert len(found) == 3
    for _, _, energy_kwh, of_seconds in found:
        assert (energy_kwh * 3.6e6, float(of_seconds)) == (pytest.approx(1000.0), pytest.approx(1.0))


def partial(rows: pa.RecordBatch, column: str, known: Callable[[int, int], bool]) -> pa.RecordBatch:
    """100 of a quantity in every row, unknown where (cycle, phase) is not known."""
    values = [100.0 if known(row // 3, row % 3) else None for row in range(rows.num_rows)]
    return rows.set_column(rows.schema.get_field_index(column), column, pa.array(values, pa.float32()))


def test_a_sum_of_three_phases_needs_a_value_of_each(database: str) -> None:
    rows = cycles(20)
    rows = partial(rows, "a_reactive_power_var", lambda cycle, phase: phase < 2 or cycle < 5)
    rows = partial(rows, "a_real_power_w", lambda cycle, phase: phase < 2 or cycle < 10)
    rows = partial(rows, "a_apparent_power_va", lambda _cycle, _phase: True)
    rows = partial(rows, "a_rms_current_a", lambda _cycle, phase: phase < 2)
    store = Store(database)
    store.write([batch(0, rows)])
    store.close()
    since, until = (datetime.fromtimestamp(START_US / 1e6 + seconds, UTC) for seconds in (-1, 2))
    dashboard = grafana.load(grafana.FOLDER / "dashboards" / "karman-per-cycle.json")
    known = {
        "Three-phase real power": (10, 300.0),
        "Three-phase reactive power": (5, 300.0),
        "Three-phase power factor": (10, 1.0),
        "Imbalance of phase currents": (0, None),
    }
    chosen = {"device": grafana.Variable("rack1-pdu2"), "phase": grafana.Variable("a")}
    with psycopg.connect(database) as connection:
        for title, (count, value) in known.items():
            (statement,) = (
                target["rawSql"]
                for panel in grafana.panels(dashboard)
                if panel["title"] == title
                for target in panel["targets"]
            )
            points = connection.execute(grafana.sql(statement, chosen, since, until, 10).encode()).fetchall()
            assert {row[-1] for row in points if row[-1] is not None} == ({value} if count else set()), title
            assert len([row for row in points if row[-1] is not None]) == count, title
            rolled_up = connection.execute(grafana.sql(statement, chosen, since, until, 1000).encode()).fetchall()
            assert all(row[-1] in (value, None) for row in rolled_up), title
        sums = connection.execute(
            "SELECT data -> 'threephase/karman1' -> 'phase_a' ->> 'three_phase_reactive_power' FROM bibimbap ORDER BY time"
        ).fetchall()
    assert [value for (value,) in sums] == ["300"] * 5 + [None] * 15


def test_a_power_factor_is_of_the_same_cycles_or_of_none(database: str) -> None:
    rows = partial(cycles(20), "a_real_power_w", lambda _cycle, _phase: True)
    rows = partial(rows, "a_apparent_power_va", lambda cycle, phase: phase < 2 or cycle < 10)
    with contextlib.closing(Store(database)) as store:
        store.write([batch(0, rows)])
    with psycopg.connect(database) as connection:
        told = connection.execute("SELECT stream, power_factor FROM power_1s_by_phase ORDER BY stream").fetchall()
    assert told == [("threephase/karman1", 1.0), ("threephase/karman2", 1.0), ("threephase/karman3", None)]


def test_messages_without_a_time_of_their_own_are_told_apart_and_others_than_phases_in_no_sum(database: str) -> None:
    rows = partial(cycles(4), "a_real_power_w", lambda _cycle, _phase: True)
    rows = partial(rows, "a_reactive_power_var", lambda cycle, _phase: cycle < 3)
    rows = arrived_together(rows)
    rows = rows.set_column(4, rows.schema.field(4), pa.array([n // 3 for n in range(12)], pa.int64()))
    values = rows.column("a_rms_voltage_v").to_pylist()
    values[0], values[3] = float("nan"), float("-inf")
    at = rows.schema.get_field_index("a_rms_voltage_v")
    rows = rows.set_column(at, rows.schema.field(at), pa.array(values, pa.float32()))
    other = rows.slice(0, 3)
    other = other.set_column(3, rows.schema.field(3), pa.array(["dc/aux", "dc/aux2", "dc/aux3"]).dictionary_encode())
    with contextlib.closing(Store(database)) as store:
        store.write([batch(0, rows), batch(1, other)])
    with psycopg.connect(database) as connection:
        frames = [data for (data,) in connection.execute("SELECT data FROM bibimbap").fetchall()]
    assert len(frames) == 4
    for data in frames:
        assert [data[f"threephase/karman{n}"]["phase_a"]["three_phase_real_power"] for n in (1, 2, 3)] == [300] * 3
    assert [len(data) for data in frames] == [6, 3, 3, 3]
    voltages = [data["threephase/karman1"]["phase_a"].get("rms_voltage") for data in frames]
    assert sorted(voltage is None for voltage in voltages) == [False, True, True, True]  # NaN, infinite, NULL


def test_what_is_of_one_time_is_one_frame_however_its_streams_are_numbered(database: str) -> None:
    rows = partial(cycles(2), "a_real_power_w", lambda _cycle, _phase: True)
    numbers = pa.array([101, 202, 303, 102, 203, 304], pa.int64())
    rows = rows.set_column(4, rows.schema.field(4), numbers)
    flags = rows.schema.get_field_index("flags")
    rows = rows.set_column(flags, rows.schema.field(flags), pa.array([0] * 6, pa.int32()))
    with contextlib.closing(Store(database)) as store:
        store.write([batch(0, rows)])
    with psycopg.connect(database) as connection:
        frames = [data for (data,) in connection.execute("SELECT data FROM bibimbap").fetchall()]
    assert [sorted(data) for data in frames] == [[f"threephase/karman{n}" for n in (1, 2, 3)]] * 2
    assert all(data["threephase/karman2"]["phase_a"]["three_phase_real_power"] == 300 for data in frames)


def test_the_view_shows_the_device_that_the_setting_names(filled: str) -> None:
    with psycopg.connect(filled) as connection:
        connection.execute("INSERT INTO setting VALUES ('bibimbap_device', 'rack9-pdu1')")
        rows = connection.execute(
            "SELECT data -> 'threephase/karman1' -> 'phase_a' ->> 'real_power' FROM bibimbap ORDER BY time LIMIT 4"
        ).fetchall()
        wanted = connection.execute(
            "SELECT nullif(a_real_power_w, 'NaN')::text FROM cycle c JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id"
            " WHERE d.name = 'rack9-pdu1' AND s.name = 'threephase/karman1' ORDER BY time LIMIT 4"
        ).fetchall()
        assert rows == wanted
        connection.execute("UPDATE setting SET value = 'not there' WHERE name = 'bibimbap_device'")
        assert connection.execute("SELECT * FROM bibimbap").fetchall() == []


def test_a_query_of_all_roll_ups_reads_the_one_that_it_asks_for(filled: str) -> None:
    with psycopg.connect(filled) as connection:
        means = "SELECT time, device, stream, phase, {} FROM {} ORDER BY 1, 2, 3, 4"
        one = connection.execute(means.format("real_power_w", "power_1s_by_phase").encode()).fetchall()
        merged = "real_power_w_sum / real_power_w_count"
        assert connection.execute(means.format(merged, "power_rollup WHERE step_s = 1").encode()).fetchall() == one
        assert one
        for step_s, table in ((1, "power_1s"), (60, "power_1m"), (3600, "power_1h")):
            plan = connection.execute(
                f"EXPLAIN SELECT * FROM power_rollup WHERE step_s = {step_s} AND time > '2020-01-01' AND device = 'x'"
            ).fetchall()
            others = {"power_1s", "power_1m", "power_1h"} - {table}
            assert not any(other in line for (line,) in plan for other in others)


def test_the_reader_reads_nothing_that_was_there_before_us(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as owner:
        owner.execute("CREATE TABLE customer (secret text)")
        schema.migrate(empty_database)
        readable = "SELECT has_table_privilege('karman_reader', %s, 'SELECT')"
        told = {
            name: owner.execute(readable, [name]).fetchone() for name in ("customer", "quarantine", "writer", "cycle")
        }
    assert told == {"customer": (False,), "quarantine": (False,), "writer": (True,), "cycle": (True,)}


def test_the_reader_reads_everything_but_quarantine_and_writes_nothing(filled: str) -> None:
    name, password = f"viewer_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    with psycopg.connect(filled, autocommit=True) as owner:
        owner.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE karman_reader").format(sql.Identifier(name), password)
        )
        try:
            dsn = conninfo.make_conninfo(filled, user=name, password=password)
            with psycopg.connect(dsn, autocommit=True) as reader:
                readable = (
                    "cycle", "spectrum", "gap", "device", "stream", "ledger", "power_1s", "power_1m", "power_1h",
                    "cycle_by_phase", "power_1s_by_phase", "power_1m_by_phase", "power_1h_by_phase", "power_rollup",
                    "bibimbap", "writer", "account", "setting", "fleet_1s",
                )  # fmt: skip
                for relation in readable:
                    reader.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(relation)))
                for statement in (
                    "SELECT * FROM quarantine",
                    "DELETE FROM cycle",
                    "UPDATE device SET rack = 'x'",
                    "INSERT INTO setting VALUES ('a', 'b')",
                    "DROP VIEW bibimbap",
                    "CREATE TABLE mine (a int)",
                ):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        reader.execute(statement)
        finally:
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
