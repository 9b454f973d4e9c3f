"""Messages that a test can read, and a decoder of them: what stands in for protobuf where only order matters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.model import STREAMS, Drop, Flag
from tests.rows import PERIOD_US, START_US, cycles, spectra

DEVICES: Final = ("pdu1", "pdu2")


@dataclass(frozen=True)
class Rows:
    cycles: pa.RecordBatch
    spectra: pa.RecordBatch
    dropped: tuple[tuple[int, str], ...]


def message(
    number: int,
    time_us: int | None = None,
    *,
    numbered: bool = True,
    spectrum: bool = False,
    streams: Sequence[str] = STREAMS,
) -> bytes:
    """A message of all three streams; without `time_us` it carries the time that belongs to its number; 0: none."""
    told = START_US + number * PERIOD_US if time_us is None else time_us
    held = {"sequence": number if numbered else None, "time": told, "spectrum": spectrum, "streams": streams}
    return json.dumps(held).encode()


def decode(payloads: Sequence[bytes], devices: NDArray[np.int32], received_us: NDArray[np.int64], first: int) -> Rows:
    found: dict[str, list[dict[str, Any]]] = {"cycle": [], "spectrum": []}
    dropped = []
    for position, payload in enumerate(payloads):
        if not payload:
            dropped.append((position, Drop.MALFORMED))
            continue
        said = json.loads(payload)
        row = {
            "device": DEVICES[devices[position]],
            "sequence": said["sequence"],
            "time": said["time"] or int(received_us[position]),
            "received": int(received_us[position]),
            "message": first + position,
            "flags": 0 if said["time"] else int(Flag.TIME_ABSENT),
        }
        found["cycle"] += [{**row, "stream": stream} for stream in said["streams"]]
        if said["spectrum"]:
            found["spectrum"].append({**row, "stream": STREAMS[0]})
    return Rows(_coded(cycles(found["cycle"])), _coded(spectra(found["spectrum"])), tuple(dropped))


def _coded(rows: pa.RecordBatch) -> pa.RecordBatch:
    """With the device's code as a decoder gives it: its index in the list of devices."""
    codes = pa.array([DEVICES.index(name) for name in rows.column("device").to_pylist()], pa.int32())
    device = pa.DictionaryArray.from_arrays(codes, pa.array(DEVICES))
    return rows.set_column(rows.schema.get_field_index("device"), rows.schema.field("device"), device)
