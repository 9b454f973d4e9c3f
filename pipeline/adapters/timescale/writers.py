"""Of the processes that write for a pipeline one after the other, only the newest stores batches.

One that was cut off from the others may go on, with a producer that was replaced too: the database refuses both.

Must not know: batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psycopg

from pipeline.adapters.timescale.connection import translated
from pipeline.core.errors import StorageError

_BEGIN: Final = """
INSERT INTO writer AS w (run_us, shard, began) VALUES (%s, %s, %s)
ON CONFLICT (run_us, shard) DO UPDATE SET began = greatest(EXCLUDED.began, w.began + 1)
RETURNING began
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """Which process writes: for which run and shard, and since when, in microseconds since the epoch."""

    run_us: int
    shard: int
    began: int


def begin(connection: psycopg.Connection, run_us: int, shard: int, began_us: int) -> Turn:
    """From now on it is our turn. It waits for what the one before is just storing."""
    with translated(), connection.transaction():
        row = connection.execute(_BEGIN, [run_us, shard, began_us]).fetchone()
    return Turn(run_us, shard, int(row[0]) if row else began_us)


def hold(connection: psycopg.Connection, turn: Turn) -> None:
    """Keep the turn until the running transaction ends.

    Raises:
        StorageError: it is another's by now.
    """
    row = connection.execute(
        "SELECT began FROM writer WHERE (run_us, shard) = (%s, %s) FOR SHARE", [turn.run_us, turn.shard]
    ).fetchone()
    if row != (turn.began,):
        raise StorageError("another process writes for this pipeline now")
