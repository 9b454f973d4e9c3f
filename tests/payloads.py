"""Payloads written byte by byte, and what protobuf's own parser says that they hold: the oracle of the wire tests."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from pipeline.adapters.wire import Decoded, Decoder
from pipeline.core.model import CHANNELS, Drop, Flag, value_columns
from utilidata.karman.bibimbap.v1 import bibimbap_pb2 as pb

DEVICES = ("pdu1", "pdu2")  # payload n comes from device n % 2, n * 10 us after the first
RECEIVED_US = 1_800_000_000_000_000
BOUND_US = 300_000_000
FIRST_MESSAGE = 40

Row = dict[str, Any]
Content = tuple[list[Row], list[Row], list[tuple[int, str]]]  # (cycles, spectra, dropped)


def varint(number: int) -> bytes:
    number &= 2**64 - 1
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def whole(field: int, number: int) -> bytes:
    return varint(field << 3) + varint(number)


def part(field: int, *content: bytes) -> bytes:
    body = b"".join(content)
    return varint(field << 3 | 2) + varint(len(body)) + body


def real(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def packed(field: int, values: Sequence[float]) -> bytes:
    return part(field, struct.pack(f"<{len(values)}f", *values))


def new_decoder(topic: bytes = b"", name_limit: int = 256, expected: Sequence[str] = ()) -> Decoder:
    return Decoder(DEVICES, [topic] * len(DEVICES), BOUND_US, name_limit, expected)


def decode(payloads: Sequence[bytes], decoder: Decoder | None = None, first: int = 0) -> Decoded:
    """Decode payloads `first`, `first` + 1 ..."""
    position = first + np.arange(len(payloads))
    devices = (position % len(DEVICES)).astype(np.int32)
    return (decoder or new_decoder()).decode(payloads, devices, RECEIVED_US + 10 * position, FIRST_MESSAGE + first)


def content(*decoded: Decoded) -> Content:
    """What was decoded, in the oracle's terms."""
    return (
        [row for one in decoded for row in rows_of(one.cycles)],
        [row for one in decoded for row in rows_of(one.spectra)],
        [drop for one in decoded for drop in one.dropped],
    )


def rows_of(batch: pa.RecordBatch) -> list[Row]:
    """Rows as plain values, times in microseconds, floats as their four bytes: so that NaN equals NaN, 0 not -0."""
    batch.validate(full=True)
    columns = {}
    for field in batch.schema:
        column = batch.column(field.name)
        assert field.nullable or column.null_count == 0
        if pa.types.is_timestamp(field.type):
            column = column.view(pa.int64())
        columns[field.name] = [bits(value) for value in column.to_pylist()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def bits(value: Any) -> Any:
    if isinstance(value, list):
        return [bits(item) for item in value]
    return struct.pack("<f", value) if isinstance(value, float) else value


def expected(payloads: Sequence[bytes]) -> Content:
    """What `decode` must make of these payloads, for a decoder without a topic."""
    cycles: list[Row] = []
    spectra: list[Row] = []
    dropped = []
    for position, payload in enumerate(payloads):
        try:
            wrappers = pb.CompositeJoinedCalculations.FromString(payload).calculations
        except DecodeError:
            dropped.append((position, Drop.MALFORMED))
            continue
        found = [(wrapper.WhichOneof("data_product"), _row(wrapper, position)) for wrapper in wrappers]
        if not any(product for product, _ in found):
            dropped.append((position, Drop.EMPTY))
        elif any(product and (row["sequence"] or 0) >= 2**63 for product, row in found):
            dropped.append((position, Drop.SEQUENCE_RANGE))
        else:
            cycles += [row for product, row in found if product == "calculations"]
            spectra += [row for product, row in found if product == "fft"]
    return cycles, spectra, dropped


def _row(wrapper: pb.CompositeJoinedCalculationsWrapper, position: int) -> Row:
    phases = [wrapper.calculations.phase_a, wrapper.calculations.phase_b]
    is_fft = wrapper.WhichOneof("data_product") == "fft"
    provenances = [one.provenance for one in ([wrapper.fft] if is_fft else phases)]
    times_us = [_microseconds(one.utc_time) for one in provenances if one.HasField("utc_time")]
    sequences = [one.generic_sequence_number for one in provenances if one.HasField("generic_sequence_number")]
    received_us = RECEIVED_US + 10 * position
    usable = bool(times_us) and abs(times_us[0] - received_us) <= BOUND_US
    flags = 0 if usable else Flag.TIME_IMPLAUSIBLE if times_us else Flag.TIME_ABSENT
    if len(set(times_us)) > 1 or len(set(sequences)) > 1:
        flags |= Flag.PROVENANCE_DIFFERS
    row: Row = {
        "time": times_us[0] if usable else received_us,
        "received": received_us,
        "device": DEVICES[position % len(DEVICES)],
        "stream": wrapper.calculation_name.replace("\0", "\ufffd"),
        "sequence": sequences[0] if sequences else None,
        "message": FIRST_MESSAGE + position,
        "flags": int(flags),
    }
    if is_fft:
        return row | {"magnitude": bits(list(wrapper.fft.magnitude)), "phase": bits(list(wrapper.fft.phase))}
    for channel, phase in zip(CHANNELS, phases, strict=True):
        row |= zip(value_columns(channel), _values(phase), strict=True)
    return row


def _microseconds(stamp: Any) -> int:
    """Toward zero, which only shows where nanos are negative, against their specification; kept within 64 bits."""
    return max(-(2**63), min(2**63 - 1, stamp.seconds * 1_000_000 + int(stamp.nanos / 1000)))


def _values(phase: pb.CompositeCalculations) -> list[bytes | None]:
    voltage, current = phase.voltage_waveform_calculations_v, phase.current_waveform_calculations_a
    waves = [(wave, name) for wave in (voltage, current) for name in ("rms", "dc_offset")]
    powers = [
        (phase.power_calculations, name)
        for name in ("real_power_w", "apparent_power_va", "reactive_power_var", "power_factor")
    ]
    return [bits(getattr(figures, name)) if figures.HasField(name) else None for figures, name in waves + powers]
