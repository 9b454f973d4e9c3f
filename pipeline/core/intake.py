"""From payloads to judged, counted, batched rows: what an ingest does between its socket and its receivers.

Must not know: protobuf (a decode function is handed in), sockets, clocks, who receives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.continuity import Continuity, Position, Verdict
from pipeline.core.counting import Counting
from pipeline.core.keys import Key
from pipeline.core.model import CYCLE_SCHEMA, SPECTRUM_SCHEMA, Batch, Drop, Gap, GapReason, Tally, without_rows
from pipeline.core.rollup import SECOND_US

_ALL: Final = np.iinfo(np.int64).max  # of ordinals: none comes after it


class Arrival(NamedTuple):
    """A message as it came in: `payload` is None where framing already told that it is another topic's."""

    device: int
    received_us: int
    payload: bytes | None


class Arrivals:
    """Messages as they came in, in runs of one device at one moment. `add` is its only mutator."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int, Sequence[bytes | None]]] = []  # device, arrival, payloads
        self._count = 0
        self.newest_us = 0

    @staticmethod
    def of(arrivals: Iterable[Arrival]) -> Arrivals:
        """Those that are given one by one."""
        made = Arrivals()
        for device, received_us, payload in arrivals:
            made.add(device, received_us, [payload])
        return made

    def add(self, device: int, received_us: int, payloads: Sequence[bytes | None]) -> None:
        """Messages of one device at one moment, in order; None stands for one of another topic."""
        self._runs.append((device, received_us, payloads))
        self._count += len(payloads)
        self.newest_us = received_us

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Arrival]:
        for device, received_us, payloads in self._runs:
            for payload in payloads:
                yield Arrival(device, received_us, payload)

    @property
    def nbytes(self) -> int:
        """Bytes of all payloads."""
        return sum(len(payload) for _, _, payloads in self._runs for payload in payloads if payload is not None)

    def newest_by_device(self) -> dict[int, int]:
        """The newest arrival of each device."""
        return {device: received_us for device, received_us, _ in self._runs}

    def columns(self) -> tuple[list[bytes], NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
        """The payloads, the device index and the arrival of each; and the device of each message without one."""
        runs = self._runs
        other: list[int] = []
        if any(None in payloads for _, _, payloads in runs):
            other = [device for device, _, payloads in runs for payload in payloads if payload is None]
            runs = [(device, at, [p for p in payloads if p is not None]) for device, at, payloads in runs]
        counts = [len(payloads) for _, _, payloads in runs]
        joined: list[bytes] = list(chain.from_iterable(payloads for _, _, payloads in runs))  # type: ignore[misc]
        devices = np.repeat(np.array([device for device, _, _ in runs], np.int32), counts)
        received_us = np.repeat(np.array([at for _, at, _ in runs], np.int64), counts)
        return joined, devices, received_us, np.array(other, np.int32)


@dataclass(frozen=True, slots=True)
class Opening:
    """What the store tells an ingest that begins.

    `positions`: where the streams of its devices stand, by product ("cycle", "spectrum"); `totals`: what has been
    counted of each device in this run by those who had it before. `complete`: whether everything that was stored is
    known; else the database was away, and a device without a position may have one.
    """

    epoch: int
    positions: Mapping[str, Mapping[Key, Position]] = field(default_factory=dict)
    totals: Mapping[str, Tally] = field(default_factory=dict)
    complete: bool = True


class DecodedRows(Protocol):
    """What a decode function returns: rows, and (position, reason) of the payloads that gave none."""

    @property
    def cycles(self) -> pa.RecordBatch: ...  # noqa: D102
    @property
    def spectra(self) -> pa.RecordBatch: ...  # noqa: D102
    @property
    def dropped(self) -> tuple[tuple[int, str], ...]: ...  # noqa: D102


Decode = Callable[[Sequence[bytes], NDArray[np.int32], NDArray[np.int64], int], DecodedRows]


class Intake:
    """Gathers the rows of a group of devices into batches. `take` and `cut` are its mutators.

    Args:
        devices: names behind the arrivals' device indices.
        decode: `(payloads, device indices, arrival times, ordinal of the first message)` to rows.
        positions: where the streams stood before, by product ("cycle", "spectrum").
        totals: what was counted of the devices before; `totals` goes on from it.
    """

    def __init__(
        self,
        devices: Sequence[str],
        decode: Decode,
        positions: Mapping[str, Mapping[Key, Position]],
        totals: Mapping[str, Tally] | None = None,
    ) -> None:
        self._devices = tuple(devices)
        self._decode = decode
        self._continuity = {
            "cycle": Continuity("cycle", positions.get("cycle")),
            "spectrum": Continuity("spectrum", positions.get("spectrum"), stride=0),
        }
        self._messages = 0
        self._cycles: list[pa.RecordBatch] = []
        self._spectra: list[pa.RecordBatch] = []
        self.waiting_bytes = 0  # of the rows that wait for the next cut
        self._gaps: list[Gap] = []
        self._counting = Counting(self._devices, totals or {})

    @property
    def totals(self) -> Mapping[str, Tally]:
        """What was counted of each device, before included."""
        return self._counting.totals

    @property
    def totals_until(self) -> tuple[Mapping[str, Tally], Mapping[str, int]]:
        """The same, and by device the newest arrival that this intake has counted, 0 while there is none."""
        return self._counting.totals_until

    @property
    def counted(self) -> Tally:
        """What this intake has counted itself, over all devices."""
        return self._counting.counted

    def take(self, arrivals: Arrivals) -> pa.RecordBatch:
        """Decode, judge and count arrivals. Returns the cycle rows kept; they also wait for the next `cut`."""
        payloads, device, received_us, other_topic = arrivals.columns()
        first = self._messages
        self._messages += len(payloads)
        decoded = self._decode(payloads, device, received_us, first)
        kept_cycles, cycle_verdict = self._judge("cycle", decoded.cycles)
        kept_spectra, spectrum_verdict = self._judge("spectrum", decoded.spectra)
        delivered = np.zeros(len(payloads), bool)
        for rows in (kept_cycles, kept_spectra):
            delivered[rows.column("message").to_numpy() - first] = True
        drops = [(self._devices[device[position]], reason) for position, reason in decoded.dropped]
        refused = np.zeros(len(payloads), bool)
        refused[[position for position, _ in decoded.dropped]] = True
        drops += [(self._devices[index], Drop.DUPLICATE) for index in device[~delivered & ~refused]]
        drops += [(self._devices[index], Drop.OTHER_TOPIC) for index in other_topic]
        arrived_us = arrivals.newest_by_device()
        received, verdicts = np.append(device, other_topic), (cycle_verdict, _alone(spectrum_verdict, decoded))
        self._count(received, device[delivered], arrived_us, kept_cycles, kept_spectra, drops, *verdicts)
        return kept_cycles

    def cut(self, producer: str, epoch: int, number: int, whole_seconds: bool = False) -> Batch | None:
        """The batch of everything since the last cut; None if nothing came in.

        `whole_seconds`: what came of the second that a device has begun waits for the next cut.
        """
        last = self._last_of_whole_seconds() if whole_seconds else None
        cycles, self._cycles = _parted(self._cycles, last)
        spectra, self._spectra = _parted(self._spectra, last)
        waiting = [*self._cycles, *self._spectra]
        self.waiting_bytes = sum(rows.nbytes for rows in waiting)
        tallies = self._counting.cut(self._counts_of(waiting))
        if not tallies:
            return None
        batch = Batch(
            producer,
            epoch,
            number,
            tallies,
            concatenate(cycles, CYCLE_SCHEMA),
            concatenate(spectra, SPECTRUM_SCHEMA),
            tuple(self._gaps),
            self._counting.totals_cut,
        )
        self._gaps = []
        return batch

    def give_up(self, batch: Batch) -> None:
        """There is no room for a batch: its counts and gaps go on with the next one, its messages as dropped."""
        self._gaps = [*batch.gaps, *self._gaps]
        self._counting.give_back(batch.tallies, without_rows(batch, Drop.OUTBOX_FULL).tallies)

    def _last_of_whole_seconds(self) -> NDArray[np.int64]:
        """By device, the ordinal of the last message before those of the second that it is in; _ALL where none wait.

        A device that has sent nothing else waits no longer, nor one of which there is a gap or a drop to tell: that
        and what stands around it are stored together, or are all heard anew.
        """
        last = np.full(len(self._devices), -1)
        newest = np.empty(len(self._devices), np.int64)
        rows = [
            (
                cycles.column("device").indices.to_numpy(),
                cycles.column("time").view(pa.int64()).to_numpy() // SECOND_US,
                cycles.column("message").to_numpy(),
            )
            for cycles in self._cycles
        ]
        for device, second, _ in rows:  # they stand in the order of their messages: of each device the last one holds
            newest[device] = second
        for device, second, message in rows:
            whole = second != newest[device]
            last[device[whole]] = message[whole]
        unusual = self._counting.unusual
        last[[name in unusual for name in self._devices]] = _ALL
        last[last < 0] = _ALL
        return last

    def _counts_of(self, rows: Sequence[pa.RecordBatch]) -> NDArray[np.int64]:
        """How many messages, delivered ones and rows of each device these are, shape (3, devices).

        Of a device of which anything was dropped no rows wait: so all that do were delivered.
        """
        size = len(self._devices)
        if not rows:
            return np.zeros((3, size), np.int64)
        device = np.concatenate([batch.column("device").indices.to_numpy() for batch in rows])
        _, first = np.unique(np.concatenate([batch.column("message").to_numpy() for batch in rows]), return_index=True)
        messages = np.bincount(device[first], minlength=size)
        return np.stack([messages, messages, np.bincount(device, minlength=size)])

    def _judge(self, product: str, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, Verdict]:
        verdict = self._continuity[product].observe(rows)
        if product == "cycle" and verdict.gaps:
            verdict = replace(verdict, gaps=_with_causes(verdict.gaps, rows))
        self._gaps.extend(verdict.gaps)
        return (rows if verdict.kept.all() else rows.filter(pa.array(verdict.kept))), verdict

    def _count(
        self,
        received: NDArray[np.int32],
        delivered: NDArray[np.int32],
        arrived_us: Mapping[int, int],
        cycles: pa.RecordBatch,
        spectra: pa.RecordBatch,
        drops: Iterable[tuple[str, str]],
        *verdicts: Verdict,
    ) -> None:
        size = len(self._devices)
        received_count = np.bincount(received, minlength=size)
        delivered_count = np.bincount(delivered, minlength=size)
        row_count = np.zeros(size, np.int64)
        for rows in (cycles, spectra):
            row_count += np.bincount(rows.column("device").indices.to_numpy(), minlength=size)
        rare = [(device, Tally(dropped={reason: 1})) for device, reason in drops]
        for verdict in verdicts:
            missing = messages_missing(verdict.gaps)
            late = _most_by_device(verdict.late)
            for device in {*missing, *late, *verdict.resets}:
                filled = late.get(device, 0)
                missing_now = missing.get(device, 0) - filled
                resets = verdict.resets.get(device, 0)
                rare.append((device, Tally(missing=missing_now, reordered=filled, resets=resets)))
        self._counting.add(received_count, delivered_count, row_count, rare, arrived_us)
        for rows, waiting in ((cycles, self._cycles), (spectra, self._spectra)):
            if rows.num_rows:
                waiting.append(rows)
                self.waiting_bytes += rows.nbytes


def concatenate(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """One batch of many, whose dictionaries may differ."""
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches, schema).unify_dictionaries().combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=schema)


def only_counts(
    producer: str, epoch: int, number: int, tallies: Mapping[str, Tally], gaps: tuple[Gap, ...] = ()
) -> Batch:
    """A batch without rows: an entry for the ledger, by device, and gaps."""
    nothing = (concatenate([], CYCLE_SCHEMA), concatenate([], SPECTRUM_SCHEMA))
    return Batch(producer, epoch, number, tallies, *nothing, gaps)


def _parted(
    batches: list[pa.RecordBatch], last: NDArray[np.int64] | None
) -> tuple[list[pa.RecordBatch], list[pa.RecordBatch]]:
    """Rows up to the last message of their device, shape (devices,), and those after it; None: all are before it."""
    if last is None:
        return batches, []
    before, after = [], []
    for batch in batches:
        waits = batch.column("message").to_numpy() > last[batch.column("device").indices.to_numpy()]
        if waits.any():
            after.append(batch.filter(pa.array(waits)))
            batch = batch.filter(pa.array(~waits))
        before.append(batch)
    return before, after


def _alone(spectra: Verdict, decoded: DecodedRows) -> Verdict:
    """What tells of messages: where spectra come in messages of cycles, those tell what is missing, or late."""
    if not spectra.gaps and not spectra.late:
        return spectra
    shared = pc.is_in(decoded.spectra.column("message"), decoded.cycles.column("message"))
    devices = set(decoded.spectra.column("device").filter(shared).to_pylist())
    gaps = tuple(replace(gap, missing=0) if gap.device in devices else gap for gap in spectra.gaps)
    late = {key: 0 if key[0] in devices else count for key, count in spectra.late.items()}
    return replace(spectra, gaps=gaps, late=late)


def _with_causes(gaps: Iterable[Gap], rows: pa.RecordBatch) -> tuple[Gap, ...]:
    """The gaps of a batch of cycles; absent is what others of the same messages do not lack.

    A lost message leaves the same hole in all streams that it held. Of those that share messages with a stream, the one
    that was heard most tells where messages are missing; a stream that shares none tells it itself.
    """
    by_device: dict[str, list[Gap]] = {}
    for gap in gaps:
        by_device.setdefault(gap.device, []).append(gap)
    device, stream = rows.column("device"), rows.column("stream")
    device_code, stream_code = device.indices.to_numpy(), stream.indices.to_numpy()
    names, streams = device.dictionary.to_pylist(), stream.dictionary.to_pylist()
    message = rows.column("message").to_numpy()
    found = []
    for name, mine in by_device.items():
        own = np.flatnonzero(device_code == names.index(name))
        _, inverse = np.unique(message[own], return_inverse=True)
        held = np.zeros((inverse.max() + 1, len(streams)), np.int64)
        held[inverse, stream_code[own]] = 1
        together = held.T @ held  # messages that two streams share, and on the diagonal those of each
        missing = _sum_by_stream(mine)
        holes = {(gap.stream, gap.from_us, gap.to_us) for gap in mine}
        for gap in mine:
            beside = np.flatnonzero(together[streams.index(gap.stream)])
            witness = min(
                (streams[other] for other in beside.tolist()),
                key=lambda each: (-together[streams.index(each)].max(), missing.get((name, each), 0)),
            )
            lost = (witness, gap.from_us, gap.to_us) in holes
            found.append(gap if lost else replace(gap, reason=GapReason.ABSENT))
    return tuple(found)


def messages_missing(gaps: Iterable[Gap]) -> dict[str, int]:
    """How many messages are missing of each device."""
    return _most_by_device(_sum_by_stream(gap for gap in gaps if gap.reason != GapReason.ABSENT))


def _sum_by_stream(gaps: Iterable[Gap]) -> dict[Key, int]:
    missing: dict[Key, int] = {}
    for gap in gaps:
        missing[gap.device, gap.stream] = missing.get((gap.device, gap.stream), 0) + gap.missing
    return missing


def _most_by_device(rows: Mapping[Key, int]) -> dict[str, int]:
    """Messages from rows: a lost message misses in every stream, so the stream that misses most tells their number."""
    most: dict[str, int] = {}
    for (device, _), count in rows.items():
        most[device] = max(count, most.get(device, 0))
    return most
