"""From a fleet file to the pipeline's configuration: included files read, patterns expanded, secrets fetched.

Must not know: the command line, Ray.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.adapters.configuration import devices, document, places
from pipeline.adapters.configuration.complaints import at, validate
from pipeline.adapters.configuration.devices import Entry
from pipeline.adapters.configuration.source import Place, Source, read
from pipeline.adapters.configuration.values import settings
from pipeline.adapters.curve import read_pair
from pipeline.adapters.secrets import read_secret, read_token
from pipeline.core import config as core
from pipeline.core.config import PipelineConfig
from pipeline.core.errors import InputError
from pipeline.core.fleet.shard import LONGEST_WAIT_S

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and the files that it was made from: it may change when one of them does."""

    config: PipelineConfig
    files: tuple[Path, ...]


def schema() -> str:
    """The JSON schema of a fleet file."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **document.Document.model_json_schema()}
    return json.dumps({**whole, "title": "Karman fleet file"}, indent=2) + "\n"


def load(path: Path, environ: Mapping[str, str], run_us: int, dsn: str | None = None) -> Loaded:
    """Read a fleet file.

    Args:
        environ: where the variable with the DSN is looked for.
        run_us: when this run began, microseconds since the epoch.
        dsn: a DSN that counts instead of the file's; "" where nothing will be stored.

    Raises:
        InputError: something is wrong; the message has a line for everything that is.
    """
    reading = _Reading(path)
    config = reading.run(environ, run_us, dsn)
    if reading.wrong or config is None:
        raise InputError("\n".join(reading.wrong))
    return Loaded(config, tuple(reading.files))


class _Reading:
    """One reading of a file. What is wrong gathers in `wrong`, a line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.files = [path]
        self.wrong: list[str] = []

    def run(self, environ: Mapping[str, str], run_us: int, dsn: str | None) -> PipelineConfig | None:
        top = read(self._path)
        whole, self.wrong = validate(document.Document, top)
        if whole is None:
            return None
        entries = self._entries(top, whole)
        fleet = tuple(entry.device for entry in entries)
        if not fleet and not self.wrong:
            self.wrong.append(f"{self._path}: no device is given: write at least one under 'devices'")
        breakers, wrong = places.breakers(top, whole.breakers_a, fleet)
        self.wrong += [] if self.wrong else wrong  # without all devices, much would seem to be unknown
        curve = whole.security.curve
        self.wrong += devices.in_the_clear(entries) if curve.require else []
        self.wrong += _waits(top, settings(core.Fleet, whole.fleet))
        place = ("security", "curve", "client_secret_file")
        self._secret(top, place, curve.client_secret_file, read_pair)  # ingests read it themselves; here it is checked
        token = self._secret(top, ("http", "token_file"), whole.http.token_file, read_token)
        found = self._dsn(top, whole.database, environ) if dsn is None else dsn
        if self.wrong:
            return None
        return PipelineConfig(
            fleet,
            found or "",
            run_us,
            whole.http.host,
            whole.http.port,
            token=token,
            window_s=whole.window_s,
            mains_hz=whole.mains_hz,
            streams=tuple(whole.streams),
            devices_per_actor=whole.devices_per_actor,
            standby=whole.standby,
            store_shards=whole.store_shards,
            aggregator_shards=whole.aggregator_shards,
            limits=settings(core.Limits, whole.limits),
            storage=settings(core.Storage, whole.storage),
            metrics=settings(core.Metrics, whole.metrics),
            fleet=settings(core.Fleet, whole.fleet),
            breakers=breakers,
            grafana_url=whole.http.grafana_url,
            curve_keys_file=self._beside(curve.client_secret_file),
            spool_dir=self._beside(whole.spool_dir),
        )

    def _beside(self, name: str | None) -> str | None:
        """A path that is relative to this file, for processes that may be anywhere."""
        return None if name is None else str((self._path.parent / name).absolute())

    def _entries(self, top: Source, whole: document.Document) -> list[Entry]:
        stands, wrong = places.racks(top, whole.topology)
        self.wrong += wrong
        entries, wrong = devices.expand(top, whole, {}, whole.streams, stands)
        self.wrong += wrong
        for source, part in self._included(top, whole):
            more, wrong = devices.expand(source, part, devices.given(whole.defaults), whole.streams, stands)
            entries += more
            self.wrong += wrong
        self.wrong += devices.twins(entries)
        return entries

    def _included(self, top: Source, whole: document.Document) -> list[tuple[Source, document.Included]]:
        parts = []
        for index, pattern in enumerate(whole.include):
            try:
                found = sorted(path for path in self._path.parent.glob(pattern) if path.is_file())
            except (ValueError, NotImplementedError):  # an empty pattern, or one from the root
                found = [Path(pattern)] if Path(pattern).is_file() else []
            if not found:
                self.wrong.append(at(top, ("include", index), f"'{pattern}' matches no file"))
            self.files += found
            for path in found:
                try:
                    source = read(path)
                except InputError as error:
                    self.wrong.append(str(error))
                    continue
                part, wrong = validate(document.Included, source)
                self.wrong += wrong
                if part is not None:
                    parts.append((source, part))
        return parts

    def _secret(self, top: Source, place: Place, name: str | None, reader: Callable[[Path], T]) -> T | None:
        if name is None:
            return None
        path = self._path.parent / name
        self.files.append(path)
        try:
            return reader(path)
        except InputError as error:
            self.wrong.append(at(top, place, str(error)))
            return None

    def _dsn(self, top: Source, database: document.Database, environ: Mapping[str, str]) -> str | None:
        if database.dsn_file is not None:
            return self._secret(top, ("database", "dsn_file"), database.dsn_file, lambda path: read_secret(path, "DSN"))
        if not environ.get(database.dsn_env):
            self.wrong.append(
                at(top, ("database", "dsn_env"), f"the environment variable {database.dsn_env} is not set")
            )
        return environ.get(database.dsn_env)


def _waits(top: Source, fleet: core.Fleet) -> list[str]:
    """What is wrong with how long the sums wait."""
    wrong = []
    if fleet.wait_s > LONGEST_WAIT_S:
        wrong.append(at(top, ("fleet", "wait_s"), f"the sums wait {LONGEST_WAIT_S:g} s at most"))
    if fleet.flush_s >= fleet.wait_s:
        said = f"what is handed on only every {fleet.flush_s:g} s is late where the sums wait {fleet.wait_s:g} s"
        wrong.append(at(top, ("fleet", "flush_s"), said))
    return wrong
