"""The replay: plays recordings on the devices' endpoints, in a thread of its own."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from typing import Any, Final

import ray

from actors import board, topology
from pipeline.adapters.publisher import Publisher
from pipeline.adapters.recordings import load
from pipeline.adapters.replay import Begin, Frames, Replayer
from pipeline.core.config import PipelineConfig
from pipeline.core.continuity import Position
from pipeline.core.pacing import Pace

SWITCH_S: Final = 2.0  # a switch takes effect with the next frame; without subscribers yet, when they come
ASK_S: Final = 2.0


class ReplayActor:
    """Publishes for every device of the pipeline, each on its own endpoint.

    After a restart within the same run it goes on where it would have been: what was due meanwhile was not sent, is
    counted as skipped, and shows as a gap. What it plays since a switch, the Prometheus writer remembers for it.
    """

    def __init__(self, config: PipelineConfig) -> None:
        board.take_turn(topology.REPLAY)
        if config.replay is None:
            raise ValueError("this pipeline has no replay")
        self._config = config
        self._settings = config.replay
        rate_hz = self._settings.rate_hz * self._settings.speed
        end = None if self._settings.duration_s is None else round(self._settings.duration_s * rate_hz)
        self._rate_hz = rate_hz
        self._before_restart = self._predecessor()
        self._recording, begin = self._settings.recording, None
        if self._before_restart:
            self._recording, begin = self._before_restart["recording"], Begin(**self._before_restart["begin"])
        loaded = load(self._recording)
        self._title, self._simulated = loaded.name, loaded.simulated
        frames = Frames(loaded, self._settings.mirror, begin)
        self._pace = Pace(0, rate_hz)
        self._publisher = Publisher([device.endpoint for device in config.devices], config.devices[0].topic)
        self._replayer = Replayer(frames, self._publisher, len(config.devices), end)
        self._before = 0  # messages that this process's predecessors are known to have published
        self._resumed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._thread.start()

    def health(self) -> dict[str, Any]:
        """Who answers.

        Raises:
            RuntimeError: the playing thread has died.
        """
        if not (self._thread.is_alive() or self._replayer.finished or self._stop.is_set()):
            raise RuntimeError("the replay plays no more")
        return topology.identity()

    def stats(self) -> dict[str, Any]:
        """What is known to have been published; `skipped` was due while no process of this actor was running."""
        return {
            "recording": self._recording,
            "title": self._title,
            "simulated": self._simulated,
            "published": self._before + self._replayer.published,
            "skipped": self._replayer.skipped,
            "resumed": self._resumed,
            "finished": self._replayer.finished,
            "begin": asdict(self._replayer.frames.begin),
            "pace": asdict(self._pace),
        }

    def switch(self, recording: str) -> dict[str, Any]:
        """Play another recording from the next frame on; sequence numbers and times continue. Answers the stats.

        Raises:
            InputError: there is no such recording, or it cannot be read.
        """
        loaded = load(recording)
        playing = self._replayer.frames
        self._replayer.switch(lambda begin: Frames(loaded, self._settings.mirror, begin))
        deadline_s = time.monotonic() + SWITCH_S
        while self._replayer.frames is playing and time.monotonic() < deadline_s:
            time.sleep(0.01)
        self._recording, self._title, self._simulated = recording, loaded.name, loaded.simulated
        return self.stats()

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
        self._pace, first = Pace(now_us, self._rate_hz), 0
        if position is not None:
            self._resumed = True
            if self._before_restart and self._before_restart["pace"]["start_us"]:
                self._pace = Pace(**self._before_restart["pace"])
                last = self._pace.frame_at(position.time_us)
            else:
                last = self._replayer.frames.index_of(position.sequence)
                self._pace = Pace.resumed(last, position.time_us, self._rate_hz)
            first = max(self._pace.due(now_us), last + 1, self._replayer.frames.begin.frame)
            self._before = (last + 1) * len(self._config.devices)
            self._replayer.skipped = (first - last - 1) * len(self._config.devices)
        self._replayer.run(self._pace, first, self._stop)

    @staticmethod
    def _predecessor() -> dict[str, Any] | None:
        """The last stats of this actor's previous process; None at the start, or if nobody has them."""
        try:
            gateway = topology.find(topology.EXPORTER)
            stats: dict[str, Any] | None = ray.get(gateway.last_answer.remote(topology.REPLAY), timeout=ASK_S)
        except (ValueError, ray.exceptions.RayError):
            return None
        return stats

    def _position(self) -> Position | None:
        """The newest stored row of this run's replay, if it had begun before this process did."""
        devices = [device.name for device in self._config.devices]
        try:
            opening = ray.get(topology.find(topology.STORE).open.remote(topology.REPLAY, devices), timeout=30)
        except (ray.exceptions.RayError, ValueError):
            return None
        positions = [p for p in opening.positions.get("cycle", {}).values() if p.time_us >= self._config.run_us]
        return max(positions, key=lambda position: position.time_us, default=None)
