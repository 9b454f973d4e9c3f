"""The database: migrations, and batches stored exactly once. The only importer of psycopg and pgpq.

A batch's name (producer, epoch, number) is inserted into the ledger first, in the transaction that copies its rows: a
resend finds the name and stores nothing. Insert-first also makes a resend wait for an orphaned first attempt.

Must not know: Ray, sockets of devices, when to retry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import numpy as np
import pgpq
import psycopg
import pyarrow as pa
from psycopg import conninfo, sql
from psycopg.types.json import Jsonb

from pipeline.core.continuity import Position
from pipeline.core.errors import InputError, StorageError
from pipeline.core.keys import Key
from pipeline.core.model import TIMESTAMP, VALUE_COLUMNS, Account, Batch, Tally, total

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 60_000  # a COPY of a second of a fleet takes well under one; longer means it is stuck
_MIGRATION_LOCK: Final = 0x6B61726D  # "karm": pipelines that start together migrate one after the other

_KEYS: Final = [
    pa.field("time", TIMESTAMP),
    pa.field("received", TIMESTAMP),
    pa.field("device_id", pa.int32()),
    pa.field("stream_id", pa.int16()),
    pa.field("sequence", pa.int64()),
    pa.field("flags", pa.int32()),
]
_TABLES: Final = {  # product -> (table, schema as COPY sends it); pgpq takes no dictionaries, so names become ids
    "cycle": ("cycle", pa.schema(_KEYS + [pa.field(name, pa.float32()) for name in VALUE_COLUMNS])),
    "spectrum": (
        "spectrum",
        pa.schema([*_KEYS, *(pa.field(name, pa.list_(pa.float32())) for name in ("magnitude", "phase"))]),
    ),
}


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file of `pipeline/adapters/sql`, named NNNN_what.sql."""

    version: int
    name: str
    text: str


def migrations() -> list[Migration]:
    """All migrations, in order."""
    files = resources.files("pipeline.adapters").joinpath("sql").iterdir()
    names = sorted(file.name for file in files if file.name.endswith(".sql"))
    return [
        Migration(int(name[:4]), name, resources.files("pipeline.adapters").joinpath("sql", name).read_text("utf-8"))
        for name in names
    ]


def describe(dsn: str) -> str:
    """The DSN without its password, for people."""
    try:
        parts = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        return "the given DSN"
    host, port, name = parts.get("host", "localhost"), parts.get("port", 5432), parts.get("dbname", "")
    return f"{host}:{port}/{name}"


def connect(dsn: str) -> psycopg.Connection:
    """A connection with the pipeline's time-outs.

    Raises:
        InputError: the DSN is not one.
        StorageError: nobody answers, or the login is refused.
    """
    try:
        complete = conninfo.make_conninfo(
            dsn,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="karman",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
            options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout=30s",
        )
    except psycopg.ProgrammingError:
        # Not its message: it repeats the DSN, and with it the password.
        raise InputError("the DSN cannot be read: write postgresql://USER@HOST:PORT/DATABASE") from None
    try:
        return psycopg.connect(complete)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise StorageError(f"cannot connect to the database at {describe(dsn)}: {reason}") from error


def migrate(dsn: str) -> list[str]:
    """Apply the migrations that the database has not had, each in a transaction. Returns their names."""
    applied = []
    with _translated(), connect(dsn) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (version integer PRIMARY KEY, name text NOT NULL,"
            " applied timestamptz NOT NULL DEFAULT now())"
        )
        connection.commit()
        had = {version for (version,) in connection.execute("SELECT version FROM schema_migration")}
        for migration in migrations():
            if migration.version not in had:
                connection.execute(migration.text.encode())
                connection.execute(
                    "INSERT INTO schema_migration (version, name) VALUES (%s, %s)", [migration.version, migration.name]
                )
                connection.commit()
                applied.append(migration.name)
    return applied


def applied(dsn: str) -> set[int]:
    """The versions of the migrations that the database has had."""
    with _translated(), connect(dsn) as connection:
        if connection.execute("SELECT to_regclass('schema_migration')").fetchone() == (None,):
            return set()
        return {version for (version,) in connection.execute("SELECT version FROM schema_migration")}


class Store:
    """A connection that stores batches. Not thread-safe; after a StorageError make a new one."""

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn)
        self._ids: dict[str, dict[str, int]] = {"device": {}, "stream": {}}

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(psycopg.Error):
            self._connection.close()

    def write(self, batches: Sequence[Batch]) -> int:
        """Store batches in one transaction; those already in the ledger are passed over.

        Returns:
            How many of them were new.

        Raises:
            StorageError: nothing of this call is stored, or, if the connection was lost during COMMIT, all of it;
                the same batches may be given again.
        """
        with _translated():
            for kind, known in self._ids.items():
                self._learn(kind, {name for batch in batches for name in _names(batch, kind)} - known.keys())
            with self._connection.transaction():
                fresh = [batch for batch in batches if self._enter(batch)]
                self._copy("cycle", [batch.cycles for batch in fresh])
                self._copy("spectrum", [batch.spectra for batch in fresh])
                self._record_gaps(fresh)
            return len(fresh)

    def last_epoch(self, producer: str) -> int:
        """The newest epoch of a producer in the ledger, -1 if it has none."""
        with _translated(), self._connection.transaction():
            row = self._connection.execute(
                "SELECT coalesce(max(epoch), -1) FROM ledger WHERE producer = %s", [producer]
            ).fetchone()
        return int(row[0]) if row else -1

    def positions(self, devices: Sequence[str]) -> dict[str, dict[Key, Position]]:
        """The newest stored row of each stream of the given devices, by product."""
        found: dict[str, dict[Key, Position]] = {product: {} for product in _TABLES}
        with _translated(), self._connection.transaction():
            for product, device, stream, sequence, time_us in self._connection.execute(
                "SELECT product, d.name, s.name, sequence, (extract(epoch FROM time) * 1000000)::bigint"
                " FROM stream_position p JOIN device d ON d.id = device_id JOIN stream s ON s.id = stream_id"
                " WHERE d.name = ANY(%s)",
                [list(devices)],
            ):
                found[product][device, stream] = Position(sequence, time_us)
        return found

    def accounts(self, since_epoch: int) -> dict[Account, Tally]:
        """What the ledger says of each producer and epoch since `since_epoch`."""
        with _translated(), self._connection.transaction():
            sums = self._connection.execute(
                "SELECT producer, epoch, sum(received)::bigint, sum(stored)::bigint, sum(row_count)::bigint,"
                " sum(missing)::bigint FROM ledger WHERE epoch >= %s GROUP BY producer, epoch",
                [since_epoch],
            ).fetchall()
            drops = self._connection.execute(
                "SELECT producer, epoch, key, sum(value::bigint)::bigint FROM ledger, jsonb_each_text(dropped)"
                " WHERE epoch >= %s GROUP BY producer, epoch, key",
                [since_epoch],
            ).fetchall()
        accounts = {(producer, epoch): Tally(*counts) for producer, epoch, *counts in sums}
        for producer, epoch, reason, count in drops:
            accounts[producer, epoch] += Tally(dropped={reason: count})
        return accounts

    def _enter(self, batch: Batch) -> bool:
        tally = total(batch.tallies.values())
        rows = batch.cycles.num_rows + batch.spectra.num_rows
        return (
            self._connection.execute(
                "INSERT INTO ledger (producer, epoch, number, received, stored, missing, row_count, dropped)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
                [
                    batch.producer,
                    batch.epoch,
                    batch.number,
                    tally.received,
                    tally.delivered,
                    tally.missing,
                    rows,
                    Jsonb(dict(tally.dropped)),
                ],
            ).fetchone()
            is not None
        )

    def _copy(self, product: str, batches: Sequence[pa.RecordBatch]) -> None:
        batches = [self._with_ids(product, batch) for batch in batches if batch.num_rows]
        if not batches:
            return
        table, schema = _TABLES[product]
        encoder = pgpq.ArrowToPostgresBinaryEncoder(schema)
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, schema.names))
        )
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(encoder.write_header())
            for batch in batches:
                copy.write(encoder.write_batch(batch))
            copy.write(encoder.finish())
        self._move_positions(product, batches)

    def _with_ids(self, product: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = {name: batch.column(name) for name in batch.schema.names}
        for kind, width in (("device", np.int32), ("stream", np.int16)):
            column = columns[kind]
            ids = np.array([self._ids[kind].get(name, 0) for name in column.dictionary.to_pylist()], width)
            columns[f"{kind}_id"] = pa.array(ids[column.indices.to_numpy()])
        schema = _TABLES[product][1]
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _move_positions(self, product: str, batches: Sequence[pa.RecordBatch]) -> None:
        """Note the newest row by time of each stream: late rows do not move it back, a device's restart does."""
        newest = (
            pa.Table.from_batches([batch.select(["device_id", "stream_id", "sequence", "time"]) for batch in batches])
            .drop_null()
            .sort_by("time")
            .group_by(["device_id", "stream_id"], use_threads=False)
            .aggregate([("sequence", "last"), ("time", "last")])
        )
        self._connection.execute(
            "INSERT INTO stream_position (device_id, stream_id, product, sequence, time)"
            " SELECT d, s, %s, n, t FROM unnest(%s::int[], %s::smallint[], %s::bigint[], %s::timestamptz[])"
            " AS u (d, s, n, t) ON CONFLICT (device_id, stream_id, product)"
            " DO UPDATE SET sequence = EXCLUDED.sequence, time = EXCLUDED.time"
            " WHERE stream_position.time <= EXCLUDED.time",
            [
                product,
                *(newest.column(name).to_pylist() for name in ("device_id", "stream_id", "sequence_last", "time_last")),
            ],
        )

    def _record_gaps(self, batches: Sequence[Batch]) -> None:
        gaps = [gap for batch in batches for gap in batch.gaps]
        if gaps:
            with self._connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO gap (device_id, stream_id, product, after_sequence, before_sequence, missing,"
                    " from_time, to_time, reason) VALUES (%s, %s, %s, %s, %s, %s,"
                    " to_timestamp(%s / 1e6), to_timestamp(%s / 1e6), %s)",
                    [
                        (
                            self._ids["device"][gap.device],
                            self._ids["stream"][gap.stream],
                            gap.product,
                            gap.after,
                            gap.before,
                            gap.missing,
                            gap.from_us,
                            gap.to_us,
                            gap.reason,
                        )
                        for gap in gaps
                    ],
                )

    def _learn(self, kind: str, names: set[str]) -> None:
        """Find or give the ids of names, outside the batch's transaction: an id may outlive a batch that fails."""
        if not names:
            return
        table = sql.Identifier(kind)
        with self._connection.transaction():
            self._connection.execute(
                sql.SQL("INSERT INTO {} (name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING").format(table),
                [sorted(names)],
            )
            rows = self._connection.execute(
                sql.SQL("SELECT name, id FROM {} WHERE name = ANY(%s)").format(table), [sorted(names)]
            ).fetchall()
        self._ids[kind].update(rows)


def _names(batch: Batch, kind: str) -> Iterator[str]:
    """The devices or streams that a batch mentions; a dictionary may hold more names than its rows use."""
    for rows in (batch.cycles, batch.spectra):
        column = rows.column(kind)
        yield from column.dictionary.take(column.indices.unique()).to_pylist()
    for gap in batch.gaps:
        yield getattr(gap, kind)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()
        raise StorageError(f"the database failed: {reason[0] if reason else type(error).__name__}") from error
