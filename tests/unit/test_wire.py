"""The wire format, case by case: what each payload means, what is dropped for which reason, topics, encoding."""

from __future__ import annotations

import struct

import numpy as np
import pyarrow as pa
import pytest

from pipeline.adapters import wire
from pipeline.core.model import CYCLE_SCHEMA, SPECTRUM_SCHEMA, STREAMS, VALUE_COLUMNS, Drop
from tests.payloads import (
    BOUND_US,
    FIRST_MESSAGE,
    RECEIVED_US,
    Row,
    content,
    decode,
    expected,
    new_decoder,
    packed,
    part,
    real,
    whole,
)
from utilidata.karman.bibimbap.v1 import bibimbap_pb2 as pb

NOW_S = RECEIVED_US // 1_000_000


def time(seconds: int = NOW_S, nanos: int = 0) -> bytes:
    return part(1, whole(1, seconds), whole(2, nanos))


def stamp(*times: bytes, sequence: int = 7) -> bytes:
    return part(1, *times, whole(2, sequence))


def wrapper(*products: bytes, name: str = STREAMS[0]) -> bytes:
    return part(1, part(1, name.encode()), *products)


def cycle(*phase_a: bytes, name: str = STREAMS[0]) -> bytes:
    return wrapper(part(2, part(1, *phase_a)), name=name)


NEW = whole(15, 1) + part(1000, b"new") + b"\x7b\x7c"
POWER = part(4, real(1, 5.0))
GOOD = cycle(stamp(time()), POWER)
FFT = wrapper(part(3, stamp(time()), packed(2, [1.0, 0.5]), packed(3, [0.25])))


def test_a_whole_message() -> None:
    """The one test whose numbers are not protobuf's: written down by hand."""
    phase_a = stamp(time(nanos=1_234_567), sequence=9)
    phase_a += part(2, real(1, 120.5), real(2, -0.5)) + part(3, real(1, 8.25), real(2, 0.25))
    phase_a += part(4, real(1, 900.0), real(2, 994.0), real(3, -12.5), real(4, 0.875))
    phase_b = part(2, real(1, 0.0)) + part(4)  # an explicit zero, everything else absent
    decoded = decode([wrapper(part(2, part(1, phase_a), part(2, phase_b)), name="threephase/karman2"), FFT])
    assert decoded.dropped == ()
    assert decoded.cycles.schema.equals(CYCLE_SCHEMA, check_metadata=True)
    assert decoded.spectra.schema.equals(SPECTRUM_SCHEMA, check_metadata=True)
    (row,) = decoded.cycles.to_pylist()
    assert [row[column] for column in VALUE_COLUMNS] == [
        *(120.5, -0.5, 8.25, 0.25, 900.0, 994.0, -12.5, 0.875),
        *(0.0, None, None, None, None, None, None, None),
    ]
    assert (row["stream"], row["sequence"], row["flags"]) == ("threephase/karman2", 9, 0)
    assert row["time"].timestamp() == NOW_S + 0.001234
    (spectrum,) = decoded.spectra.to_pylist()
    assert (spectrum["magnitude"], spectrum["phase"], spectrum["message"]) == ([1.0, 0.5], [0.25], FIRST_MESSAGE + 1)


CASES = {
    "nothing": b"",
    "an empty wrapper": part(1),
    "a name alone": wrapper(),
    "empty calculations": wrapper(part(2)),
    "an empty channel": cycle(),
    "an empty fft": wrapper(part(3)),
    "three wrappers and an fft": b"".join(cycle(POWER, name=name) for name in STREAMS) + FFT,
    "no name": part(1, part(2)),
    "a name that PostgreSQL cannot hold": cycle(POWER, name="a\0b\0"),
    "a long name": cycle(POWER, name="ö" * 256),
    "a name that is not UTF-8": part(1, part(1, b"\xed\xa0\x80"), part(2)),
    # of both members of the oneof the last counts, and what came before it is forgotten
    "calculations, then fft": wrapper(part(2, part(1, POWER)), part(3)),
    "fft, then calculations": wrapper(part(3, packed(2, [1.0])), part(2, part(1, POWER))),
    "calculations, fft, calculations": wrapper(part(2, part(1, POWER)), part(3), part(2, part(2, POWER))),
    # what is sent in pieces is merged
    "calculations in pieces": wrapper(part(2, part(1, POWER)), part(2, part(1, part(4, real(2, 6.0))), part(2))),
    "powers in pieces": cycle(POWER, part(4, real(2, 6.0), real(1, 7.0)), stamp(time()), part(1, whole(2, 8))),
    "a time in pieces": cycle(part(1, part(1, whole(1, NOW_S)), part(1, whole(2, 5_000)))),
    "a time and an empty one": cycle(stamp(time(), part(1))),
    "bins packed and not": wrapper(part(3, real(2, 1.0), packed(2, [2.0, 3.0]), packed(2, []), real(2, 4.0))),
    "NaN and infinities": cycle(part(4, *(real(1 + n, x) for n, x in enumerate([np.nan, np.inf, -np.inf, -0.0])))),
    # time
    "no time": cycle(POWER),
    "a time of nothing, 1970": cycle(stamp(part(1))),
    "before 1970": cycle(stamp(time(-5, 3))),
    "the last time within the bound": cycle(stamp(time(NOW_S + BOUND_US // 10**6))),
    "the first time beyond": cycle(stamp(time(NOW_S + BOUND_US // 10**6, 1_000))),
    "the first time within": cycle(stamp(time(NOW_S - BOUND_US // 10**6))),
    "the last time before": cycle(stamp(time(NOW_S - BOUND_US // 10**6 - 1, 999_999_000))),
    "the greatest time": cycle(stamp(time(2**63 - 1, 2**31 - 1))),
    "the least time": cycle(stamp(time(-(2**63), -(2**31)))),
    "a time whose microseconds overflow to now": cycle(stamp(time(NOW_S + 2**58))),
    "a time whose nanoseconds overflow to now": cycle(stamp(time(NOW_S + 2**55))),
    "channels of two times": wrapper(part(2, part(2, stamp(time(NOW_S + 1))), part(1, stamp(time())))),
    "channels of two sequences": wrapper(part(2, part(1, stamp(sequence=1)), part(2, stamp(sequence=2**64 - 1)))),
    "the time of one, the sequence of the other": wrapper(
        part(2, part(1, part(1, whole(2, 3))), part(2, part(1, time())))
    ),
    # sequence
    "the greatest sequence that is kept": cycle(stamp(sequence=2**63 - 1)),
    "one more": cycle(stamp(sequence=2**63)),
    "the greatest sequence": FFT + cycle(stamp(sequence=2**64 - 1)),
    "the greatest sequence of an fft": cycle(stamp()) + wrapper(part(3, stamp(sequence=2**64 - 1))),
    # what a later version may add, at every level
    "unknown fields": NEW
    + part(1, NEW, part(2, NEW, part(1, NEW, part(4, NEW, real(1, 5.0)), part(1, NEW, part(1, NEW, whole(1, NOW_S)))))),
    "known fields of another type": whole(1, 5) + cycle(part(4, whole(1, 5), real(2, 1.0)), real(1, 1.0)),
    "a field 0 in an unknown group": GOOD + b"\x7b\x00\x00\x7c",  # which protobuf keeps without looking into it
    "numbers longer than they need be": b"\x8a\x80\x00" + GOOD[1:],
    # what protobuf refuses
    "cut off": GOOD[:-1],
    "a number of eleven bytes": cycle(part(1, whole(2, 0)[:-1] + b"\xff" * 10 + b"\x01")),
    "field 0": GOOD + b"\x02\x00",
    "an unknown wire type": GOOD + b"\x7e",
    "a field number that is too large": GOOD + whole(2**29, 1),
    "bins of three bytes": wrapper(part(3, part(2, b"abc"))),
    "the end of another group": GOOD + b"\x7b\x74",
    "the end of no group": GOOD + b"\x7c",
    "groups a thousand deep": GOOD + b"\x7b" * 1000 + b"\x7c" * 1000,
    "a group without end": GOOD + b"\x7b",
}


@pytest.mark.parametrize("payload", CASES.values(), ids=CASES.keys())
def test_it_means_what_protobuf_says(payload: bytes) -> None:
    for batch in ([payload], [GOOD, payload, FFT], [b"\xff", payload, GOOD]):
        assert content(decode(batch)) == expected(batch)


def test_a_batch_of_nothing() -> None:
    decoded = decode([])
    assert (decoded.cycles.num_rows, decoded.spectra.num_rows, decoded.dropped) == (0, 0, ())
    assert decode([b"\xff", b""]).dropped == ((0, Drop.MALFORMED), (1, Drop.EMPTY))


def test_names_are_bounded_and_a_known_one_is_always_taken() -> None:
    decoder = new_decoder(name_limit=2)
    x, y, z = (cycle(POWER, name=name) for name in "xyz")
    first = decode([x, y + z, z, x + x], decoder)
    assert first.cycles.column("stream").to_pylist() == ["x", "x", "x"]
    assert first.dropped == ((1, Drop.NAME_LIMIT), (2, Drop.NAME_LIMIT))
    second = decode([z, y, FFT], decoder)
    assert second.cycles.column("stream").to_pylist() == ["y"]
    assert second.dropped == ((0, Drop.NAME_LIMIT), (2, Drop.NAME_LIMIT))


def test_a_name_that_no_index_could_hold_costs_its_messages_and_no_other() -> None:
    long, longest = cycle(POWER, name="x" * 257), cycle(POWER, name="y" * 256)
    assert decode([cycle(POWER, name="ö" * 100_000)]).dropped == ((0, Drop.NAME_LIMIT),)
    decoded = decode([GOOD, long, longest, GOOD + long])
    assert decoded.dropped == ((1, Drop.NAME_LIMIT), (3, Drop.NAME_LIMIT))
    assert "y" * 256 in decoded.cycles.column("stream").to_pylist()


def test_what_stands_behind_a_topic_and_cannot_be_used_belongs_to_a_longer_topic() -> None:
    payloads = [b"-2" + GOOD, b"-2", b"", GOOD[:-1], part(1), GOOD, b"\x78\x01" + GOOD]
    reasons = [Drop.OTHER_TOPIC, Drop.OTHER_TOPIC, Drop.OTHER_TOPIC, Drop.MALFORMED, Drop.EMPTY]
    assert decode(payloads, new_decoder(b"power")).dropped == tuple(enumerate(reasons))
    reasons = [Drop.MALFORMED, Drop.MALFORMED, Drop.EMPTY, Drop.MALFORMED, Drop.EMPTY]
    assert decode(payloads, new_decoder(b"")).dropped == tuple(enumerate(reasons))
    assert wire.drop_reason(b"-2", b"power", Drop.SEQUENCE_RANGE) == Drop.SEQUENCE_RANGE


@pytest.mark.parametrize("topic", [b"", b"cycle-aligned", "Zähler".encode(), b"a\nb\n\n", b"x" * 255])
def test_find_topic(topic: bytes) -> None:
    assert wire.find_topic([topic + GOOD + FFT]) == topic
    assert wire.find_topic([topic, GOOD + FFT]) == topic
    assert wire.find_topic([topic]) is None
    assert wire.find_topic([topic, b"\x0a\xff"]) is None
    assert wire.find_topic([topic + b"\x0a\xff"]) is None


def test_find_topic_looks_only_so_far() -> None:
    assert wire.find_topic([b"x" * 256 + GOOD]) is None


def to_encode(*rows: Row) -> pa.RecordBatch:
    empty = dict.fromkeys(CYCLE_SCHEMA.names)
    fields = [field.with_nullable(True) for field in CYCLE_SCHEMA]
    return pa.RecordBatch.from_pylist([empty | {"stream": "s", "message": 0} | row for row in rows], pa.schema(fields))


def test_encoding_leaves_out_what_is_not_known() -> None:
    (payload,) = wire.encode(
        to_encode(
            {"time": RECEIVED_US, "sequence": 3, "b_rms_current_a": 0.0},
            {"time": RECEIVED_US, "sequence": 3, "a_power_factor": float("nan")},
            {"a_rms_voltage_v": 1.0},
        )
    )
    first, second, third = pb.CompositeJoinedCalculations.FromString(payload).calculations
    assert [field.name for field, _ in first.calculations.ListFields()] == ["phase_b"]
    assert first.calculations.phase_b.current_waveform_calculations_a.SerializeToString() == real(1, 0.0)
    assert first.calculations.phase_b.provenance == pb.Provenance(
        utc_time={"seconds": NOW_S}, generic_sequence_number=3
    )
    assert struct.pack("<f", second.calculations.phase_a.power_calculations.power_factor) == struct.pack("<f", np.nan)
    assert third.calculations.phase_a.provenance.ListFields() == []
    assert {wrapper.WhichOneof("data_product") for wrapper in (first, second, third)} == {"calculations"}


def test_rows_of_one_message_stay_together() -> None:
    rows = [{"message": message, "a_real_power_w": float(n)} for n, message in enumerate([4, 4, 5, 9, 9, 9, 4])]
    frames = to_encode(*rows)
    counts = [len(pb.CompositeJoinedCalculations.FromString(p).calculations) for p in wire.encode(frames)]
    assert counts == [2, 1, 3, 1]
    assert wire.encode(frames.slice(2, 4)) == wire.encode(frames)[1:3]
    assert wire.encode(frames.slice(0, 0)) == []


@pytest.mark.parametrize("time_us", [-1, -1_000_000, -1_500_000, 0, 253_402_300_799_999_999])
def test_a_time_is_encoded_with_nanoseconds_that_are_not_negative(time_us: int) -> None:
    (payload,) = wire.encode(to_encode({"time": time_us, "a_rms_voltage_v": 1.0}))
    sent = pb.CompositeJoinedCalculations.FromString(payload).calculations[0].calculations.phase_a.provenance.utc_time
    assert (sent.seconds, sent.nanos) == (time_us // 1_000_000, time_us % 1_000_000 * 1000)


def test_the_straightforward_way_reads_the_same() -> None:
    """What the benchmark compares with is at work on the same figures."""
    (payload,) = wire.encode(
        to_encode({"time": RECEIVED_US, "sequence": 3, "a_rms_voltage_v": 1.0, "b_real_power_w": 2})
    )
    assert wire.by_attributes(payload) == [
        ("s", RECEIVED_US, 3, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        ("s", RECEIVED_US, 3, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0),
    ]
