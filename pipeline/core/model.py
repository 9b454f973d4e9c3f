"""What flows through the pipeline: the Arrow schemas, the quantities and their units, the tallies.

One row of `CYCLE_SCHEMA` is one device x stream x AC cycle, both channels side by side. It is the shape of a decoded
message, of an actor call and of the database table. A *stream* is an electrical phase (`threephase/karman1` ...), a
*channel* is what the wire calls `phase_a` or `phase_b` inside each stream.

Must not know: protobuf field numbers, SQL, metric names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntFlag
from typing import Final

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measured quantity of a channel: `name` as people and recordings say it, `unit` in SI."""

    name: str
    unit: str

    @property
    def column(self) -> str:
        """The column's name without its channel, for example `real_power_w`."""
        return f"{self.name}_{self.unit}" if self.unit else self.name


QUANTITIES: Final = (
    Quantity("rms_voltage", "v"),
    Quantity("dc_offset_voltage", "v"),
    Quantity("rms_current", "a"),
    Quantity("dc_offset_current", "a"),
    Quantity("real_power", "w"),
    Quantity("apparent_power", "va"),
    Quantity("reactive_power", "var"),
    Quantity("power_factor", ""),
)
CHANNELS: Final = ("a", "b")
STREAMS: Final = ("threephase/karman1", "threephase/karman2", "threephase/karman3")


def value_columns(channel: str) -> tuple[str, ...]:
    """The eight columns of one channel, `a_rms_voltage_v` ... `a_power_factor`, in the order of `QUANTITIES`."""
    return tuple(f"{channel}_{quantity.column}" for quantity in QUANTITIES)


VALUE_COLUMNS: Final = tuple(column for channel in CHANNELS for column in value_columns(channel))

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")
_NAME: Final = pa.dictionary(pa.int32(), pa.string())

_KEY_FIELDS: Final = [
    pa.field("time", TIMESTAMP, nullable=False),  # start of the cycle, always storable
    pa.field("received", TIMESTAMP, nullable=False),  # arrival at the ingest
    pa.field("device", _NAME, nullable=False),
    pa.field("stream", _NAME, nullable=False),
    pa.field("sequence", pa.int64()),  # null when the device sent none
    pa.field("message", pa.int64(), nullable=False),  # ordinal given at ingest; rows of one message share it
    pa.field("flags", pa.int32(), nullable=False),  # `Flag`
]
CYCLE_SCHEMA: Final = pa.schema(_KEY_FIELDS + [pa.field(column, pa.float32()) for column in VALUE_COLUMNS])
SPECTRUM_SCHEMA: Final = pa.schema(
    [
        *_KEY_FIELDS,
        pa.field("magnitude", pa.list_(pa.float32()), nullable=False),
        pa.field("phase", pa.list_(pa.float32()), nullable=False),
    ]
)


class Flag(IntFlag):
    """What a row's `flags` say about it. 0 means: as the device sent it."""

    TIME_ABSENT = 1  # no utc_time; `time` is the arrival time
    TIME_IMPLAUSIBLE = 2  # utc_time too far from arrival; `time` is the arrival time
    PROVENANCE_DIFFERS = 4  # the two channels disagree on time or sequence; channel a's count


ARRIVAL_TIME: Final = Flag.TIME_ABSENT | Flag.TIME_IMPLAUSIBLE  # `time` is not the device's own


class Drop:
    """Why a received message was not kept. A closed set: the label values of every drop counter."""

    MALFORMED = "malformed"  # not a payload that protobuf accepts
    EMPTY = "empty"  # parses, but holds no product that we know
    OTHER_TOPIC = "other_topic"  # a longer topic that shares our subscription's prefix
    SEQUENCE_RANGE = "sequence_out_of_range"  # a sequence number above 2**63 - 1
    NAME_LIMIT = "too_many_names"  # calculation names beyond `Limits.calculation_names`, or one that is too long
    DUPLICATE = "duplicate"  # every row of it was seen before
    REFUSED = "refused"  # the database refuses these rows for good; they are in quarantine
    SPOOL_FULL = "spool_full"  # the database was away longer than the spool's bound allows
    SPOOL_DAMAGED = "spool_damaged"  # a segment on disk could not be read back
    OUTBOX_FULL = "outbox_full"  # the receiver did not take it and the sender's memory bound was reached


DROPS: Final = tuple(value for name, value in vars(Drop).items() if name.isupper())
STORAGE_DROPS: Final = frozenset({Drop.REFUSED, Drop.SPOOL_FULL, Drop.SPOOL_DAMAGED})  # lost after the hand-over


@dataclass(frozen=True, slots=True)
class Gap:
    """Cycles of one stream that never arrived: the sequence numbers strictly between `after` and `before`."""

    device: str
    stream: str
    product: str  # "cycle" or "spectrum"
    after: int
    before: int
    missing: int
    from_us: int  # event time of the last row before the gap, microseconds since the epoch
    to_us: int
    reason: str


class GapReason:
    """Why rows are missing. A closed set."""

    TRANSPORT = "transport"  # lost between the device and us
    RESTART = "restart"  # nobody of ours was listening: the ingest, or the whole pipeline, was down
    ABSENT = "absent"  # the device left the stream out of messages that came


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts, in messages unless said otherwise. Tallies add up: `received = delivered + sum(dropped)`."""

    received: int = 0
    delivered: int = 0  # handed on with at least one row
    rows: int = 0
    missing: int = 0  # messages missing by sequence
    reordered: int = 0  # messages that came late and filled a hole: `missing` counts them no more
    resets: int = 0  # streams whose numbering began anew
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        return self._combined(other, 1)

    def __sub__(self, other: Tally) -> Tally:
        return self._combined(other, -1)

    def _combined(self, other: Tally, sign: int) -> Tally:
        dropped = self.dropped
        if other.dropped:
            reasons = sorted({*self.dropped, *other.dropped})
            dropped = {reason: self.dropped.get(reason, 0) + sign * other.dropped.get(reason, 0) for reason in reasons}
        return Tally(
            self.received + sign * other.received,
            self.delivered + sign * other.delivered,
            self.rows + sign * other.rows,
            self.missing + sign * other.missing,
            self.reordered + sign * other.reordered,
            self.resets + sign * other.resets,
            dropped,
        )


Account = tuple[str, int]  # (producer, epoch)


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of many tallies."""
    return sum(tallies, Tally())


@dataclass(frozen=True, slots=True)
class Batch:
    """What an ingest hands on: rows with their origin, and what was counted while they were gathered.

    (producer, epoch, number) names a batch for ever: `epoch` grows each time the producer starts, `number` counts its
    batches from 0. A receiver that has seen the name has seen the batch.
    """

    producer: str
    epoch: int
    number: int
    tallies: Mapping[str, Tally]  # by device
    cycles: pa.RecordBatch  # CYCLE_SCHEMA
    spectra: pa.RecordBatch  # SPECTRUM_SCHEMA
    gaps: tuple[Gap, ...] = ()
    totals: Mapping[str, Tally] = field(default_factory=dict)  # by device, of this run: what a successor goes on from

    @property
    def account(self) -> Account:
        """Whose counts it adds to."""
        return self.producer, self.epoch


def without_rows(batch: Batch, reason: str) -> Batch:
    """The batch's name, counts and gaps, its messages counted as dropped for `reason`."""
    tallies = {
        device: tally + Tally(delivered=-tally.delivered, rows=-tally.rows, dropped={reason: tally.delivered})
        for device, tally in batch.tallies.items()
    }
    return replace(batch, tallies=tallies, cycles=batch.cycles.slice(0, 0), spectra=batch.spectra.slice(0, 0))


def merged(first: Batch, second: Batch) -> Batch:
    """Two batches without rows as one, under the first one's name."""
    tallies = {
        device: first.tallies.get(device, Tally()) + second.tallies.get(device, Tally())
        for device in {**first.tallies, **second.tallies}
    }
    return replace(first, tallies=tallies, gaps=first.gaps + second.gaps)
