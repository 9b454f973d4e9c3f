"""Storage beside what could be: a bare COPY of the same rows, row-by-row COPY, and one JSON document per message.

One round is a second of a hundred devices: 6,000 messages, 18,000 rows, one transaction. A bare COPY is encoded by the
same encoder and has no ledger and no roll-up; it goes into the table `cycle` itself, or into a table without any index
or partition. The index by device, which small pipelines have, is measured apart.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pgpq
import psycopg
import pyarrow as pa
from psycopg import conninfo, sql
from psycopg.types.json import Jsonb

from pipeline.adapters import embedded
from pipeline.adapters.timescale import schema, upkeep
from pipeline.adapters.timescale.connection import translated
from pipeline.adapters.timescale.store import Store
from pipeline.bench.workload import Measured, Seconds, messages, rate_of, rates_in_turn
from pipeline.core.config import Storage
from pipeline.core.intake import concatenate
from pipeline.core.model import SPECTRUM_SCHEMA, VALUE_COLUMNS, Batch, Tally

DEVICES: Final = 100
_COPIED: Final = ("time", "received", "device_id", "stream_id", "sequence", "flags", *VALUE_COLUMNS)
_BY_ROW_MESSAGES: Final = 600  # the slow ways get a tenth of the round


@contextlib.contextmanager
def new_database(dsn: str | None) -> Iterator[str]:
    """A database of its own on the given server, dropped at the end; on an embedded server without one."""
    with contextlib.ExitStack() as stack:
        server = dsn or stack.enter_context(embedded.temporary())
        name = f"karman_bench_{uuid.uuid4().hex[:8]}"
        with translated(), psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                yield conninfo.make_conninfo(server, dbname=name)
            finally:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def measure(dsn: str, seconds: float) -> list[Measured]:
    """Store, and the other ways, into the new database `dsn`, for `seconds` each."""
    start_us = time.time_ns() // 1_000_000_000 * 1_000_000
    _, rows = messages(DEVICES, 1.0, start_us)
    count = rows.num_rows // 3
    schema.migrate(dsn)
    store = Store(dsn)
    settings = Storage()
    upkeep.index_cycles(store.connection, settings, settings.indexed_devices + 1)
    with psycopg.connect(dsn) as connection:
        _tables(connection)
        shifted = Seconds(rows)

        def keep(number: int) -> None:
            part = shifted.at(number)
            tallies = {"bench": Tally(count, count, part.num_rows)}
            store.write([Batch("bench", 1, number, tallies, part, concatenate([], SPECTRUM_SCHEMA))])

        store.write([Batch("bench", 0, 0, {}, rows, concatenate([], SPECTRUM_SCHEMA))])  # makes partitions and ids
        works = {
            "store": keep,
            "same": _copy_into("cycle", connection, shifted),
            "bare": _copy_into("bare", connection, shifted),
        }
        rates = rates_in_turn(works, count, seconds)
        store.connection.execute("CREATE INDEX ON cycle (device_id, stream_id, time)")
        store.connection.commit()
        slow = rows.slice(0, 3 * _BY_ROW_MESSAGES)
        others = {
            "bare COPY of the same rows into cycle": rates["same"],
            "bare COPY of the same rows into a bare table": rates["bare"],
            "store with the index by device": rate_of(lambda n: keep(n + 1_000_000), count, seconds),
            "psycopg's write_row": rate_of(_by_row(connection, slow), _BY_ROW_MESSAGES, seconds),
            "a JSON document a message (original)": rate_of(_documents(connection, slow), _BY_ROW_MESSAGES, seconds),
        }
    flavour = store.flavour
    store.close()
    return [Measured(f"store ({flavour.value}: COPY, ledger, roll-ups)", rates["store"], others)]


def _tables(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "CREATE TABLE bare AS SELECT {} FROM cycle WITH NO DATA".format(", ".join(_COPIED))  # noqa: S608
    )
    connection.execute("CREATE TABLE document (time timestamptz, device text, data jsonb)")
    connection.commit()


def _with_ids(rows: pa.RecordBatch) -> pa.RecordBatch:
    columns = {name: rows.column(name) for name in rows.schema.names}
    for kind, width in (("device", np.int32), ("stream", np.int16)):
        columns[f"{kind}_id"] = pa.array(columns[kind].indices.to_numpy().astype(width))
    return pa.RecordBatch.from_arrays([columns[name] for name in _COPIED], names=list(_COPIED))


def _statement(table: str, method: str) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN {}").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, _COPIED)), sql.SQL(method)
    )


def _copy_into(table: str, connection: psycopg.Connection[Any], seconds: Seconds) -> Callable[[int], None]:
    statement = _statement(table, "(FORMAT BINARY)")

    def copy(number: int) -> None:
        rows = _with_ids(seconds.at(number))
        encoder = pgpq.ArrowToPostgresBinaryEncoder(rows.schema)
        with connection.cursor() as cursor, cursor.copy(statement) as pipe:
            pipe.write(encoder.write_header())
            pipe.write(encoder.write_batch(rows))
            pipe.write(encoder.finish())
        connection.commit()

    return copy


def _by_row(connection: psycopg.Connection[Any], rows: pa.RecordBatch) -> Callable[[int], None]:
    statement = _statement("bare", "")
    tuples = [tuple(row.values()) for row in _with_ids(rows).to_pylist()]

    def copy(_: int) -> None:
        with connection.cursor() as cursor, cursor.copy(statement) as pipe:
            for values in tuples:
                pipe.write_row(values)
        connection.commit()

    return copy


def _documents(connection: psycopg.Connection[Any], rows: pa.RecordBatch) -> Callable[[int], None]:
    documents: dict[int, tuple[Any, str, Jsonb]] = {}
    for row in rows.to_pylist():
        figures = {name.removeprefix("a_"): row[name] for name in VALUE_COLUMNS if name.startswith("a_")}
        _, _, document = documents.setdefault(row["message"], (row["time"], row["device"], Jsonb({})))
        document.obj[row["stream"]] = {"phase_a": figures}

    def insert(_: int) -> None:
        for values in documents.values():
            connection.execute("INSERT INTO document VALUES (%s, %s, %s)", values)
            connection.commit()

    return insert
