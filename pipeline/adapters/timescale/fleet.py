"""The sums of a fleet into `fleet_1s`: by upsert, so that it does not matter how often a second is written.

Must not know: what the figures mean.
"""

from __future__ import annotations

from typing import Final

import psycopg
import pyarrow as pa

from pipeline.adapters.timescale.connection import translated
from pipeline.adapters.timescale.schema import Flavour
from pipeline.adapters.timescale.upkeep import Partitions
from pipeline.core.fleet.table import SCHEMA

TABLE: Final = "fleet_1s"
_KEY: Final = ("level", "name", "phase", "time")
_TYPES: Final = {"timestamp": "timestamptz", "string": "text", "int32": "integer", "double": "double precision"}


def _statement() -> str:
    names = ", ".join(SCHEMA.names)
    arrays = ", ".join(f"%({field.name})s::{_TYPES[str(field.type).partition('[')[0]]}[]" for field in SCHEMA)
    told = ", ".join(f"{name} = EXCLUDED.{name}" for name in SCHEMA.names if name not in _KEY)
    # Ordered, so that writers that meet wait for each other instead of for ever.
    return (
        f"INSERT INTO {TABLE} ({names}) SELECT * FROM unnest({arrays}) AS given ({names}) ORDER BY {', '.join(_KEY)}"  # noqa: S608
        f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET {told}"
    )


_UPSERT: Final = _statement()


def write(connection: psycopg.Connection, flavour: Flavour, partitions: Partitions, rows: pa.RecordBatch) -> None:
    """Write rows of `SCHEMA`; of two for the same second and place the newer one stays.

    Raises:
        StorageError: try again.
        RefusedError: the database refuses these rows for good.
    """
    if rows.num_rows == 0:
        return
    with translated():
        if flavour is Flavour.PLAIN:
            times = rows.column("time").view(pa.int64()).to_numpy()
            partitions.ensure(connection, TABLE, int(times.min()), int(times.max()))
        with connection.transaction():
            connection.execute(_UPSERT.encode(), {name: rows.column(name).to_pylist() for name in SCHEMA.names})
