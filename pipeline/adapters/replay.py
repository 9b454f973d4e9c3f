"""A publisher of recordings: encodes their frames ahead, and sends each when it is due.

Must not know: Ray, what subscribers do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.adapters import wire
from pipeline.adapters.publisher import Publisher
from pipeline.adapters.recordings import Recording
from pipeline.core.model import TIMESTAMP, VALUE_COLUMNS, value_columns
from pipeline.core.pacing import Pace

BLOCK_FRAMES: Final = 60  # encoded at a time: a second's worth, 0.3 ms of work
SMALLEST_WAIT_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Begin:
    """Where in a run a recording begins: its first frame's number, and its lowest sequence number."""

    frame: int
    sequence: int


class Frames:
    """The frames of a recording as payloads, for ever: after the last one it goes on with the first.

    Sequence numbers continue over the end; times come from the pace.

    Args:
        mirror: copy channel a where a row has no channel b, for consumers that need both (the original's).
        begin: where in a run this recording begins; by default it is the first, with sequence numbers of its own.
    """

    def __init__(self, recording: Recording, mirror: bool, begin: Begin | None = None) -> None:
        cycles = recording.cycles
        columns = {name: cycles.column(name) for name in ("stream", *VALUE_COLUMNS)}
        if mirror:
            b_columns = value_columns("b")
            absent = np.all([columns[name].is_null() for name in b_columns], axis=0)
            for name, a_name in zip(b_columns, value_columns("a"), strict=True):
                columns[name] = pc.if_else(absent, columns[a_name], columns[name])
        self._columns = columns
        self._sequence = cycles.column("sequence").to_numpy()
        self._frame = cycles.column("frame").to_numpy()
        self._first_row = np.searchsorted(self._frame, np.arange(recording.frame_count + 1))
        self.count = recording.frame_count
        self._span = int(self._sequence.max() - self._sequence.min()) + 1
        self.begin = begin or Begin(0, int(self._sequence.min()))
        self._sequence = self._sequence - (int(self._sequence.min()) - self.begin.sequence)

    def index_of(self, sequence: int) -> int:
        """The frame number n, over all rounds, whose rows carry this sequence number (the last one, if they repeat)."""
        base = self.begin.sequence
        rounds, within = divmod(sequence - base, self._span)
        carried = self._sequence[self._sequence <= base + within].max()
        return self.begin.frame + rounds * self.count + int(self._frame[self._sequence == carried].max())

    def end_before(self, frame: int) -> Begin:
        """Where another recording begins that is played from `frame` on instead of this one."""
        if frame == self.begin.frame:
            return self.begin
        rounds, within = divmod(frame - 1 - self.begin.frame, self.count)
        played = self._sequence[: self._first_row[within + 1]]
        highest = int(played.max()) + rounds * self._span
        if rounds:  # where numbering began anew inside the recording, the round before may have reached further
            highest = max(highest, int(self._sequence.max()) + (rounds - 1) * self._span)
        return Begin(frame, highest + 1)

    def payloads(self, first: int, last: int, pace: Pace) -> list[bytes]:
        """Frames `first` ... `last` - 1, encoded; `first` is not before where this recording begins."""
        wanted = np.arange(first, last)
        rounds, within = np.divmod(wanted - self.begin.frame, self.count)
        lengths = self._first_row[within + 1] - self._first_row[within]
        offset = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = np.repeat(self._first_row[within], lengths) + offset
        number, rounds = np.repeat(wanted, lengths), np.repeat(rounds, lengths)
        take = pa.array(rows)
        values = {name: column.take(take) for name, column in self._columns.items()}
        return wire.encode(
            pa.RecordBatch.from_arrays(
                [
                    pa.array(pace.time_us(number)).view(TIMESTAMP),
                    values["stream"],
                    pa.array(self._sequence[rows] + rounds * self._span),
                    pa.array(number),
                    *(values[name] for name in VALUE_COLUMNS),
                ],
                names=["time", "stream", "sequence", "message", *VALUE_COLUMNS],
            )
        )


class Replayer:
    """Sends frames on time, on every endpoint of a publisher.

    Args:
        end: the frame to stop before; None goes on for ever.
    """

    def __init__(self, frames: Frames, publisher: Publisher, endpoints: int, end: int | None) -> None:
        self.frames = frames  # what is played now
        self._wanted: Callable[[Begin], Frames] | None = None
        self._publisher = publisher
        self._endpoints = endpoints
        self._end = end
        self.published = 0  # messages, over all endpoints
        self.skipped = 0  # messages that were due while nobody was there to send them
        self.finished = False

    def switch(self, frames: Callable[[Begin], Frames]) -> None:
        """Play other frames from the next one on: sequence numbers and times continue."""
        self._wanted = frames

    def run(self, pace: Pace, first: int, stop: threading.Event) -> None:
        """Send from frame `first` until the end, or until `stop` is set."""
        following, block_end, block = first, first, []
        while not stop.is_set() and (self._end is None or following < self._end):
            now_us = time.time_ns() // 1000
            due = pace.due(now_us) if self._end is None else min(pace.due(now_us), self._end)
            if self._wanted is not None:
                wanted, self._wanted = self._wanted, None
                self.frames, block_end = wanted(self.frames.end_before(following)), following
            while following < due and not stop.is_set():
                if following >= block_end:
                    block_end = min(following + BLOCK_FRAMES, self._end or following + BLOCK_FRAMES)
                    block = self.frames.payloads(following, block_end, pace)
                self._publisher.send(block[following - block_end])
                self.published += self._endpoints
                following += 1
            stop.wait(max(SMALLEST_WAIT_S, pace.wait_s(following, time.time_ns() // 1000)))
        self.finished = True
