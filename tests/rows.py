"""Rows as a decoder makes them, from plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa

from pipeline.core.model import CYCLE_SCHEMA, SPECTRUM_SCHEMA, STREAMS

START_US: Final = 1_800_000_000_000_000
PERIOD_US: Final = 16_667
ROW: Final = {
    "time": START_US,
    "received": START_US,
    "device": "pdu1",
    "stream": STREAMS[0],
    "message": 0,
    "flags": 0,
    "magnitude": [],
    "phase": [],
}


def cycles(rows: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """Rows of CYCLE_SCHEMA; what a row does not name is as in `ROW`, or null."""
    return pa.RecordBatch.from_pylist([{**ROW, **row} for row in rows], schema=CYCLE_SCHEMA)


def spectra(rows: Iterable[Mapping[str, Any]]) -> pa.RecordBatch:
    """Rows of SPECTRUM_SCHEMA; what a row does not name is as in `ROW`, or null."""
    return pa.RecordBatch.from_pylist([{**ROW, **row} for row in rows], schema=SPECTRUM_SCHEMA)


def parts(rows: pa.RecordBatch, cuts: Iterable[int]) -> list[pa.RecordBatch]:
    """The rows in several batches, each cut a row number; some may be empty."""
    bounds = [0, *sorted(min(cut, rows.num_rows) for cut in cuts), rows.num_rows]
    return [rows.slice(first, last - first) for first, last in pairwise(bounds)]
