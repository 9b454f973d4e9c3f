"""A checkpoint as bytes: what outlives the process of an aggregator, and may be read by a later version of it.

Must not know: where it is kept.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.aggregation import Checkpoint
from pipeline.core.envelope import rows_from_bytes, rows_to_bytes

VERSION: Final = 1
_KEY: Final = b"karman"

Counted = Mapping[str, tuple[int, int]]  # by producer: epoch, and the number from which on nothing is counted yet


def to_bytes(checkpoint: Checkpoint, counted: Counted, run_us: int) -> bytes:
    """The checkpoint of a run, with the batches that it knows."""
    series = len(checkpoint.keys)
    columns = {
        "device": pa.array([device for device, _ in checkpoint.keys], pa.string()),
        "stream": pa.array([stream for _, stream in checkpoint.keys], pa.string()),
        "totals": _list(checkpoint.totals[:series]),
        "last": _list(checkpoint.last[:series]),
    }
    header = {"version": VERSION, "run_us": run_us, "counted": counted}
    rows = pa.RecordBatch.from_pydict(columns)
    return rows_to_bytes(rows.replace_schema_metadata({_KEY: json.dumps(header).encode()}))


def from_bytes(data: bytes, run_us: int) -> tuple[Checkpoint, Counted] | None:
    """The checkpoint again; None if it is of another run, or of a version that this program does not know."""
    rows = rows_from_bytes(data)
    header = json.loads(rows.schema.metadata[_KEY])
    if (header["version"], header["run_us"]) != (VERSION, run_us):
        return None
    keys = zip(rows.column("device").to_pylist(), rows.column("stream").to_pylist(), strict=True)
    totals, last = (_table(rows.column(name)) for name in ("totals", "last"))
    counted = {producer: (epoch, number) for producer, (epoch, number) in header["counted"].items()}
    return Checkpoint(tuple(keys), totals, last), counted


def _list(values: NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _table(column: pa.Array) -> NDArray[Any]:
    return np.array(column.values).reshape(len(column), column.type.list_size)
