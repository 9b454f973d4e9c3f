"""A live page whose cycles a test sends, behind a real server; what it shows comes from the core's own parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from pipeline.adapters.web import WebServer
from pipeline.adapters.web.api import Api
from pipeline.adapters.web.feed import Feed
from pipeline.adapters.web.files import Files
from pipeline.adapters.web.socket import LiveSocket
from pipeline.core.cycles import Cycles
from pipeline.core.envelope import rows_to_bytes
from pipeline.core.errors import StorageError
from pipeline.core.figures import Figures, Minute
from pipeline.core.live import Mark, RecentRows
from pipeline.core.metrics import Snapshot
from pipeline.core.model import STREAMS, Tally
from pipeline.core.status import DeviceState
from tests.ports import free_port
from tests.rows import PERIOD_US, START_US, cycles

NAME = "rack/1:pdu+<b>2"  # as odd as a configured name can be, and odder


class Source:
    """One device whose cycles the test sends, and one that floods whoever looks at it."""

    streams = STREAMS

    def __init__(self) -> None:
        self.recently = RecentRows(10_000_000, 64 << 20, origin=1)
        self.stored = Cycles.empty(STREAMS)
        self.error: StorageError | None = None
        self.stream = ""  # another name for the first stream
        self.channels = "a"
        self.asked: list[str] = []
        self._flood = rows_to_bytes(rows("flood", range(20_000)))
        self._figures: Figures | None = None
        self.look()

    def look(self, age_us: int = 0) -> None:
        state = DeviceState("tcp://x:1", True, 1, START_US - age_us, Tally(10), 60.0)
        self._figures = Figures(Snapshot(START_US, streams=STREAMS, states={NAME: state, "flood": state}), 5.0)

    def send(self, *numbers: int) -> None:
        streams = (self.stream or STREAMS[0], *STREAMS[1:])
        self.recently.push(rows(NAME, numbers, streams, self.channels), 0)

    def recent(self, device: str, mark: Mark | None) -> Future[tuple[Mark, bytes]] | None:
        self.asked.append(device)
        answer: Future[tuple[Mark, bytes]] = Future()
        if device == "flood":
            answer.set_result(((0, 0), self._flood))
        elif device != "hangs":
            following, found = self.recently.since(device, mark)
            answer.set_result((following, rows_to_bytes(found)))
        return answer

    def older(self, device: str, from_us: int, to_us: int) -> Cycles:
        if self.error:
            raise self.error
        return self.stored.between(from_us, to_us) if device == NAME else Cycles.empty(STREAMS)

    def figures(self) -> Figures | None:
        return self._figures

    def minute(self) -> Minute:
        return Minute((NAME, "flood"), np.zeros((2, 3), np.float32))

    def about(self) -> Mapping[str, Any]:
        return {"streams": STREAMS, "nominal_hz": 60.0, "replay": None, "database": {"lag_s": None, "error": None}}


def rows(device: str, numbers: Any, streams: Sequence[str] = STREAMS, channels: str = "a") -> Any:
    return cycles(
        {
            "device": device,
            "stream": stream,
            "time": START_US + number * PERIOD_US,
            "sequence": number,
            "message": number,
            **{f"{channel}_real_power_w": float(number) for channel in channels},
        }
        for number in numbers
        for stream in streams
    )


class Served:
    """A source behind a real server."""

    def __init__(self, token: str | None = None) -> None:
        port = free_port()
        self.source = Source()
        self.feed = Feed(self.source)
        files = Files()
        parts = (files, Api(self.feed), LiveSocket(self.feed))
        WebServer("127.0.0.1", port, {}, token, parts=parts, public=files.paths)
        self.url = f"http://127.0.0.1:{port}"
