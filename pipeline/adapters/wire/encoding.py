"""Rows to payloads.

Must not know: sockets, where the rows come from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters.wire.schema import HANDLER, WIRE_SCHEMA
from pipeline.core.model import CHANNELS, VALUE_COLUMNS


def encode(frames: pa.RecordBatch) -> list[bytes]:
    """Encode rows as payloads, one for each run of equal `message`; the inverse of `Decoder.decode`.

    Args:
        frames: columns of CYCLE_SCHEMA, rows of one message together, `time` nullable here. A channel whose eight
            values are all null is left out of the message.
    """
    # Whether a channel is there at all, then its four parts; a null value is an absent field.
    provenance = pa.StructArray.from_arrays(
        [frames.column("time"), frames.column("sequence").cast(pa.uint64())], fields=_fields(1, 0, 0)
    )
    channels = []
    for index in range(len(CHANNELS)):
        values = [frames.column(name) for name in VALUE_COLUMNS[8 * index : 8 * index + 8]]
        absent = values[0].is_null()
        for value in values[1:]:
            absent = pc.and_(absent, value.is_null())
        members: list[Any] = [provenance]
        for part, (low, high) in enumerate(((0, 2), (2, 4), (4, 8)), start=1):
            members.append(pa.StructArray.from_arrays(values[low:high], fields=_fields(1, index, part)))
        channels.append(pa.StructArray.from_arrays(members, fields=_fields(1, index), mask=absent))
    calculations = pa.StructArray.from_arrays(channels, fields=_fields(1))
    wrapper_fields = _fields()
    wrappers = pa.StructArray.from_arrays(
        [
            frames.column("stream").cast(pa.string()),
            calculations,
            pa.nulls(len(calculations), wrapper_fields[2].type),
        ],
        fields=wrapper_fields,
    )
    message = frames.column("message").to_numpy()
    starts = np.flatnonzero(np.diff(message, prepend=message[:1] - 1)) if len(message) else np.array([], np.int64)
    offsets = pa.array(np.append(starts, len(message)).astype(np.int32))
    column = pa.ListArray.from_arrays(offsets, wrappers, type=WIRE_SCHEMA.field(0).type)
    payloads = HANDLER.record_batch_to_array(pa.RecordBatch.from_arrays([column], schema=WIRE_SCHEMA))
    return [bytes(payload) for payload in payloads.to_pylist()]


def _fields(*path: int) -> list[pa.Field]:
    """The Arrow fields of the struct at `path` below a wrapper."""
    kind = WIRE_SCHEMA.field(0).type.value_type
    for step in path:
        kind = kind.field(step).type
    return [kind.field(position) for position in range(kind.num_fields)]
