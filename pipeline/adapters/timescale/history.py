"""Reads cycles back, for the live page: those that are older than what the ingests keep.

Must not know: who asks. It reads in a transaction of its own that cannot write, and gives up early: a picture is worth
less than the database's time.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.adapters.timescale.connection import connect, translated
from pipeline.core.model import ARRIVAL_TIME, CYCLE_SCHEMA, TIMESTAMP, VALUE_COLUMNS

TIMEOUT_MS: Final = 2000
_UNKNOWN: Final = -1
_QUERY: Final = (
    "SELECT (extract(epoch FROM c.time) * 1000000)::bigint, s.name, c.sequence, c.flags, "  # noqa: S608 - our own names
    + ", ".join(f"c.{name}" for name in VALUE_COLUMNS)
    + " FROM cycle c JOIN stream s ON s.id = c.stream_id"
    " WHERE c.device_id = (SELECT id FROM device WHERE name = %(device)s)"
    " AND c.time >= to_timestamp(%(from_us)s::bigint / 1e6) AND c.time < to_timestamp(%(to_us)s::bigint / 1e6)"
    " ORDER BY c.time DESC LIMIT %(limit)s"
)


def cycles(dsn: str, device: str, from_us: int, to_us: int, limit: int) -> pa.RecordBatch:
    """The rows of a device with from_us <= time < to_us, `CYCLE_SCHEMA`, at most the newest `limit`.

    What has the same time is one message; of a device without a clock also the same number, for several may have
    arrived together.

    Raises:
        StorageError: the database is away, or too slow.
    """
    with translated(), connect(dsn) as connection:
        connection.read_only = True
        connection.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS}".encode())
        found = connection.execute(
            _QUERY.encode(), {"device": device, "from_us": from_us, "to_us": to_us, "limit": limit}
        ).fetchall()
    return _rows(device, found)


def _rows(device: str, found: list[tuple[Any, ...]]) -> pa.RecordBatch:
    times, names, sequences, flags, *values = zip(*found, strict=True) if found else ((),) * (4 + len(VALUE_COLUMNS))
    time = pa.array(times, pa.int64()).view(TIMESTAMP)
    sequence = pa.array(sequences, pa.int64())
    columns = [
        time,
        time,
        pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(found), np.int32)), pa.array([device])),
        pa.array(names, pa.string()).dictionary_encode(),
        sequence,
        pa.array(_messages(*(np.array(of, np.int64) for of in (times, sequence.fill_null(_UNKNOWN), flags)))),
        pa.array(flags, pa.int32()),
        *(pa.array(column, pa.float32()) for column in values),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=CYCLE_SCHEMA)


def _messages(time_us: NDArray[np.int64], sequence: NDArray[np.int64], flags: NDArray[np.int64]) -> NDArray[np.int64]:
    """The message of each row: by its time, and where that is an arrival, which several may share, by its number too.

    One without a number belongs to the last one of its time.
    """
    _, moment = np.unique(time_us, return_inverse=True)
    last, arrived = np.full(len(time_us), _UNKNOWN), np.zeros(len(time_us), bool)
    np.maximum.at(last, moment, sequence)
    np.logical_or.at(arrived, moment, flags & ARRIVAL_TIME != 0)
    number = np.where(arrived[moment], np.where(sequence == _UNKNOWN, last[moment], sequence), 0)
    _, message = np.unique(np.stack([time_us, number]), axis=1, return_inverse=True)
    return message.reshape(-1).astype(np.int64)
