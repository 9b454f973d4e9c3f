"""A live page of synthetic devices, served in a process of its own: all play the simulated recording `sample1`.

The server, its feed and the page are the real ones; cycles and figures are made anew for whoever asks.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import psutil
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.adapters import recordings
from pipeline.adapters.web import WebServer
from pipeline.adapters.web.api import Api
from pipeline.adapters.web.feed import Feed
from pipeline.adapters.web.files import Files
from pipeline.adapters.web.socket import LiveSocket
from pipeline.bench.workload import RATE_HZ
from pipeline.core.aggregation import ChannelAggregator
from pipeline.core.config import Device
from pipeline.core.cycles import Cycles
from pipeline.core.envelope import rows_to_bytes
from pipeline.core.figures import TREND_S, Figures, Minute, Trend
from pipeline.core.live import Mark
from pipeline.core.metrics import Snapshot
from pipeline.core.model import CYCLE_SCHEMA, STREAMS, TIMESTAMP, VALUE_COLUMNS, Tally
from pipeline.core.status import DeviceState

PERIOD_US: Final = 1e6 / RATE_HZ
KEPT_FRAMES: Final = round(10 * RATE_HZ)


class Synthetic:
    """A `feed.Source` of so many devices, all playing `sample1`, each at a level of its own."""

    streams: tuple[str, ...] = STREAMS

    def __init__(self, devices: int) -> None:
        recording = recordings.load("sample1")
        self._rows = recording.cycles
        self._frames = recording.frame_count
        self._per_frame = self._rows.num_rows // self._frames
        now_us = time.time_ns() // 1000
        self._start_us = now_us - TREND_S * 1_000_000
        width = len(str(devices))
        self._devices = tuple(
            Device(f"bench{number:0{width}d}", "tcp://127.0.0.1:1", rack=f"r{number // 20:02d}", breaker_a=60.0)
            for number in range(1, devices + 1)
        )
        self._level = np.random.default_rng(1).uniform(0.5, 1.5, devices).astype(np.float32)
        self._aggregator = ChannelAggregator("a", STREAMS, 5_000_000)
        self._trend = Trend()
        self._second = -1
        self._figures: Figures | None = None
        for ago_s in range(TREND_S, 0, -1):
            self._look(now_us - ago_s * 1_000_000)

    def recent(self, device: str, mark: Mark | None) -> Future[tuple[Mark, bytes]] | None:
        """The frames that are due since `mark`, of a device."""
        due = int((time.time_ns() // 1000 - self._start_us) / PERIOD_US) + KEPT_FRAMES
        answer: Future[tuple[Mark, bytes]] = Future()
        wanted = np.arange(max(mark[1] if mark else 0, due - KEPT_FRAMES), due)
        answer.set_result(((0, due), rows_to_bytes(self._batch(wanted, device))))
        return answer

    def older(self, device: str, from_us: int, to_us: int) -> Cycles:
        """Nothing is stored here."""
        return Cycles.empty(STREAMS)

    def figures(self) -> Figures | None:
        """New ones each second."""
        now_us = time.time_ns() // 1000
        if now_us // 1_000_000 != self._second:
            self._second = now_us // 1_000_000
            self._look(now_us)
        return self._figures

    def minute(self) -> Minute:
        """Power of every device over the last minute."""
        return self._trend.minute

    def about(self) -> Mapping[str, Any]:
        """As `actors.live` says it."""
        replay = {"recording": "sample1", "simulated": True, "finished": False, "scenarios": []}
        return {"streams": STREAMS, "nominal_hz": RATE_HZ, "replay": replay, "database": {"lag_s": 0.2, "error": None}}

    def _batch(self, frames: NDArray[np.int64], *devices: str) -> pa.RecordBatch:
        """The frames of each of the devices, the device varying fastest."""
        count = len(devices)
        frame = np.repeat(frames, self._per_frame * count)
        within = np.tile(np.arange(self._per_frame), len(frames) * count)
        owner = np.tile(np.repeat(np.arange(count), self._per_frame), len(frames))
        rows = self._rows.take(pa.array((frame % self._frames) * self._per_frame + within))
        times = pa.array((self._start_us + (frame - KEPT_FRAMES) * PERIOD_US).astype(np.int64)).view(TIMESTAMP)
        level = self._level[: len(self._devices)][owner] if count > 1 else 1.0
        values = [
            pa.array(rows.column(name).to_numpy(zero_copy_only=False) * level, pa.float32(), from_pandas=True)
            if not name.endswith(("_v", "_power_factor"))
            else rows.column(name)
            for name in VALUE_COLUMNS
        ]
        return pa.RecordBatch.from_arrays(
            [
                times,
                times,
                pa.DictionaryArray.from_arrays(pa.array(owner.astype(np.int32)), pa.array(devices)),
                rows.column("stream").dictionary_encode(),
                pa.array(frame),
                pa.array(frame * count + owner),
                pa.array(np.zeros(len(frame), np.int32)),
                *values,
            ],
            schema=CYCLE_SCHEMA,
        )

    def _look(self, now_us: int) -> None:
        frame = int((now_us - self._start_us) / PERIOD_US) + KEPT_FRAMES
        names = tuple(device.name for device in self._devices)
        self._aggregator.push(self._batch(np.array([frame]), *names))
        state = DeviceState("", True, 1, now_us, Tally(frame, frame, 3 * frame), RATE_HZ)
        snapshot = Snapshot(
            now_us,
            devices={device.name: device for device in self._devices},
            streams=STREAMS,
            states=dict.fromkeys(names, state),
            completeness=dict.fromkeys(names, 1.0),
            summaries=(self._aggregator.summary(),),
        )
        self._figures = Figures(snapshot, 5.0)
        self._trend.push(names, self._figures.power_w())


def serve(devices: int, port: int) -> None:
    """Serve the page with so many devices until the process is ended."""
    feed, files = Feed(Synthetic(devices)), Files()
    WebServer("127.0.0.1", port, {}, parts=(files, Api(feed), LiveSocket(feed)), public=files.paths)
    while True:
        time.sleep(3600)


@contextmanager
def served(devices: int) -> Iterator[tuple[str, psutil.Process]]:
    """A server in a process of its own: its address and the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    program = f"from pipeline.bench import synthetic; synthetic.serve({devices}, {port})"
    with subprocess.Popen([sys.executable, "-c", program]) as process:  # noqa: S603 - our own words
        try:
            while not _answers(port):
                if process.poll() is not None:
                    raise RuntimeError("the server did not start")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
