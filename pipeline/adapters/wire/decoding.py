"""Payloads to Arrow rows.

Payloads of a layout that is known are read by `layout`, in a fifth of the time. The others of a batch are parsed by
protobuf in one call, as the repeated field of an outer message, and written again; what it means is then canonical, and
ptars turns it into columns. ptars alone would be faster by 1 us a message, but takes some of what protobuf refuses, and
does not merge what comes in pieces. Where one payload fails the batch, each is parsed alone.

Must not know: sockets, and what a sequence gap means.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pipeline.adapters.wire.layout import NANOS, SEQUENCE, TIME, Layouts, Table
from pipeline.adapters.wire.schema import BATCH, BATCH_HANDLER, MESSAGE
from pipeline.core import timing
from pipeline.core.intake import concatenate
from pipeline.core.model import CYCLE_SCHEMA, SPECTRUM_SCHEMA, TIMESTAMP, VALUE_COLUMNS, Drop, Flag

_MAX_SEQUENCE: Final = 2**63 - 1
LONGEST_NAME: Final = 256  # characters of a calculation name; PostgreSQL's index of names ends at some 2,700 bytes

# Where a channel's eight values stand inside its CompositeCalculations, in the order of `model.QUANTITIES`.
_VALUE_PATHS: Final = ((1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2), (3, 3))


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a batch of payloads held."""

    cycles: pa.RecordBatch  # CYCLE_SCHEMA
    spectra: pa.RecordBatch  # SPECTRUM_SCHEMA
    dropped: tuple[tuple[int, str], ...]  # (position in the batch, a reason of `Drop`)


@dataclass(frozen=True, slots=True)
class _Arrivals:
    """Where and when each payload of a batch came in."""

    devices: NDArray[np.int32]
    received_us: NDArray[np.int64]
    ordinals: NDArray[np.int64]

    def at(self, index: NDArray[np.int64]) -> _Arrivals:
        """Some of them."""
        return _Arrivals(self.devices[index], self.received_us[index], self.ordinals[index])


class Decoder:
    """Decodes payloads of a fixed list of devices; keeps the calculation names that it has seen.

    Args:
        devices: the names behind the device indices.
        topics: the topic of each, which tells whose a payload is that cannot be used.
        time_bound_us: see `timing.settle`.
        name_limit: distinct calculation names kept; names come from outside, so their number must be bounded.
        expected: names that are kept beyond it, whatever other devices have sent.
    """

    def __init__(
        self,
        devices: Sequence[str],
        topics: Sequence[bytes],
        time_bound_us: int,
        name_limit: int,
        expected: Collection[str] = (),
    ) -> None:
        self._devices = pa.array(devices, pa.string())
        self._topics = tuple(topics)
        self._time_bound_us = time_bound_us
        self._name_limit = name_limit
        self._expected = frozenset(expected)
        self._names: dict[str, int] = {}
        self._layouts = Layouts()

    def decode(
        self,
        payloads: Sequence[bytes],
        devices: NDArray[np.int32],
        received_us: NDArray[np.int64],
        first_message: int,
    ) -> Decoded:
        """Decode a batch. Never raises for what is in a payload: what cannot be used is in `dropped`.

        Args:
            payloads: n payloads, topic already removed.
            devices: index into the device list, shape (n,).
            received_us: arrival of each, microseconds since the epoch, shape (n,).
            first_message: ordinal of the first payload; the others count on from it.
        """
        arrivals = _Arrivals(devices, received_us, first_message + np.arange(len(payloads)))
        found, left = self._layouts.read(payloads)
        tables = []
        for table in found:
            if min(self._name_index(name) for name in table.layout.streams) < 0:
                left = np.sort(np.append(left, table.message))  # the parser's way says what is dropped
            else:
                tables.append(table)
        if not tables:
            return self._parsed(payloads, arrivals)
        cycles = self._tabled(tables, arrivals)
        if len(left) == 0:
            return Decoded(cycles, _EMPTY[2], ())
        parsed = self._parsed([payloads[index] for index in left.tolist()], arrivals.at(left))
        if parsed.cycles.num_rows:
            cycles = concatenate([cycles, parsed.cycles], CYCLE_SCHEMA)
            cycles = cycles.take(pa.array(np.argsort(cycles.column("message").to_numpy(), kind="stable")))
        return Decoded(cycles, parsed.spectra, tuple((int(left[index]), reason) for index, reason in parsed.dropped))

    def _tabled(self, tables: Sequence[Table], arrivals: _Arrivals) -> pa.RecordBatch:
        """The rows of messages of known layouts."""
        streams = [np.array([self._name_index(name) for name in table.layout.streams], np.int32) for table in tables]
        message = _end_to_end([np.repeat(t.message, len(s)) for t, s in zip(tables, streams, strict=True)])
        stream = _end_to_end([np.tile(s, len(t.message)) for t, s in zip(tables, streams, strict=True)])
        numbers = _end_to_end([table.numbers.reshape(3, -1, 2) for table in tables], axis=1)
        floats = _end_to_end([table.floats.reshape(-1, len(VALUE_COLUMNS)) for table in tables])
        both = _end_to_end([np.tile(t.layout.both, len(t.message)) for t in tables])
        absent = _end_to_end([np.tile(t.layout.floats < 0, (len(t.message), 1)) for t in tables])
        if len(tables) > 1:
            order = np.argsort(message, kind="stable")
            message, stream, both = message[order], stream[order], both[order]
            floats, absent = (rows.take(order, axis=0) for rows in (floats, absent))
            numbers = numbers.take(order, axis=1)
        times_us = numbers[TIME] * 1_000_000 + numbers[NANOS] // 1000
        sequences = numbers[SEQUENCE]
        differs = both & ((times_us[:, 0] != times_us[:, 1]) | (sequences[:, 0] != sequences[:, 1]))
        provenance = (pa.array(times_us[:, 0]).view(TIMESTAMP), pa.array(sequences[:, 0]), differs)
        values = []
        for column in range(len(VALUE_COLUMNS)):
            gaps = absent[:, column]
            if not gaps.any():
                values.append(pa.array(floats[:, column]))
            elif gaps.all():
                values.append(pa.nulls(len(gaps), pa.float32()))
            else:
                values.append(pa.array(floats[:, column], mask=gaps))
        keys = self._keys(provenance, message, stream, arrivals)
        return pa.RecordBatch.from_arrays(keys + values, schema=CYCLE_SCHEMA)

    def _parsed(self, payloads: Sequence[bytes], arrivals: _Arrivals) -> Decoded:
        """What is in any payloads."""
        dropped: dict[int, str] = {}
        wrappers, message = _parse(payloads, dropped)
        stream = self._name_indices(_member(wrappers, 0), message, dropped)
        cycles, cycle_rows = self._product(wrappers, 1, message, stream, arrivals, dropped)
        spectra, spectrum_rows = self._product(wrappers, 2, message, stream, arrivals, dropped)
        useful = np.zeros(len(payloads), bool)
        for rows in (cycle_rows, spectrum_rows):
            useful[message[rows]] = True
        for position in np.flatnonzero(~useful):
            dropped.setdefault(int(position), Drop.EMPTY)
        if dropped:
            useful[list(dropped)] = False
            cycles = cycles.filter(pa.array(useful[message[cycle_rows]]))
            spectra = spectra.filter(pa.array(useful[message[spectrum_rows]]))
        reasons = [
            (position, drop_reason(payloads[position], self._topics[arrivals.devices[position]], reason))
            for position, reason in sorted(dropped.items())
        ]
        return Decoded(cycles, spectra, tuple(reasons))

    def _product(
        self,
        wrappers: pa.StructArray,
        member: int,
        message: NDArray[np.int64],
        stream: NDArray[np.int32],
        arrivals: _Arrivals,
        dropped: dict[int, str],
    ) -> tuple[pa.RecordBatch, NDArray[np.intp]]:
        """The rows of one member of the oneof, and which wrappers they are."""
        data, schema, columns = _member(wrappers, member), *_PRODUCTS[member]
        rows = np.flatnonzero(_valid(data))
        if len(rows) == 0:
            return _EMPTY[member], rows
        if len(rows) < len(data):
            data = data.take(pa.array(rows))
        provenance = _provenances(data)
        for row in np.flatnonzero(_numbers(provenance[1]) > _MAX_SEQUENCE):
            dropped.setdefault(int(message[rows[row]]), Drop.SEQUENCE_RANGE)
        keys = self._keys(provenance, message[rows], stream[rows], arrivals)
        return pa.RecordBatch.from_arrays(keys + columns(data), schema=schema), rows

    def _name_indices(self, names: pa.Array, message: NDArray[np.int64], dropped: dict[int, str]) -> NDArray[np.int32]:
        encoded = (names if names.null_count == 0 else pc.fill_null(names, "")).dictionary_encode()
        table = np.empty(len(encoded.dictionary), np.int32)
        for position, sent in enumerate(encoded.dictionary.to_pylist()):
            table[position] = self._name_index(sent)
        indices = table[encoded.indices.to_numpy()]
        for row in np.flatnonzero(indices < 0):
            dropped.setdefault(int(message[row]), Drop.NAME_LIMIT)
        return indices

    def _name_index(self, sent: str) -> int:
        """The index of a name, -1 if it is too long or there are too many."""
        name = sent.replace("\0", "\ufffd")  # the one character that PostgreSQL's text cannot hold
        room = len(self._names) < self._name_limit or name in self._expected
        if name not in self._names and room and len(name) <= LONGEST_NAME:
            self._names[name] = len(self._names)
        return self._names.get(name, -1)

    def _keys(
        self,
        provenance: tuple[pa.Array, pa.Array, NDArray[np.bool_]],
        message: NDArray[np.int64],
        stream: NDArray[np.int32],
        arrivals: _Arrivals,
    ) -> list[pa.Array]:
        utc_time, sequence, differs = provenance
        received = arrivals.received_us[message]
        device_us = _numbers(utc_time.view(pa.int64()))
        time_us, flags = timing.settle(device_us, _valid(utc_time), received, self._time_bound_us)
        flags[differs] |= Flag.PROVENANCE_DIFFERS
        names = pa.array(list(self._names) or [""], pa.string())  # those whose name is dropped point at the first one
        return [
            pa.array(time_us).view(TIMESTAMP),
            pa.array(received).view(TIMESTAMP),
            pa.DictionaryArray.from_arrays(pa.array(arrivals.devices[message], pa.int32()), self._devices),
            pa.DictionaryArray.from_arrays(pa.array(np.maximum(stream, 0), pa.int32()), names),
            sequence.view(pa.int64()),
            pa.array(arrivals.ordinals[message]),
            pa.array(flags),
        ]


def _end_to_end(parts: Sequence[NDArray[Any]], axis: int = 0) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)


def _parse(payloads: Sequence[bytes], dropped: dict[int, str]) -> tuple[pa.StructArray, NDArray[np.int64]]:
    """The wrappers of all payloads in one array, and the position of the payload that each belongs to."""
    good = np.arange(len(payloads))
    try:
        batch = BATCH.FromString(_joined(payloads))
    except DecodeError:
        kept = []
        for position, payload in enumerate(payloads):
            try:
                kept.append((position, MESSAGE.FromString(payload)))
            except DecodeError:
                dropped[position] = Drop.MALFORMED
        good = np.array([position for position, _ in kept], np.int64)
        batch = BATCH(messages=[message for _, message in kept])
    try:
        columns = BATCH_HANDLER.list_to_record_batch([batch.SerializeToString()])
    except ValueError:  # it trips over some unknown fields; taking them out costs another 1 us a message
        batch.DiscardUnknownFields()
        columns = BATCH_HANDLER.list_to_record_batch([batch.SerializeToString()])
    calculations = columns.column(0).flatten().field(0)
    return calculations.flatten(), np.repeat(good, calculations.value_lengths().to_numpy())


def _joined(payloads: Sequence[bytes]) -> bytes:
    """The payloads as the repeated field 1 of a message: each behind its tag and length."""
    parts: list[bytes] = []
    for payload in payloads:
        parts += (_tag_and_length(len(payload)), payload)
    return b"".join(parts)


@functools.lru_cache(maxsize=4096)
def _tag_and_length(length: int) -> bytes:
    head = bytearray(b"\x0a")
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    if array.null_count == 0:
        return np.ones(len(array), bool)
    return array.is_valid().to_numpy(zero_copy_only=False)


def _numbers(array: pa.Array) -> NDArray[Any]:
    """The values as NumPy, 0 where null."""
    return (array if array.null_count == 0 else pc.fill_null(array, 0)).to_numpy()


def _member(array: pa.StructArray, *path: int) -> Any:
    """The member at `path`, null where a parent is: `.field()` alone would ignore a parent's nulls.

    `.field()` costs 0.4 us and `struct_field` 25 us; most batches have no null, and 24 members are read of each.
    """
    for step in path:
        array = array.field(step) if array.null_count == 0 else pc.struct_field(array, [step])
    return array


def _provenances(data: pa.StructArray) -> tuple[pa.Array, pa.Array, NDArray[np.bool_]]:
    """(utc_time, sequence, whether two channels disagree) of each row; channel a's count where it has them."""
    if data.type.num_fields == 3:  # an Fft has one provenance of its own
        return _member(data, 0, 0), _member(data, 0, 1), np.zeros(len(data), bool)
    a, b = (_member(data, channel, 0) for channel in (0, 1))
    differs = np.zeros(len(data), bool)
    if b.null_count == len(b):
        return _member(a, 0), _member(a, 1), differs
    chosen = []
    for a_value, b_value in ((_member(a, member), _member(b, member)) for member in (0, 1)):
        differs |= pc.fill_null(pc.not_equal(a_value, b_value), False).to_numpy(zero_copy_only=False)
        chosen.append(a_value if a_value.null_count == 0 else pc.coalesce(a_value, b_value))
    return chosen[0], chosen[1], differs


def _values(data: pa.StructArray) -> list[pa.Array]:
    channels = [_member(data, channel) for channel in (0, 1)]
    return [_member(channel, *path) for channel in channels for path in _VALUE_PATHS]


def _bins(data: pa.StructArray) -> list[pa.Array]:
    return [_member(data, member).cast(pa.list_(pa.float32())) for member in (1, 2)]


_PRODUCTS: Final = {1: (CYCLE_SCHEMA, _values), 2: (SPECTRUM_SCHEMA, _bins)}  # by member of the wrapper
_EMPTY: Final = {member: pa.RecordBatch.from_pylist([], schema=schema) for member, (schema, _) in _PRODUCTS.items()}


def drop_reason(payload: bytes, topic: bytes, reason: str) -> str:
    """Refine the reason of a drop: behind a topic, a payload of ours nearly always begins with 0x0A (field 1).

    One that does not, and cannot be used, most likely belongs to a longer topic that shares our prefix.
    """
    alien = bool(topic) and payload[:1] != b"\x0a" and reason in {Drop.MALFORMED, Drop.EMPTY}
    return Drop.OTHER_TOPIC if alien else reason
