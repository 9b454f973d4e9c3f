"""COPY of Arrow batches, in PostgreSQL's binary format."""

from __future__ import annotations

from collections.abc import Sequence

import pgpq
import psycopg
import pyarrow as pa
from psycopg import sql


def copy_into(connection: psycopg.Connection, table: str, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
    """COPY batches of the schema into the columns of their names."""
    encoder = pgpq.ArrowToPostgresBinaryEncoder(schema)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, schema.names))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(encoder.write_header())
        for batch in batches:
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())
