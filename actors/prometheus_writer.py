"""The writer towards Prometheus: collects the latest summaries and counts, and serves them as pages.

It asks the others and nobody waits for it, so that a scrape can never delay the stream. After a restart it has
everything again within a second. It owns the pipeline's HTTP port: the live page, its API, `/metrics` and
`/api/v1/status`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray

import pipeline
from actors import board, topology
from actors.asking import Questions
from actors.board import Applied
from actors.live import LiveSource
from actors.watch import WATCH_S
from pipeline.adapters import exposition
from pipeline.adapters.web import Action, Body, Page, WebServer, as_json
from pipeline.adapters.web.api import Api
from pipeline.adapters.web.feed import Feed
from pipeline.adapters.web.files import Files
from pipeline.adapters.web.socket import LiveSocket
from pipeline.core.aggregation import Summary
from pipeline.core.alerts import standing
from pipeline.core.assignment import Groups
from pipeline.core.balance import STARTED_ANEW, balance, joined
from pipeline.core.completeness import Completeness
from pipeline.core.config import PipelineConfig
from pipeline.core.counters import Added, Greatest
from pipeline.core.errors import InputError, KarmanError
from pipeline.core.fleet.told import Told
from pipeline.core.metrics import Snapshot, collect
from pipeline.core.model import Tally
from pipeline.core.pairing import sender
from pipeline.core.progress import furthest, held
from pipeline.core.rates import OffRates, Rates
from pipeline.core.rhythm import rhythm
from pipeline.core.status import DeviceState, Observation, document

log = logging.getLogger(__name__)

PERIOD_S: Final = 1.0
ANSWER_S: Final = 0.8  # a look waits no longer; an answer that comes later counts in the next
EXCLUDED, UNWRITTEN, MISSED = "excluded", "unwritten", "missed"  # of a fleet's sums
SWITCH_S: Final = 10.0  # a large recording takes a second or two to read


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A page and what it was rendered from."""

    snapshot: Snapshot
    body: Body


class PrometheusWriterActor:
    """Serves what the other actors know."""

    def __init__(self, config: PipelineConfig) -> None:
        board.take_turn(topology.EXPORTER)
        applied = board.current(config)
        config = self._config = applied.config
        self._groups = applied.groups
        self._questions = Questions()
        self._latest: dict[str, Any] = {}
        self._next_s: dict[str, float] = {}  # when what is not asked for at every look is asked for
        self._rates, self._off_rates = Rates(), OffRates()
        self._observation: Observation | None = None
        self._completeness = Completeness()
        self._sending: dict[str, Any] = {}
        self._tallies: dict[str, Tally] = {}
        self._dropped: dict[str, int] = {}
        self._refused = ""
        self._greatest: defaultdict[str, Greatest] = defaultdict(Greatest)  # by actor, or what is counted
        self._added = Added()
        self._snapshot = Snapshot(settings=config.metrics)
        self._page = _Rendered(Snapshot(), Body(exposition.CONTENT_TYPE, b""))
        self._rendering = threading.Lock()
        pages: dict[str, Page] = {
            "/metrics": self._metrics,
            "/api/v1/status": lambda: Body("application/json", as_json(self.status())),
        }
        actions: dict[str, Action] = {"/api/v1/replay": self._switch}
        self._live = LiveSource(config)
        feed, files = Feed(self._live), Files()
        parts = (files, Api(feed), LiveSocket(feed))
        self._server = WebServer(
            config.http_host, config.http_port, pages, config.token, actions, parts=parts, public=files.paths
        )
        threading.Thread(target=self._run, name="collect", daemon=True).start()

    def configure(self, applied: Applied) -> None:
        """Another configuration is in force."""
        self._config, self._groups = applied.config, applied.groups
        self._live.configure(applied.config)
        self._server.ask_for(applied.config.token)

    def refused(self, said: str) -> None:
        """The configuration that was read last is not in force, and why; "" if it is."""
        self._refused = said

    def health(self) -> dict[str, Any]:
        """Who answers."""
        return topology.identity()

    def status(self) -> dict[str, Any]:
        """The status document, as of the last look."""
        if self._observation is None:
            return {}
        return {**document(self._observation), "alerts": [asdict(alert) for alert in standing(self._snapshot)]}

    def last_answer(self, name: str) -> Any:
        """What an actor said last, from which it goes on when it is restarted; None if it never did."""
        return self._latest.get(name)

    def _switch(self, wanted: Any) -> Body:
        """Let the replay play another recording."""
        recording = wanted.get("recording") if isinstance(wanted, dict) else None
        if self._config.replay is None:
            raise InputError("this pipeline receives devices: only a demo has a scenario to switch")
        if not isinstance(recording, str) or Path(recording).name != recording:
            raise InputError('a recording\'s name is wanted, for example {"recording": "sample2"}')
        try:
            replay = topology.find(topology.REPLAY)
            self._latest[topology.REPLAY] = ray.get(replay.switch.remote(recording), timeout=SWITCH_S)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, KarmanError):
                raise error.cause from error
            raise
        except (ValueError, ray.exceptions.RayError) as error:
            raise KarmanError("the replay does not answer: try again in a second") from error
        simulated = self._latest[topology.REPLAY]["simulated"]
        return Body("application/json", as_json({"recording": recording, "simulated": simulated}))

    def _metrics(self) -> Body:
        """The page of the newest snapshot: rendered when it is first asked for, once for all who ask."""
        with self._rendering:
            snapshot = self._snapshot
            if self._page.snapshot is not snapshot:
                page = exposition.render(collect(snapshot)) + exposition.render_process()
                self._page = _Rendered(snapshot, Body(exposition.CONTENT_TYPE, page, exposition.compress(page)))
            return self._page.body

    def _run(self) -> None:
        while True:
            began_s = time.monotonic()
            try:
                self._look()
            except Exception:
                log.exception("could not collect; the pages stay as they were")
            time.sleep(max(0.05, PERIOD_S - (time.monotonic() - began_s)))

    def _look(self) -> None:
        config, groups = self._config, self._groups
        questions: dict[str, str] = {}
        if self._is_due("reports", rhythm(len(config.devices), config.limits).report_s):
            questions |= dict.fromkeys(topology.aggregator_names(config), "report")
        if self._is_due("actors", WATCH_S):  # it asks them itself
            questions |= {topology.SUPERVISOR: "status"}
        questions |= dict.fromkeys([*topology.ingest_members(config, groups), *topology.store_names(config)], "stats")
        if config.fleet_settings is not None:
            questions |= {topology.FLEET: "report"} | dict.fromkeys(topology.fleet_shard_names(config), "queue")
        if config.replay:
            questions[topology.REPLAY] = "stats"
        answers = self._questions.ask(questions, ANSWER_S)
        for name in topology.store_names(config):
            if name in answers and answers[name]["accounts"] is None:  # it has not read the ledger yet
                answers[name]["accounts"] = self._latest.get(name, {}).get("accounts")
        # An actor that is being restarted, or has not caught up, is shown as it was last seen.
        self._latest |= {name: answer for name, answer in answers.items() if answer is not None}
        ingests = self._senders(answers, groups)
        summaries = tuple(
            self._held(name, self._latest[name]) for name in topology.aggregator_names(config) if name in self._latest
        )
        store = joined(
            [self._going_on(name, self._latest[name]) for name in topology.store_names(config) if name in self._latest]
        )
        actors = self._latest.get(topology.SUPERVISOR, {})
        fleet = self._latest.get(topology.FLEET)
        told = self._held_fleet(fleet.told, store.get("fleet_refused_s", 0)) if fleet and fleet.told else None
        adding = [fleet.queue, *map(self._latest.get, topology.fleet_shard_names(config))] if fleet else []
        replay = self._latest.get(topology.REPLAY)
        now_us = time.time_ns() // 1000
        devices = self._devices(list(ingests.values()))
        live = {(producer, stats["epoch"]): stats["counted"] for producer, stats in ingests.items()}
        counts = balance(live, store.get("accounts") or {}, store.get("spooled") or {})
        lag_s = self._lag_s(devices)
        self._snapshot = Snapshot(
            now_us,
            config.metrics,
            pipeline.__version__,
            {device.name: device for device in config.devices},
            config.streams,
            devices,
            self._completeness.look({name: state.tally for name, state in devices.items()}),
            summaries,
            replace(counts, dropped=self._grown(counts.dropped)),
            {**store, "lag_s": lag_s},
            [*(queue for ingest in ingests.values() for queue in ingest["queues"]), *filter(None, adding)],
            {name: entry["restarts"] for name, entry in actors.items()},
            told,
            self._refused,
        )
        homes = {device: stats["name"] for stats in ingests.values() for device in stats["devices"]}
        self._live.update(self._snapshot, homes, replay)
        self._observation = Observation(
            now_us,
            config.limits.silence_s,
            replay,
            devices,
            summaries,
            counts,
            {key: value for key, value in store.items() if key not in ("accounts", "spooled")},
            actors,
            [
                *filter(None, [self._refused]),
                *(notice for ingest in ingests.values() for notice in ingest["notices"]),
                *self._off_rates.look(self._heard_hz(devices, now_us), self._hz_of, now_us),
            ],
            told,
        )

    def _is_due(self, what: str, every_s: float) -> bool:
        """Whether it is time to ask for something again."""
        now_s = time.monotonic()
        due = now_s >= self._next_s.get(what, 0.0)
        if due:
            self._next_s[what] = now_s + every_s - PERIOD_S / 2  # the look that is nearest to it
        return due

    def _senders(self, answers: Mapping[str, Any], groups: Groups) -> Mapping[str, Any]:
        """By producer the stats of the ingest that sends; while none does, of the one that did last."""
        self._sending = {producer: stats for producer, stats in self._sending.items() if producer in groups}
        for producer in groups:
            members = (producer, topology.standby_of(producer))
            found = sender(answers[name] for name in members if name in answers)
            if found is not None and (found["epoch"] or producer not in self._sending):
                self._sending[producer] = found
        return self._sending

    def _heard_hz(self, devices: Mapping[str, DeviceState], now_us: int) -> dict[str, float | None]:
        """The rate of each device; None of one that is silent."""
        silent_us = now_us - self._config.limits.silence_s * 1e6
        return {name: state.rate_hz if state.last_received_us > silent_us else None for name, state in devices.items()}

    def _hz_of(self, device: str) -> float:
        """Messages a second of a device, as it is configured."""
        configured = self._snapshot.devices.get(device)
        return self._config.hz_of(configured) if configured is not None else self._config.nominal_hz

    def _lag_s(self, devices: Mapping[str, DeviceState]) -> float | None:
        """How far the slowest shard of the store is behind what was received of its own devices; None: not known."""
        received_us: Counter[str] = Counter()
        for name, state in devices.items():
            store = topology.store_of(name, self._config)
            received_us[store] = max(received_us[store], state.last_received_us)
        committed_us = {store: self._latest[store]["newest_us"] for store in received_us if store in self._latest}
        lags_s = [max(0, received_us[store] - at_us) / 1e6 for store, at_us in committed_us.items() if at_us]
        return max(lags_s, default=None)

    def _held(self, name: str, summary: Summary) -> Summary:
        return replace(summary, energy=self._greatest[name].hold(summary.stream_keys, summary.energy))

    def _going_on(self, name: str, store: Mapping[str, Any]) -> dict[str, Any]:
        counts = {key: self._added.add((name, key), store[key]) for key in STARTED_ANEW if key in store}
        return {**store, **counts}

    def _held_fleet(self, told: Told, refused_s: int) -> Told:
        places, devices = self._greatest[topology.FLEET], self._greatest[EXCLUDED]
        places.keep(told.places)
        devices.keep(told.devices)
        energy_j = places.hold(told.places, told.figures.total_energy_j)
        return replace(
            told,
            figures=replace(told.figures, total_energy_j=energy_j),
            excluded=devices.hold(told.devices, told.excluded.T.astype(np.float64)).T.astype(np.int64),
            unwritten_s=self._added.add(UNWRITTEN, told.unwritten_s) + refused_s,
            missed_s={shard: self._added.add((MISSED, shard), count) for shard, count in told.missed_s.items()},
        )

    def _grown(self, dropped: Mapping[str, int]) -> Mapping[str, int]:
        """The counts, none lower than before: with an ingest dies what it had not handed on yet, and a counter that
        goes back a little would look to Prometheus like one that began anew."""
        for reason, count in dropped.items():
            self._dropped[reason] = max(count, self._dropped.get(reason, 0))
        return dict(self._dropped)

    def _devices(self, ingests: list[Mapping[str, Any]]) -> dict[str, DeviceState]:
        states = {}
        for ingest in ingests:
            for name, entry in ingest["devices"].items():
                # None goes back by what an ingest had counted and not handed on when it died: see `_grown`.
                before = self._tallies.get(name, Tally())
                counted = entry["tally"] or Tally()
                furthest(self._tallies, {name: counted})
                tally = self._tallies[name] = held(before, self._tallies[name])
                heard_us = entry["last_received_us"]
                states[name] = DeviceState(
                    entry["endpoint"],
                    entry["connected"],
                    entry["connections"],
                    heard_us,
                    tally,
                    self._rates.look(name, counted.received, entry["until_us"], heard_us, ingest["time_us"]),
                    entry["handshakes_failed"],
                )
        return states
