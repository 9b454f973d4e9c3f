"""What it costs to look on: CPU of the server and of a browser with one and with a thousand devices, and frames drawn.

The server, its feed and the page are the real ones; the cycles are those of the simulated recording `sample1`, made
anew for whoever asks. What making them costs is in the figures. The browser is Chromium, headless, where it and
selenium are installed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
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
SETTLE_S: Final = 4.0
CHROMIUM: Final = "chromium"
CHROMEDRIVER: Final = "chromedriver"
# Nothing of Chromium's own may use the network or the processor while it is measured, or tested.
CHROMIUM_FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic"),
)


@dataclass(frozen=True, slots=True)
class Looking:
    """CPU as a share of one core; frames drawn a second, of the charts or, scrolling, of the table."""

    devices: int
    view: str
    server: float
    browser: float | None = None
    frames_hz: float | None = None


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
    program = f"from pipeline.bench import looking; looking.serve({devices}, {port})"
    with subprocess.Popen([sys.executable, "-c", program]) as process:  # noqa: S603 - our own words
        try:
            while not _answers(port):
                if process.poll() is not None:
                    raise RuntimeError("the server did not start")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            process.terminate()


@contextmanager
def chromium(width: int = 1280, height: int = 800) -> Iterator[Any]:
    """A headless Chromium with a profile of its own: selenium's driver. Raises ImportError without selenium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which(CHROMIUM) or CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(shutil.which(CHROMEDRIVER)))
        try:
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            yield driver
        finally:
            driver.quit()


def measure(seconds: float) -> Iterator[Looking]:
    """One and a thousand devices: nobody looks, at a device, at the fleet."""
    for devices in (1, 1000):
        with served(devices) as (url, server):
            time.sleep(SETTLE_S)
            before = _cpu_s(server)
            time.sleep(seconds)
            yield Looking(devices, "nobody", (_cpu_s(server) - before) / seconds)
            if shutil.which(CHROMIUM) and shutil.which(CHROMEDRIVER):
                yield from _looked_at(devices, url, server, seconds)


def _looked_at(devices: int, url: str, server: psutil.Process, seconds: float) -> Iterator[Looking]:
    try:
        import selenium  # noqa: F401
    except ImportError:
        return
    with chromium() as driver:
        browser = psutil.Process(driver.service.process.pid)
        for view, path in (("device, 10 s", "/#/device"), ("fleet, scrolling", "/#/fleet")):
            driver.get(f"{url}{path}")
            time.sleep(SETTLE_S)
            driver.execute_script(_SCROLL if "fleet" in view else _COUNT)
            processes = [browser, *browser.children(recursive=True)]
            began_s, at_server, at_browser = time.monotonic(), _cpu_s(server), _cpu_s(*processes)
            frames = driver.execute_script("return measured()")
            time.sleep(seconds)
            drawn = driver.execute_script("return measured()") - frames
            spent_s = time.monotonic() - began_s
            yield Looking(
                devices,
                view,
                (_cpu_s(server) - at_server) / spent_s,
                (_cpu_s(*processes) - at_browser) / spent_s,
                drawn / spent_s,
            )


_COUNT: Final = "globalThis.measured = () => karman.device.frames"
_SCROLL: Final = """
let frames = 0;
const place = document.getElementById("scroller");
const step = () => {
  frames += 1;
  place.scrollTop = (place.scrollTop + 40) % (place.scrollHeight || 1);
  requestAnimationFrame(step);
};
requestAnimationFrame(step);
globalThis.measured = () => frames;
"""


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _cpu_s(*processes: psutil.Process) -> float:
    """CPU seconds that these processes have used."""
    used = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        used += times.user + times.system
    return used
