"""Reads many messages of one layout as a table of bytes, several times as fast as any parser.

What a device sends differs from message to message in values only: tags, lengths and names stand where they stood. So
one message is taken apart field by field, and every other of the same length whose bytes equal it everywhere but in its
values has its values at the same places: nothing is assumed, every byte is compared. Numbers of variable length agree
in where they end.

A layout is taken of ordinary messages only: known fields, each once, times and sequence numbers there and in bounds.
Then the places say exactly what protobuf would. All else is left to a parser.

Must not know: what the values mean, devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST_LAYOUTS: Final = 256  # numbers grow in length, devices differ; messages of odd lengths must not fill memory
MOST_LEARNED: Final = 8  # in a batch: taking one apart costs as much as parsing fifty
FEWEST: Final = 8  # messages of a size lately, before one is taken apart; below that a parser is as fast
MOST_TRIED: Final = 6  # sizes of which a batch has fewer, and layouts of such a size: of more a parser is as fast
UNUSUAL: Final = -1024  # what counts lately of a size after an unusual message: for ten batches none is taken apart
TOGETHER: Final = 256  # messages compared at a time: they stay in a core's cache, and need no new memory
VALUES: Final = 16  # of a row: eight of each channel
TIME, NANOS, SEQUENCE = range(3)
# The longest that their numbers may be: nothing overflows, and every length up to it stays within protobuf's types.
_LONGEST: Final = (5, 5, 9)  # bytes of seven bits
_MOST_NANOS: Final = 2**31 - 1
# Where a channel's values are: field of the channel -> (its first column, fields)
_VALUES: Final = {2: (0, 2), 3: (2, 2), 4: (4, 4)}


class _UnusualError(Exception):
    """Nothing that a layout is taken of."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the values of a message are.

    `streams`: the names of its rows. `floats`: shape (rows, 16), -1 where there is none. `numbers`: which of the three
    it is, places of shape (n, length) of those of one length, and whose they are, as indices into (rows, 2 channels).
    `both`: whether channel b is there, by row.
    """

    template: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    streams: tuple[str, ...]
    floats: NDArray[np.int64]
    numbers: tuple[tuple[int, NDArray[np.int64], NDArray[np.int64]], ...]
    both: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Table:
    """What messages of one layout hold: `message` says which they are.

    `numbers`: (3, messages, rows, 2 channels). `floats`: (messages, rows, 16), of which `layout.floats` says what is
    there.
    """

    layout: Layout
    message: NDArray[np.int64]
    numbers: NDArray[np.int64]
    floats: NDArray[np.float32]


class Layouts:
    """The layouts seen so far. `read` is its only mutator."""

    def __init__(self) -> None:
        self._by_size: dict[int, list[Layout]] = {}
        self._count = 0
        self._lately: dict[int, int] = {}  # messages of a size that were left; with each batch half as many

    def read(self, payloads: Sequence[bytes]) -> tuple[list[Table], NDArray[np.int64]]:
        """What could be read, by layout; and which payloads are left."""
        sizes = np.fromiter(map(len, payloads), np.int64, len(payloads))
        tables: list[Table] = []
        left: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        learned = 0
        groups = _by_size(sizes)
        few_sizes = sum(len(message) < FEWEST for _, message in groups) <= MOST_TRIED
        before = {size: int(count / 2) for size, count in self._lately.items() if abs(count) > 1}
        self._lately = dict(before)
        for size, message in groups:
            layouts = self._by_size.get(size, [])
            lately = before.get(size, 0) + len(message)
            tried = len(message) >= FEWEST or (few_sizes and len(layouts) <= MOST_TRIED)
            if size == 0 or not tried or not (layouts or lately >= FEWEST):
                self._lately[size] = lately
                left.append(message)
                continue
            chosen = payloads if len(groups) == 1 else [payloads[index] for index in message.tolist()]
            data = np.frombuffer(b"".join(chosen), np.uint8)
            data = data.reshape(len(message), size)
            for layout in layouts:
                message, data = self._take(layout, message, data, tables)
            lately = before.get(size, 0) + len(message)
            while len(message) and lately >= FEWEST and learned < MOST_LEARNED and self._count < MOST_LAYOUTS:
                learned += 1
                try:
                    layout = taken_apart(bytes(data[0]))
                except _UnusualError:
                    lately = UNUSUAL
                    break
                self._by_size.setdefault(size, []).append(layout)
                self._count += 1
                message, data = self._take(layout, message, data, tables)
                lately = len(message)
            self._lately[size] = lately
            left.append(message)
        return tables, np.sort(np.concatenate(left))

    @staticmethod
    def _take(
        layout: Layout, message: NDArray[np.int64], data: NDArray[np.uint8], tables: list[Table]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Read those that have the layout; returns the others."""
        if len(message) == 0:
            return message, data
        alike = _alike(data, layout)
        if not alike.any():
            return message, data
        numbers = _numbers(data if alike.all() else data[alike], layout)
        sound = np.asarray((numbers[NANOS] <= _MOST_NANOS).all(axis=(1, 2)), bool)
        if not sound.all():
            alike[np.flatnonzero(alike)[~sound]] = False
            numbers = numbers[:, sound]
        mine = data if alike.all() else data[alike]
        if len(mine):
            tables.append(Table(layout, message[alike], numbers, _floats(mine, layout)))
        return message[~alike], data[~alike]


def _by_size(sizes: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """Each size, and which messages have it."""
    if len(sizes) and (sizes == sizes[0]).all():  # nearly always
        return [(int(sizes[0]), np.arange(len(sizes)))]
    return [(size, np.flatnonzero(sizes == size)) for size in np.unique(sizes).tolist()]


def _alike(data: NDArray[np.uint8], layout: Layout) -> NDArray[np.bool_]:
    """Which messages equal the template everywhere but in their values."""
    alike = np.empty(len(data), bool)
    differing = np.empty((TOGETHER, data.shape[1]), np.uint8)
    for start in range(0, len(data), TOGETHER):
        part = data[start : start + TOGETHER]
        of_part = np.bitwise_xor(part, layout.template, out=differing[: len(part)])
        of_part &= layout.mask
        alike[start : start + TOGETHER] = np.maximum.reduce(of_part, axis=1) == 0
    return alike


def _numbers(data: NDArray[np.uint8], layout: Layout) -> NDArray[np.int64]:
    numbers = np.zeros((3, len(data), 2 * len(layout.floats)), np.int64)
    for which, places, whose in layout.numbers:
        length = places.shape[1]
        low = np.take(data, places.ravel(), axis=1) & 0x7F
        if np.array_equal(low[:, length:], low[:, :-length]):  # nearly always: all rows of a message tell the same
            low = low[:, :length]
        low = low.reshape(len(data), -1, length)
        number = low[..., -1].astype(np.int64)
        for at in reversed(range(length - 1)):
            number <<= 7
            number |= low[..., at]
        numbers[which][:, whose if len(whose) < numbers.shape[2] else ...] = number
    return numbers.reshape(3, len(data), -1, 2)


def _floats(data: NDArray[np.uint8], layout: Layout) -> NDArray[np.float32]:
    places = np.maximum(layout.floats, 0).ravel()[:, None] + np.arange(4)
    return np.take(data, places.ravel(), axis=1).view("<f4").reshape(len(data), -1, VALUES)


def taken_apart(payload: bytes) -> Layout:
    """The layout of an ordinary message.

    Raises:
        _UnusualError: it is none.
    """
    mask = np.full(len(payload), 0xFF, np.uint8)
    streams: list[str] = []
    floats: list[NDArray[np.int64]] = []
    both: list[bool] = []
    numbers: dict[tuple[int, int], list[tuple[NDArray[np.int64], int]]] = {}  # by which of the three, and length
    for field, start, stop in _fields(payload, 0, len(payload), repeated=True):
        if field != 1:
            raise _UnusualError
        row = len(streams)
        parts = _once(payload, start, stop)
        if parts.keys() != {1, 2}:
            raise _UnusualError
        try:
            streams.append(payload[slice(*parts[1])].decode())
        except UnicodeDecodeError:
            raise _UnusualError from None
        channels = _once(payload, *parts[2])
        if 1 not in channels or not channels.keys() <= {1, 2}:
            raise _UnusualError
        both.append(2 in channels)
        places = np.full(VALUES, -1, np.int64)
        for channel in range(len(channels)):
            for which, (first, last) in enumerate(_channel(payload, *channels[1 + channel], places[8 * channel :])):
                mask[first:last] = 0x80
                place = (np.arange(first, last), row * 2 + channel)
                numbers.setdefault((which, last - first), []).append(place)
        for value in places[places >= 0].tolist():
            mask[value : value + 4] = 0
        floats.append(places)
    if not streams:
        raise _UnusualError
    return Layout(
        np.frombuffer(payload, np.uint8),
        mask,
        tuple(streams),
        np.stack(floats),
        tuple(
            (which, np.stack([place for place, _ in found]), np.array([whose for _, whose in found]))
            for (which, _), found in numbers.items()
        ),
        np.array(both),
    )


def _channel(payload: bytes, start: int, stop: int, floats: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Writes where a channel's values are, and returns where its time, nanoseconds and sequence number are."""
    fields = _once(payload, start, stop)
    if 1 not in fields or not fields.keys() <= {1, 2, 3, 4}:
        raise _UnusualError
    for field, (first, count) in _VALUES.items():
        if field in fields:
            for value, at, _ in _fields(payload, *fields[field], kind=5):
                if value > count or floats[first + value - 1] >= 0:
                    raise _UnusualError
                floats[first + value - 1] = at
    provenance = dict.fromkeys((1, 2), (0, 0))
    for field, at, end in _fields(payload, *fields[1], kind=None):
        if field not in provenance or provenance[field] != (0, 0):
            raise _UnusualError
        provenance[field] = (at, end)
    stamp = {field: (at, end) for field, at, end in _fields(payload, *provenance[1], kind=0)}
    found = [stamp.get(1, (0, 0)), stamp.get(2, (0, 0)), provenance[2]]
    if stamp.keys() != {1, 2} or any(
        not 0 < end - at <= longest for (at, end), longest in zip(found, _LONGEST, strict=True)
    ):
        raise _UnusualError
    return found


def _once(payload: bytes, start: int, stop: int) -> dict[int, tuple[int, int]]:
    """The fields of a message that holds messages or text, each once: number to bounds."""
    return {field: (at, end) for field, at, end in _fields(payload, start, stop)}


def _fields(
    payload: bytes, start: int, stop: int, kind: int | None = 2, repeated: bool = False
) -> Iterator[tuple[int, int, int]]:
    """Number and bounds of each field, of one kind: 0 a number, 2 of a length, 5 a float, None 0 or 2 by its number."""
    seen: set[int] = set()
    while start < stop:
        number, found = payload[start] >> 3, payload[start] & 7
        wanted = kind if kind is not None else (2 if number == 1 else 0)
        if payload[start] & 0x80 or number == 0 or found != wanted or (number in seen and not repeated):
            raise _UnusualError
        seen.add(number)
        start += 1
        if found == 5:
            at, end = start, start + 4
        else:
            end, length = _varint(payload, start)
            at, end = (start, end) if found == 0 else (end, end + length)
        if end > stop:
            raise _UnusualError
        yield number, at, end
        start = end


def _varint(payload: bytes, start: int) -> tuple[int, int]:
    """Where a number of variable length ends, and what it is."""
    value = 0
    for index, byte in enumerate(payload[start : start + 9]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return start + index + 1, value
    raise _UnusualError
