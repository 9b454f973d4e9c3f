"""The replay: plays a recording on the devices' endpoints, in a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import ray

from actors import topology
from pipeline.adapters.link import Publisher
from pipeline.adapters.recordings import load
from pipeline.adapters.replay import Frames, Replayer
from pipeline.core.config import PipelineConfig
from pipeline.core.continuity import Position
from pipeline.core.pacing import Pace

SUBSCRIBER_PATIENCE_S: Final = 60.0


class ReplayActor:
    """Publishes for every device of the pipeline, each on its own endpoint.

    After a restart within the same run it goes on where it would have been: what was due meanwhile was not sent, is
    counted as skipped, and shows as a gap.
    """

    def __init__(self, config: PipelineConfig) -> None:
        if config.replay is None:
            raise ValueError("this pipeline has no replay")
        self._config = config
        self._settings = config.replay
        rate_hz = self._settings.rate_hz * self._settings.speed
        end = None if self._settings.duration_s is None else round(self._settings.duration_s * rate_hz)
        self._rate_hz = rate_hz
        self._frames = Frames(load(self._settings.recording), self._settings.mirror)
        self._publisher = Publisher([device.endpoint for device in config.devices], config.devices[0].topic)
        self._replayer = Replayer(self._frames, self._publisher, len(config.devices), end)
        self._before = 0  # messages that this process's predecessors are known to have published
        self._resumed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()

    def health(self) -> dict[str, int]:
        """Who answers."""
        return topology.identity()

    def stats(self) -> dict[str, Any]:
        """What is known to have been published; `skipped` was due while no process of this actor was running."""
        return {
            "recording": self._settings.recording,
            "published": self._before + self._replayer.published,
            "skipped": self._replayer.skipped,
            "resumed": self._resumed,
            "finished": self._replayer.finished,
        }

    def stop(self) -> dict[str, Any]:
        """Send no more; what was sent is out when this returns."""
        self._stop.set()
        self._thread.join(5)
        return self.stats()

    def _run(self) -> None:
        position = self._position()
        while not self._publisher.wait_for_subscribers(0.5):
            if self._stop.is_set():
                return
        now_us = time.time_ns() // 1000
        pace, first = Pace(now_us, self._rate_hz), 0
        if position is not None:
            self._resumed = True
            last = self._frames.index_of(position.sequence)
            pace = Pace.resumed(last, position.time_us, self._rate_hz)
            first = max(pace.due(now_us), last + 1)
            self._before = (last + 1) * len(self._config.devices)
            self._replayer.skipped = (first - last - 1) * len(self._config.devices)
        self._replayer.run(pace, first, self._stop)

    def _position(self) -> Position | None:
        """The newest stored row of this run's replay, if it had begun before this process did."""
        devices = [device.name for device in self._config.devices]
        try:
            opening = ray.get(topology.find(topology.STORE).open.remote(topology.REPLAY, devices), timeout=30)
        except (ray.exceptions.RayError, ValueError):
            return None
        positions = [p for p in opening["positions"].get("cycle", {}).values() if p.time_us >= self._config.run_us]
        return max(positions, key=lambda position: position.time_us, default=None)
