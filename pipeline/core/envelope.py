"""A batch as bytes: Arrow IPC streams, the batch's origin and tallies in the schema's metadata.

One shape for actor calls and files. Chosen over pickling the Arrow objects: 20 us against 125 us for the 28 buffers of
a cycle batch, and bytes outlive a version of this program.

Must not know: who sends it, or where it is kept.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import orjson
import pyarrow as pa

from pipeline.core.model import Batch, Gap, Tally

VERSION: Final = 2
READABLE: Final = (1, VERSION)  # a spool may hold what an earlier version of this program left
_KEY: Final = b"karman"


def pack(batch: Batch) -> bytes:
    """The batch as one byte string."""
    header = {
        "version": VERSION,
        "producer": batch.producer,
        "epoch": batch.epoch,
        "number": batch.number,
        "tallies": {device: figures_of(tally) for device, tally in batch.tallies.items()},
        "gaps": [asdict(gap) for gap in batch.gaps],
        "totals": {device: figures_of(tally) for device, tally in batch.totals.items()},
    }
    cycles = batch.cycles.replace_schema_metadata({_KEY: orjson.dumps(header)})
    return rows_to_bytes(cycles, batch.spectra)


def figures_of(tally: Tally) -> list[Any]:
    """A tally as a short list for JSON."""
    counts = [tally.received, tally.delivered, tally.rows, tally.missing, tally.reordered, tally.resets]
    return [*counts, dict(tally.dropped)] if tally.dropped else counts


def tally_of(figures: Sequence[Any]) -> Tally:
    """The tally of `figures_of`."""
    return Tally(*figures)


def rows_to_bytes(*batches: pa.RecordBatch) -> bytes:
    """Record batches as Arrow IPC streams, one after the other."""
    sink = io.BytesIO()  # it hands out what was written without a copy: of large batches in half of the time
    for rows in batches:
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_batch(rows)
    return sink.getvalue()


def rows_from_bytes(data: bytes) -> pa.RecordBatch:
    """The first record batch again; its columns point into `data`."""
    return _read(pa.BufferReader(data))


def unpack(data: bytes) -> Batch:
    """The batch again; its columns point into `data`.

    Raises:
        ValueError: not a batch, or one of another version.
    """
    source = pa.BufferReader(data)
    try:
        cycles, spectra = _read(source), _read(source)
        header = orjson.loads(cycles.schema.metadata[_KEY])
        version = header["version"]
        if version not in READABLE:
            raise ValueError(f"a packed batch of version {version}, this program reads {VERSION}")
        return Batch(
            header["producer"],
            header["epoch"],
            header["number"],
            {device: Tally(**it) if version == 1 else tally_of(it) for device, it in header["tallies"].items()},
            cycles.replace_schema_metadata(None),
            spectra,
            tuple(Gap(**gap) for gap in header["gaps"]),
            {device: tally_of(figures) for device, figures in header.get("totals", {}).items()},
        )
    except (pa.ArrowException, OSError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(f"not a packed batch: {error}") from error


def _read(source: pa.BufferReader) -> pa.RecordBatch:
    """One stream of one batch, its end marker included, so that the next stream can follow."""
    stream = pa.ipc.open_stream(source)
    batch = stream.read_next_batch()
    for _ in stream:
        raise ValueError("a packed batch holds one record batch a stream")
    return batch
