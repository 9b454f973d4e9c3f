"""The load: messages of a recording on many endpoints of their own, each at its time, from a process of its own.

Run as `python -m pipeline.bench.generator DEVICES RATE_HZ`. It prints the endpoints as a line of JSON, reads for how
many seconds to send ("inf": until the next line), and prints what it did. Messages are encoded once; for each the time
and the sequence are written into its bytes, which takes a tenth of the time. Devices take turns within a cycle, as
devices on different feeds do.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import threading
import time
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.adapters import recordings, wire
from pipeline.adapters.link import queue_of
from pipeline.adapters.publisher import Publisher
from pipeline.bench.settings import Load
from pipeline.core.config import DEFAULT_TOPIC
from pipeline.core.delays import Delays
from pipeline.core.errors import KarmanError
from pipeline.core.model import TIMESTAMP, VALUE_COLUMNS, value_columns
from pipeline.core.pacing import Pace

FRAMES: Final = 600  # of the recording: ten seconds, again and again
TURNS: Final = 16  # groups of devices that send one after the other within a cycle
BLOCK: Final = 512  # sendings whose bytes are made at a time, before they are due
VARINT: Final = 5  # bytes: up to 2**35 - 1
PATIENCE_S: Final = 120.0
SMALLEST_WAIT_S: Final = 0.0005
_MARK_S, _MARK_NS, _MARK_SEQUENCE = 1_700_000_000, 999_999_000, 2**34 + 1  # each takes five bytes


def varints(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Numbers as varints of five bytes: (n,) to (n, 5). Longer than need be, which protobuf allows."""
    parts = (numbers[:, None] >> (7 * np.arange(VARINT))) & 0x7F
    parts[:, :-1] |= 0x80
    return parts.astype(np.uint8)


class Templates:
    """The frames of a recording as bytes in which time and sequence can be written.

    Args:
        both: fill channel b with the figures of channel a; the recordings have none.
        prefix: what stands before each payload.
    """

    def __init__(self, recording: recordings.Recording, both: bool, prefix: bytes) -> None:
        rows = recording.cycles.filter(pc.less(recording.cycles.column("frame"), FRAMES))
        size = rows.num_rows
        sources = (*value_columns("a"), *value_columns("a" if both else "b"))
        payloads = wire.encode(
            pa.RecordBatch.from_arrays(
                [
                    pa.array(np.full(size, _MARK_S * 1_000_000 + _MARK_NS // 1000)).view(TIMESTAMP),
                    rows.column("stream"),
                    pa.array(np.full(size, _MARK_SEQUENCE)),
                    rows.column("frame"),
                    *(rows.column(name) for name in sources),
                ],
                names=["time", "stream", "sequence", "message", *VALUE_COLUMNS],
            )
        )
        self._bytes = np.stack([np.frombuffer(prefix + payload, np.uint8) for payload in payloads])
        self._places = [_places(self._bytes, mark) for mark in (_MARK_S, _MARK_NS, _MARK_SEQUENCE)]

    def stamped(self, number: NDArray[np.int64], time_us: NDArray[np.int64]) -> list[bytes]:
        """Message `number` of a device, at `time_us`; both of shape (n,)."""
        rows = self._bytes[number % len(self._bytes)]
        written = (time_us // 1_000_000, time_us % 1_000_000 * 1000, number)
        for places, values in zip(self._places, written, strict=True):
            rows[:, places] = np.tile(varints(values), len(places) // VARINT)
        data, size = rows.tobytes(), rows.shape[1]
        return [data[start : start + size] for start in range(0, len(data), size)]


def _places(rows: NDArray[np.uint8], mark: int) -> NDArray[np.intp]:
    """The columns in which a mark stands, in every row the same."""
    wanted = varints(np.array([mark]))[0]
    windows = np.lib.stride_tricks.sliding_window_view(rows, VARINT, axis=1)
    starts = np.flatnonzero((windows == wanted).all(axis=(0, 2)))
    return (starts[:, None] + np.arange(VARINT)).ravel()


class Sender:
    """Sends to many endpoints. Turn t of frame n is due at n cycles and t sixteenths of one."""

    def __init__(self, publisher: Publisher, templates: Templates, devices: int, rate_hz: float) -> None:
        self._publisher = publisher
        self._templates = templates
        self._turns = min(TURNS, devices)
        self._devices = [len(range(turn, devices, self._turns)) for turn in range(self._turns)]
        self._rate_hz = rate_hz
        self.published = 0
        self.late = Delays()

    def run(self, seconds: float, enough: threading.Event) -> None:
        """Send for so long, each device the same number of messages; or, for infinite seconds, until it is enough."""
        end = sys.maxsize if math.isinf(seconds) else round(seconds * self._rate_hz) * self._turns
        pace = Pace(time.time_ns() // 1000, self._rate_hz * self._turns)
        following = 0

        def over() -> bool:
            return end == sys.maxsize and enough.is_set()

        while following < end and not over():
            numbers = np.arange(following, min(end, following + BLOCK))
            times_us = pace.time_us(numbers)
            frames = self._templates.stamped(numbers // self._turns, times_us)
            sent_us: list[int] = []
            while len(sent_us) < len(frames) and not over():
                due = min(pace.due(time.time_ns() // 1000) - following, len(frames))
                due = max(due, len(sent_us))  # a clock that is set back takes back nothing
                self._send(following, frames, range(len(sent_us), due))
                now_us = time.time_ns() // 1000
                sent_us += [now_us] * (due - len(sent_us))
                wait_s = pace.wait_s(following + due, now_us)
                if wait_s > 0:
                    time.sleep(max(SMALLEST_WAIT_S, wait_s))
            self.late.add(np.array(sent_us, np.int64) - times_us[: len(sent_us)])
            following += len(frames)

    def _send(self, first: int, frames: list[bytes], places: range) -> None:
        """Send the frames at these places, of which the first one is for turn `first`."""
        if self._turns == 1:  # one endpoint, which may be fast
            self._publisher.send_run(0, frames[places.start : places.stop])
            self.published += len(places)
            return
        for place in places:
            turn = (first + place) % self._turns
            self._publisher.send_run(turn, [frames[place]])
            self.published += self._devices[turn]


class Generator:
    """The publishers, in a process of their own."""

    def __init__(self, load: Load) -> None:
        both = "both" if load.both_channels else "one"
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "pipeline.bench.generator", str(load.devices), str(load.rate_hz), both],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self.endpoints: list[str] = self.answer()["endpoints"]

    def say(self, word: object) -> None:
        """Send a line."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            raise KarmanError("the load generator has ended before its time")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise KarmanError(f"the load generator: {answer['error']}")
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def main(devices: int, rate_hz: float, both: bool) -> None:
    """Bind, say where, wait for the word and for subscribers, send, say what was sent."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # three descriptors a device
    templates = Templates(recordings.load("sample1"), both, DEFAULT_TOPIC.encode())
    endpoints = ["tcp://127.0.0.1:*"] * devices
    publisher = Publisher(endpoints, "", queue=queue_of(devices), sockets=min(TURNS, devices))
    _say(endpoints=publisher.endpoints)
    sender = Sender(publisher, templates, devices, rate_hz)
    seconds = float(sys.stdin.readline())
    if not publisher.wait_for_subscribers(PATIENCE_S):
        _say(error="not every endpoint has a subscriber")
        return
    _say(sending=True)
    enough = threading.Event()
    listening = threading.Thread(target=lambda: _listen(enough), daemon=True)
    listening.start()
    sender.run(seconds, enough)
    _say(published=sender.published, late_ms={share: sender.late.quantile_ms(share) for share in (0.5, 0.99, 1.0)})
    listening.join()  # what was sent stays queued until all are done
    if math.isinf(seconds):
        sys.stdin.readline()
    publisher.close()


def _listen(enough: threading.Event) -> None:
    sys.stdin.readline()
    enough.set()


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "both")
