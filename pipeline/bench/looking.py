"""What it costs to look on: CPU of the server and of a browser with one and with a thousand devices, and frames drawn.

The server, its feed and the page are the real ones; the cycles are synthetic, and what making them costs is in the
figures. The browser is Chromium, headless, where it and selenium are installed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psutil

from pipeline.bench.chromium import chromium, installed
from pipeline.bench.synthetic import served

SETTLE_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class Looking:
    """CPU as a share of one core; frames drawn a second, of the charts or, scrolling, of the table."""

    devices: int
    view: str
    server: float
    browser: float | None = None
    frames_hz: float | None = None


def measure(seconds: float) -> Iterator[Looking]:
    """One and a thousand devices: nobody looks, at a device, at the fleet."""
    for devices in (1, 1000):
        with served(devices) as (url, server):
            time.sleep(SETTLE_S)
            before = _cpu_s(server)
            time.sleep(seconds)
            yield Looking(devices, "nobody", (_cpu_s(server) - before) / seconds)
            if installed():
                yield from _looked_at(devices, url, server, seconds)


def _looked_at(devices: int, url: str, server: psutil.Process, seconds: float) -> Iterator[Looking]:
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
