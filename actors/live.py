"""Where the live page's cycles and figures come from: the ingests, the last look of the gateway, the database."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import ray

import pipeline
from actors import topology
from pipeline.adapters import recordings
from pipeline.adapters.timescale import history
from pipeline.core.config import PipelineConfig
from pipeline.core.cycles import Cycles, by_cycle
from pipeline.core.errors import KarmanError
from pipeline.core.figures import Figures, Minute, Trend
from pipeline.core.live import Mark
from pipeline.core.metrics import Snapshot

MOST_ROWS = 120_000  # of one answer: 5 min at 60 Hz are 54,000


class LiveSource:
    """A `feed.Source`. `update` is its only mutator."""

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        self.streams = config.streams
        self._scenarios = list(map(recordings.recording_name, recordings.available())) if config.replay else []
        self._ingests: Mapping[str, str] = {}  # by device
        self._handles: dict[str, Any] = {}
        self._figures: Figures | None = None
        self._trend = Trend()
        self._replay: Mapping[str, Any] | None = None
        self._store: Mapping[str, Any] = {}

    def configure(self, config: PipelineConfig) -> None:
        """Another configuration is in force."""
        self._config = config

    def update(self, snapshot: Snapshot, ingests: Mapping[str, str], replay: Mapping[str, Any] | None) -> None:
        """Take a new look: what is known, the ingest of each device, what the replay says."""
        figures = Figures(snapshot, self._config.limits.silence_s, self._config.hz_of)
        self._trend.push(figures.devices, figures.power_w())
        for name in {*ingests.values()}:
            if name in self._handles:  # else looked for here, which may take a while
                continue
            with contextlib.suppress(ValueError, ray.exceptions.RayError):  # it is being made anew
                self._handles[name] = topology.find(name)
        self._ingests, self._replay, self._store = ingests, replay, snapshot.store
        self._figures = figures

    def figures(self) -> Figures | None:
        """The newest figures."""
        return self._figures

    def minute(self) -> Minute:
        """Power of every device over the last minute."""
        return self._trend.minute

    def about(self) -> Mapping[str, Any]:
        """What is told with every set of figures."""
        replay = self._replay
        return {
            "version": pipeline.__version__,
            "time_us": time.time_ns() // 1000,
            "streams": self.streams,
            "nominal_hz": self._config.nominal_hz,
            "grafana_url": self._config.grafana_url,
            "replay": {
                "recording": replay["title"],
                "simulated": replay["simulated"],
                "finished": replay["finished"],
                "scenarios": self._scenarios,
            }
            if replay
            else None,
            "database": {"lag_s": self._store.get("lag_s"), "error": self._store.get("error")},
        }

    def recent(self, device: str, mark: Mark | None) -> Future[tuple[Mark, bytes]] | None:
        """Ask the device's ingest."""
        name = self._ingests.get(device, "")
        handle = self._handles.get(name)
        if handle is None:
            return None
        try:
            asked: Future[tuple[Mark, bytes]] = handle.recent.remote(device, mark).future()
        except Exception:  # it is being made anew
            self._handles.pop(name, None)
            return None
        asked.add_done_callback(lambda done: self._handles.pop(name, None) if done.exception() else None)
        return asked

    def older(self, device: str, from_us: int, to_us: int) -> Cycles:
        """Ask the database.

        Raises:
            KarmanError: it is away, slow, or has no index that could answer.
        """
        most = self._config.storage.indexed_devices
        if len(self._config.devices) > most:
            raise KarmanError(f"with more than {most} devices stored cycles have no index by device")
        return by_cycle(history.cycles(self._config.dsn, device, from_us, to_us, MOST_ROWS), self.streams)
