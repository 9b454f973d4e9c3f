"""Batches into the database, each exactly once, and what the database refuses into quarantine.

A batch's name (producer, epoch, number) is inserted into the ledger first, in the transaction that copies its rows: a
resend finds the name and stores nothing. Insert-first also makes a resend wait for an orphaned first attempt.

Must not know: Ray, the spool, when to retry.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Jsonb

from pipeline.adapters.timescale import writers
from pipeline.adapters.timescale.connection import connect, is_refusal, translated
from pipeline.adapters.timescale.copying import copy_into
from pipeline.adapters.timescale.rollups import Rollups
from pipeline.adapters.timescale.schema import Flavour, flavour_of
from pipeline.adapters.timescale.statements import ROLLUP_COLUMNS
from pipeline.adapters.timescale.upkeep import Partitions
from pipeline.adapters.timescale.writers import Turn
from pipeline.core.envelope import figures_of, rows_to_bytes
from pipeline.core.errors import RefusedError, StorageError
from pipeline.core.intake import concatenate
from pipeline.core.model import CYCLE_SCHEMA, TIMESTAMP, VALUE_COLUMNS, Batch, Drop, total
from pipeline.core.rollup import one_second

_KEYS: Final = [
    pa.field("time", TIMESTAMP),
    pa.field("received", TIMESTAMP),
    pa.field("device_id", pa.int32()),
    pa.field("stream_id", pa.int16()),
    pa.field("sequence", pa.int64()),
    pa.field("flags", pa.int32()),
]
_TABLES: Final = {  # product -> schema as COPY sends it; pgpq takes no dictionaries, so names become ids
    "cycle": pa.schema(_KEYS + [pa.field(name, pa.float32()) for name in VALUE_COLUMNS]),
    "spectrum": pa.schema([*_KEYS, *(pa.field(name, pa.list_(pa.float32())) for name in ("magnitude", "phase"))]),
}


class Store:
    """A connection that stores batches. Not thread-safe; after a StorageError make a new one.

    `turn`: set where others may have written before us, or write after us.
    """

    def __init__(self, dsn: str) -> None:
        self._connection = connect(dsn)
        self.turn: Turn | None = None
        self._ids: dict[str, dict[str, int]] = {"device": {}, "stream": {}}
        self.partitions = Partitions()
        self._beside = ThreadPoolExecutor(1, "rollups")
        self.salvaged = False  # set when rows went to quarantine: then the ledger says other counts than the batches
        try:
            with _refusal_as_failure(), translated():
                self.flavour = flavour_of(self._connection)
                self.rollups = Rollups(self._connection, self.flavour)
                self._connection.commit()
        except StorageError:
            self.close()
            raise

    @property
    def connection(self) -> psycopg.Connection:
        """The connection, for upkeep."""
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        self._beside.shutdown()
        with contextlib.suppress(psycopg.Error):
            self._connection.close()

    def check_writable(self) -> None:
        """See that the database answers and takes writes.

        Raises:
            StorageError: it does not, or is read-only.
        """
        with translated(), self._connection.transaction():
            if self._connection.execute("SHOW transaction_read_only").fetchone() == ("on",):
                raise StorageError("the database is read-only")

    def write(self, batches: Sequence[Batch]) -> int:
        """Store batches; those already in the ledger are passed over. One transaction, unless rows are refused.

        Rows that the database refuses for good go to `quarantine`, and count as dropped; the others are stored.

        Returns:
            How many batches were new.

        Raises:
            StorageError: try the same batches again; what was stored of them is not stored twice.
        """
        if not batches:
            return 0
        with _refusal_as_failure():
            self._prepare(batches)
        try:
            with self._storing():
                fresh = [batch for batch in batches if self._enter(batch)]
                self._insert(fresh)
                return len(fresh)
        except RefusedError:
            if len(batches) > 1:
                middle = len(batches) // 2
                return self.write(batches[:middle]) + self.write(batches[middle:])
            return self._salvage(batches[0])

    @contextlib.contextmanager
    def _storing(self) -> Iterator[None]:
        """A transaction, while it is our turn."""
        with translated(), self._connection.transaction():
            if self.turn is not None:
                writers.hold(self._connection, self.turn)
            yield

    def _prepare(self, batches: Sequence[Batch]) -> None:
        """Ids and partitions, outside the batches' transaction: they may outlive a batch that fails."""
        with translated():
            for kind, known in self._ids.items():
                self._learn(kind, {name for batch in batches for name in _names(batch, kind)} - known.keys())
            if self.flavour is Flavour.PLAIN:
                for product, rows in (
                    ("cycle", [b.cycles for b in batches]),
                    ("spectrum", [b.spectra for b in batches]),
                ):
                    times = [r.column("time").view(pa.int64()).to_numpy() for r in rows if r.num_rows]
                    if times:
                        first, last = int(min(t.min() for t in times)), int(max(t.max() for t in times))
                        for table in ("cycle", "power_1s") if product == "cycle" else ("spectrum",):
                            self.partitions.ensure(self._connection, table, first, last)

    def _enter(self, batch: Batch) -> bool:
        tally = total(batch.tallies.values())
        rows = batch.cycles.num_rows + batch.spectra.num_rows
        totals = {device: figures_of(counted) for device, counted in batch.totals.items()}
        entry = [batch.producer, batch.epoch, batch.number, tally.received, tally.delivered, tally.missing, rows]
        return (
            self._connection.execute(
                "INSERT INTO ledger (producer, epoch, number, received, stored, missing, row_count, dropped, totals)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
                [*entry, Jsonb(dict(tally.dropped)), Jsonb(totals) if totals else None],
            ).fetchone()
            is not None
        )

    def _insert(self, batches: Sequence[Batch]) -> None:
        """Everything of new batches but their ledger rows, in the running transaction."""
        cycles = [batch.cycles for batch in batches if batch.cycles.num_rows]
        rollups = self._beside.submit(_rollups, cycles)  # computed while the server is busy with the COPY
        try:
            self._copy("cycle", cycles)
        finally:
            rollups.exception()  # not to be left running
        self._add_rollups(rollups.result())
        self._copy("spectrum", [batch.spectra for batch in batches if batch.spectra.num_rows])
        self._record_gaps(batches)

    def _salvage(self, batch: Batch) -> int:
        """Store what can be stored of a batch that was refused; the rest goes to quarantine, with the error."""
        with _refusal_as_failure(), self._storing():
            if not self._enter(batch):
                return 0
            self.salvaged = True
            refused: set[int] = set()
            kept: set[int] = set()
            rows = 0
            for product, all_rows in (("cycle", batch.cycles), ("spectrum", batch.spectra)):
                for part, error in self._bisect(product, all_rows):
                    messages = part.column("message").to_pylist()
                    if error is None:
                        kept.update(messages)
                        continue
                    refused.update(messages)
                    rows += part.num_rows
                    self._connection.execute(
                        "INSERT INTO quarantine (producer, epoch, number, product, row_count, error, rows)"
                        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
                        [batch.producer, batch.epoch, batch.number, product, part.num_rows, error, rows_to_bytes(part)],
                    )
            with contextlib.suppress(psycopg.Error), self._connection.transaction():
                self._record_gaps([batch])
            self._connection.execute(
                "UPDATE ledger SET stored = stored - %(n)s, row_count = row_count - %(r)s,"
                " dropped = dropped || jsonb_build_object(%(k)s::text, %(n)s)"
                " WHERE (producer, epoch, number) = (%(p)s, %(e)s, %(b)s)",
                {
                    "n": len(refused - kept),
                    "r": rows,
                    "k": Drop.REFUSED,
                    "p": batch.producer,
                    "e": batch.epoch,
                    "b": batch.number,
                },
            )
        return 1

    def _bisect(self, product: str, rows: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, str | None]]:
        """Store rows, halving what is refused down to single rows. Yields each part with its error, or None."""
        if rows.num_rows == 0:
            return
        try:
            with self._connection.transaction():  # a savepoint
                self._copy(product, [rows])
                if product == "cycle":
                    self._add_rollups(_rollups([rows]))
            yield rows, None
        except psycopg.Error as error:
            if not is_refusal(error):
                raise
            if rows.num_rows == 1 or (error.sqlstate or "").startswith("42"):  # a missing table refuses every row
                yield rows, str(error).strip()
                return
            middle = rows.num_rows // 2
            yield from self._bisect(product, rows.slice(0, middle))
            yield from self._bisect(product, rows.slice(middle))

    def _copy(self, product: str, batches: Sequence[pa.RecordBatch]) -> None:
        if batches:
            schema = _TABLES[product]
            copy_into(self._connection, product, schema, [self._with_ids(batch, schema) for batch in batches])

    def _add_rollups(self, rollups: Sequence[pa.RecordBatch]) -> None:
        self.rollups.add([self._with_ids(rollup, ROLLUP_COLUMNS) for rollup in rollups])

    def _with_ids(self, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
        columns: dict[str, Any] = {name: batch.column(name) for name in batch.schema.names}
        for kind, width in (("device", np.int32), ("stream", np.int16)):
            column = columns[kind]
            ids = np.array([self._ids[kind].get(name, 0) for name in column.dictionary.to_pylist()], width)
            columns[f"{kind}_id"] = pa.array(ids[column.indices.to_numpy()])
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def _record_gaps(self, batches: Sequence[Batch]) -> None:
        gaps = [gap for batch in batches for gap in batch.gaps]
        if not gaps:
            return
        with self._connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO gap (device_id, stream_id, product, after_sequence, before_sequence, missing,"
                " from_time, to_time, reason) VALUES (%s, %s, %s, %s, %s, %s,"
                " to_timestamp(%s / 1e6), to_timestamp(%s / 1e6), %s)",
                [
                    (
                        self._ids["device"][gap.device],
                        self._ids["stream"][gap.stream],
                        *(gap.product, gap.after, gap.before, gap.missing, gap.from_us, gap.to_us, gap.reason),
                    )
                    for gap in gaps
                ],
            )

    def _learn(self, kind: str, names: set[str]) -> None:
        """Find or give the ids of names."""
        if not names:
            return
        table = sql.Identifier(kind)
        with self._connection.transaction():
            self._connection.execute(
                # Each name that is inserted draws an id, also where it is known by then: so only those that are not.
                sql.SQL(
                    "INSERT INTO {table} (name) SELECT name FROM unnest(%s::text[]) AS name"
                    " WHERE NOT EXISTS (SELECT FROM {table} known WHERE known.name = name.name) ON CONFLICT DO NOTHING"
                ).format(table=table),
                [sorted(names)],
            )
            rows = self._connection.execute(
                sql.SQL("SELECT name, id FROM {} WHERE name = ANY(%s)").format(table), [sorted(names)]
            ).fetchall()
        self._ids[kind].update(rows)


def _rollups(batches: Sequence[pa.RecordBatch]) -> Sequence[pa.RecordBatch]:
    return one_second(concatenate(batches, CYCLE_SCHEMA))  # together, so that each second comes once


def _names(batch: Batch, kind: str) -> Iterator[str]:
    """The devices or streams that a batch mentions; a dictionary may hold more names than its rows use."""
    for rows in (batch.cycles, batch.spectra):
        column = rows.column(kind)
        yield from column.dictionary.take(column.indices.unique()).to_pylist()
    for gap in batch.gaps:
        yield getattr(gap, kind)


@contextlib.contextmanager
def _refusal_as_failure() -> Iterator[None]:
    """Where not the rows are to blame, a refusal (the ledger is missing, say) is a failure that may be mended."""
    try:
        yield
    except RefusedError as error:
        raise StorageError(str(error)) from error
