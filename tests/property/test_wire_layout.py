"""Messages of one layout, read as a table: what protobuf's own parser says of each, also where one differs a little."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.adapters.wire.layout import FEWEST, MOST_LAYOUTS, MOST_TRIED, Layouts
from tests.payloads import RECEIVED_US, content, decode, expected, new_decoder, packed, part, real, varint, whole

thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOW_S = RECEIVED_US // 1_000_000
VALUES = ((2, (1, 2)), (3, (1, 2)), (4, (1, 2, 3, 4)))


def padded(number: int, length: int) -> bytes:
    """A number longer than it need be."""
    short = varint(number)
    return (
        short[:-1] + bytes([short[-1] | 0x80, *[0x80] * (length - len(short) - 1), 0]) if length > len(short) else short
    )


def channel(seconds: int, nanos: int, sequence: int, values: list[float], present: int, length: int) -> bytes:
    stamp = part(1, b"\x08" + varint(seconds), b"\x10" + padded(nanos, length))
    fields = [part(1, stamp, b"\x10" + padded(sequence, length))]
    for index, (field, numbers) in enumerate(VALUES):
        if present >> index & 1:
            fields.append(part(field, *(real(number, values[4 * index % 8 + number - 1]) for number in numbers)))
    return b"".join(fields)


@st.composite
def alike(draw: st.DrawFn) -> list[bytes]:
    """Messages of a layout or two: the same fields, numbers of the same length, or of another."""
    rows, both, present = draw(st.integers(1, 3)), draw(st.booleans()), draw(st.integers(0, 7))
    lengths = draw(st.sampled_from([(0,), (5,), (0, 5)]))
    payloads = []
    for number in range(draw(st.integers(FEWEST, 3 * FEWEST))):
        sequence = draw(st.sampled_from([5, 127, 128, 2**35 - 1])) + number
        nanos = draw(st.sampled_from([1000, 999_999_999, 2**28, 2**31 - 1, 2**31 + 5]))
        values = draw(st.lists(st.floats(width=32), min_size=8, max_size=8))
        other = sequence + draw(st.sampled_from([0, 0, 1]))
        length = draw(st.sampled_from(lengths))
        wrappers = []
        apart = draw(st.sampled_from([0, 0, 1]))  # whether its rows tell different sequence numbers and times
        without_b = draw(st.sampled_from([None, 0, 1]))
        for row in range(rows):
            sequence, other, nanos = sequence + apart, other + apart, nanos - apart
            a = part(1, channel(NOW_S, nanos, sequence, values, present, length))
            b = part(2, channel(NOW_S, nanos, other, values[::-1], 7, length)) if both and row != without_b else b""
            wrappers.append(part(1, part(1, b"stream%d" % row), part(2, a, b)))
        payloads.append(b"".join(wrappers))
    return payloads


@thorough
@given(alike(), st.data())
def test_a_table_holds_what_protobuf_reads(payloads: list[bytes], data: st.DataObject) -> None:
    decoder = new_decoder()
    assert content(decode(payloads, decoder)) == expected(payloads)
    # Now that the layouts are known: messages of which some differ in some bytes.
    changed = list(payloads)
    for _ in range(data.draw(st.integers(1, 6), label="changes")):
        index = data.draw(st.integers(0, len(changed) - 1))
        payload = bytearray(changed[index])
        at = data.draw(st.integers(0, len(payload) - 1)) if payload else 0
        kind = data.draw(st.sampled_from(["byte", "bit", "cut", "twice", "other"]))
        if kind == "byte" and payload:
            payload[at] = data.draw(st.integers(0, 255))
        elif kind == "bit" and payload:
            payload[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del payload[at : at + 1]
        elif kind == "twice":
            payload = payload + payload
        else:
            payload = bytearray(part(1, part(1, b"fft"), part(3, packed(2, [1.5]))))
        changed[index] = bytes(payload)
    assert content(decode(changed, decoder)) == expected(changed)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1))
def test_numbers_of_every_length_are_read_in_full(sequence: int, nanos: int) -> None:
    payloads = [
        part(1, part(1, b"s"), part(2, part(1, channel(NOW_S, nanos, sequence, [1.0] * 8, 7, 0))))
        for _ in range(FEWEST)
    ]
    tables, left = Layouts().read(payloads)
    assert left.tolist() == []
    assert tables[0].numbers[:, :, 0, 0].T.tolist() == [[NOW_S, nanos, sequence]] * FEWEST
    assert content(decode(payloads)) == expected(payloads)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        part(1),
        part(1, part(1, b"s")),
        part(1, part(1, b"\xff"), part(2, part(1, channel(NOW_S, 1, 1, [1.0] * 8, 7, 0)))),  # no UTF-8
        part(1, part(1, b"s"), part(2, part(2, channel(NOW_S, 1, 1, [1.0] * 8, 7, 0)))),  # no channel a
        part(1, part(1, b"s"), part(2, part(1, part(1, part(1, whole(1, NOW_S), whole(2, 5)))))),  # no sequence
        part(1, part(1, b"s"), part(2, part(1, part(1, whole(2, 5))))),  # no time
        part(1, part(1, b"s"), part(2, part(1, channel(2**40, 1, 1, [1.0] * 8, 7, 0)))),  # a time of a far future
        part(1, part(1, b"s"), part(2, part(1, channel(NOW_S, 1, 2**63, [1.0] * 8, 7, 0)))),  # a sequence too large
        part(1, part(1, b"s"), part(2, part(1, channel(NOW_S, 1, 1, [1.0] * 8, 7, 0), real(4, 1.0)))),
    ],
)
def test_what_is_not_ordinary_is_left_to_a_parser(payload: bytes) -> None:
    tables, left = Layouts().read([payload] * (2 * FEWEST))
    assert tables == []
    assert left.tolist() == list(range(2 * FEWEST))
    assert content(decode([payload] * (2 * FEWEST))) == expected([payload] * (2 * FEWEST))


def test_layouts_are_bounded() -> None:
    layouts = Layouts()
    for size in range(1, 2 * MOST_LAYOUTS):
        name = b"x" * size
        payload = part(1, part(1, name), part(2, part(1, channel(NOW_S, 1000, 1, [1.0] * 8, 7, 0))))
        tables, left = layouts.read([payload] * FEWEST)
        assert len(tables) == (1 if size <= MOST_LAYOUTS else 0)
        assert len(left) == (0 if tables else FEWEST)


def test_a_layout_is_learned_from_messages_that_come_few_at_a_time() -> None:
    layouts = Layouts()
    assert layouts.read([named(b"s")] * (FEWEST - 2))[0] == []
    for count in (FEWEST - 2, 1):
        (table,), left = layouts.read([named(b"s")] * count)
        assert (len(table.message), len(left)) == (count, 0)


def test_rare_messages_use_up_no_layouts() -> None:
    layouts = Layouts()
    for _ in range(2 * FEWEST):
        assert layouts.read([named(b"a"), named(b"bb"), named(b"ccc")])[0] == []


def test_what_was_unusual_is_not_taken_apart_again_and_again() -> None:
    layouts = Layouts()
    ordinary = named(b"s")
    assert layouts.read([b"\xff" * len(ordinary)] * FEWEST)[0] == []
    for _ in range(5):
        assert layouts.read([ordinary] * FEWEST)[0] == []
    for _ in range(5):
        layouts.read([ordinary] * FEWEST)
    (table,), left = layouts.read([ordinary] * FEWEST)
    assert (len(table.message), len(left)) == (FEWEST, 0)


def test_few_messages_are_tried_on_few_layouts() -> None:
    layouts = Layouts()
    payloads = [named(b"%02d" % number) for number in range(MOST_TRIED + 1)]
    for payload in payloads[:-1]:
        layouts.read([payload] * FEWEST)
    assert len(layouts.read(payloads[:1])[0]) == 1
    layouts.read(payloads[-1:] * FEWEST)
    assert layouts.read(payloads[:1])[1].tolist() == [0]
    assert len(layouts.read(payloads[:1] * FEWEST)[0]) == 1


def test_many_sizes_of_few_messages_are_left_to_a_parser() -> None:
    layouts = Layouts()
    payloads = [named(b"x" * number) for number in range(1, MOST_TRIED + 2)]
    for payload in payloads:
        layouts.read([payload] * FEWEST)
    assert len(layouts.read(payloads[1:])[0]) == MOST_TRIED
    assert layouts.read(payloads)[1].tolist() == list(range(MOST_TRIED + 1))
    assert len(layouts.read(payloads * FEWEST)[0]) == MOST_TRIED + 1


def named(name: bytes) -> bytes:
    return part(1, part(1, name), part(2, part(1, channel(NOW_S, 1000, 1, [1.0] * 8, 7, 0))))


def test_a_name_too_many_is_dropped_as_ever() -> None:
    payloads = [
        part(1, part(1, b"n%d" % (number // FEWEST)), part(2, part(1, channel(NOW_S, 1000, 1, [1.0] * 8, 7, 0))))
        for number in range(3 * FEWEST)
    ]
    decoded = decode(payloads, new_decoder(name_limit=2))
    assert decoded.dropped == tuple((position, "too_many_names") for position in range(2 * FEWEST, 3 * FEWEST))
    assert np.unique(decoded.cycles.column("message").to_numpy()).size == 2 * FEWEST


def test_names_that_are_expected_are_kept_whatever_came_before() -> None:
    payloads = [named(name) for name in (b"odd", b"n", b"odder", b"n")]
    decoded = decode(payloads, new_decoder(name_limit=1, expected=["n"]))
    assert decoded.dropped == ((2, "too_many_names"),)
    assert decoded.cycles.column("stream").to_pylist() == ["odd", "n", "n"]
