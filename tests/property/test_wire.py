"""The decoder against protobuf's own parser, on everything that may be on the wire; the encoder against both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.adapters import wire
from pipeline.core.model import STREAMS, TIMESTAMP, VALUE_COLUMNS, Flag
from tests.payloads import (
    FIRST_MESSAGE,
    RECEIVED_US,
    content,
    decode,
    expected,
    new_decoder,
    packed,
    part,
    real,
    rows_of,
    whole,
)

Chunks = st.SearchStrategy[bytes]
thorough = settings(
    max_examples=150, deadline=None, report_multiple_bugs=False, suppress_health_check=[HealthCheck.too_slow]
)

floats = st.floats(width=32)
ODD_BITS = [0, 0x8000_0000, 0x7F80_0000, 0x7FA0_0001, 0xFFC0_0000, 1]  # zeros, infinity, NaNs, the smallest
# Fields of a later version, and known numbers in a wire type that is not theirs: both mean nothing to a parser.
unknown = st.sampled_from(
    [
        *(whole(15, 2**64 - 1), part(99, b"from the future"), part(536_870_911), real(33, 1.5), b"\x79" + bytes(8)),
        *(whole(1, 7), whole(3, 0), part(1), real(1, 2.5)),
        b"\x7b" + whole(1, 5) + b"\x83\x01\x84\x01\x7c",  # a group in a group
    ]
)


def message(*fields: Chunks, most: int = 4) -> Chunks:
    """A message of any of these fields, in any order, each absent, once or repeatedly; `unknown` holds an empty one."""
    return st.lists(st.one_of(*fields, unknown), min_size=1, max_size=most).map(b"".join)


def field(write: Callable[[int, Any], bytes], number: int, value: st.SearchStrategy[Any]) -> Chunks:
    return value.map(lambda content: write(number, content))


def reals(*numbers: int) -> Chunks:
    return st.one_of(*(field(real, number, floats) for number in numbers))


now_s = RECEIVED_US // 1_000_000
seconds = st.sampled_from([now_s, now_s - 300, now_s + 301, now_s + 2**55, now_s + 2**58, 0]) | st.integers(
    -(2**63), 2**63 - 1
)
sequences = st.integers(0, 9) | st.integers(0, 2**63) | st.sampled_from([0, 2**63 - 1, 2**64 - 1])
names = st.sampled_from([*STREAMS, "", "\0", "phase\0a", "ф" * 256]) | st.text(max_size=8)
time = message(field(whole, 1, seconds), field(whole, 2, st.integers(0, 999_999_999)), most=3)
provenance = field(part, 1, message(field(part, 1, time), field(whole, 2, sequences), most=3))
waveform = message(reals(1, 2))
composite = message(
    provenance, field(part, 2, waveform), field(part, 3, waveform), field(part, 4, message(reals(1, 2, 3, 4), most=6))
)
bins = [write for number in (2, 3) for write in (field(packed, number, st.lists(floats, max_size=4)), reals(number))]
calculations = field(part, 2, message(field(part, 1, composite), field(part, 2, composite)))
fft = field(part, 3, message(provenance, *bins))
name = field(part, 1, names.map(str.encode))
wrapper = st.tuples(
    message(name, most=2), calculations | fft, st.just(b"") | message(name, calculations, fft, most=2)
).map(b"".join)
payloads = message(field(part, 1, wrapper), most=3)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A payload in which bits were flipped, bytes put in, or the end cut off."""
    data = bytearray(draw(payloads))
    for kind in draw(st.lists(st.sampled_from(["flip", "flip", "flip", "insert", "cut"]), min_size=1, max_size=2)):
        position = draw(st.integers(0, len(data)))
        if kind == "cut":
            del data[position:]
        elif kind == "insert":
            data[position:position] = draw(st.binary(min_size=1, max_size=4))
        elif position < len(data):
            data[position] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


def check(batch: list[bytes]) -> None:
    wanted = expected(batch)
    assert content(decode(batch)) == wanted
    decoder = new_decoder()
    one_by_one = [decode([payload], decoder, position) for position, payload in enumerate(batch)]
    cycles, spectra, dropped = content(*one_by_one)
    reasons = [reason for one in one_by_one for _, reason in one.dropped]
    assert (cycles, spectra, len(dropped), reasons) == (
        *wanted[:2],
        len(wanted[2]),
        [reason for _, reason in wanted[2]],
    )


@thorough
@given(st.lists(payloads, max_size=3))
def test_every_row_is_what_protobuf_says(batch: list[bytes]) -> None:
    check(batch)


@thorough
@given(st.lists(payloads | damaged() | st.binary(max_size=20), max_size=5))
def test_bad_payloads_are_counted_and_leave_the_good_ones_alone(batch: list[bytes]) -> None:
    check(batch)


@st.composite
def frames(draw: st.DrawFn) -> pa.RecordBatch:
    """Rows as a replay encodes them: any bits in the values, any of them null, messages of one or more rows."""
    count = draw(st.integers(0, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    shape = (len(VALUE_COLUMNS), count)
    bits = np.where(random.random(shape) < 0.2, random.choice(ODD_BITS, shape), random.integers(0, 2**32, shape))
    values = bits.astype(np.uint32).view(np.float32)
    absent = random.random(shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    absent[8:] |= draw(st.booleans())  # no channel b
    times_us = st.integers(-5, 10**6).map(lambda after: RECEIVED_US + after)
    columns: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
        (TIMESTAMP, st.none() | times_us),
        (pa.string(), names.map(lambda sent: sent.replace("\0", "\ufffd"))),
        (pa.int64(), st.none() | st.integers(0, 2**63 - 1)),
    ]
    keys = [pa.array(draw(st.lists(some, min_size=count, max_size=count)), kind) for kind, some in columns]
    steps = draw(st.lists(st.sampled_from([0, 1, 5]), min_size=count, max_size=count))
    return pa.RecordBatch.from_arrays(
        [
            *keys,
            pa.array(np.cumsum(steps, dtype=np.int64)),
            *(pa.array(column, mask=mask) for column, mask in zip(values, absent, strict=True)),
        ],
        names=["time", "stream", "sequence", "message", *VALUE_COLUMNS],
    ).slice(draw(st.integers(0, 2)))


@thorough
@given(frames())
def test_what_is_encoded_comes_back_to_the_bit(rows: pa.RecordBatch) -> None:
    encoded = wire.encode(rows)
    decoded = decode(encoded)
    assert decoded.dropped == ()
    assert len(decoded.cycles) == len(rows)
    for column in VALUE_COLUMNS:
        sent, got = rows.column(column), decoded.cycles.column(column)
        assert got.is_null().equals(sent.is_null())
        np.testing.assert_array_equal(raw(got), raw(sent))

    message_of_row = np.cumsum(np.diff(rows.column("message").to_numpy(), prepend=-1) != 0) - 1
    wanted = rows_of(rows)
    for row, position in zip(wanted, message_of_row.tolist(), strict=True):
        silent = all(row[column] is None for column in VALUE_COLUMNS)  # has no channel, so nowhere to say when
        row["message"] = FIRST_MESSAGE + position
        row["flags"] = int(Flag.TIME_ABSENT if silent or row["time"] is None else 0)
        row["time"] = RECEIVED_US + 10 * position if row["flags"] else row["time"]
        row["sequence"] = None if silent else row["sequence"]
    by_protobuf, _, _ = expected(encoded)
    for got in (by_protobuf, rows_of(decoded.cycles)):
        assert [{key: row[key] for key in wanted[0]} for row in got] == wanted


def raw(column: pa.Array) -> np.ndarray:
    return np.asarray(column.fill_null(0.0).to_numpy()).view(np.uint32)
