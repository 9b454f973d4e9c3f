"""What a fleet file may hold. docs/fleet.schema.json is made from these models.

Must not know: where a document comes from, what is made of it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.adapters.configuration.values import Count, Positive, Seconds, Strict, settings_model
from pipeline.core import config
from pipeline.core.model import STREAMS

Phase = Literal["A", "B", "C"]
Channel = Literal["a", "b"]

Fleet = settings_model(config.Fleet, "How the power of many devices is added up.")
Limits = settings_model(config.Limits, "Bounds of queues, waits and state.")
Storage = settings_model(config.Storage, "How long rows are kept, and how they are laid out.")
Metrics = settings_model(config.Metrics, "What is exposed to Prometheus.")


class Properties(Strict):
    """What is told of a device; under 'defaults' of all devices of the file that do not say otherwise."""

    topic: str = Field(default=config.DEFAULT_TOPIC, description="Its ZeroMQ topic; may be empty.")
    node: str = Field(default="", description="The server that it feeds, as schedulers name it.")
    rack: str = Field(default="", description="The rack that it stands in; 'topology' says where that is.")
    feed: str = Field(default="", description="The supply that it hangs on, for example A or B.")
    phases: dict[str, Phase] | None = Field(
        default=None, description="The electrical phase of each stream; a stream that is not named is no phase's."
    )
    channels: list[Channel] = Field(
        default=["a"], min_length=1, max_length=2, description="Channels that add up to its power."
    )
    breaker_a: Positive | None = Field(default=None, description="Rating of its breaker in A, of each phase.")
    nominal_v: Positive | None = Field(default=None, description="Nominal voltage in V, line to neutral.")
    mains_hz: Positive | None = Field(default=None, description="Cycles a second, where they are not the pipeline's.")
    server_key: str = Field(
        default="", description="Its public key (CURVE, 40 letters), where it encrypts what it publishes."
    )


class Device(Properties):
    """A device, or with 'each' as many as its values have combinations: fields in braces are filled in."""

    id: str = Field(description="Its name in tables and metrics; the wire carries none.")
    endpoint: str = Field(description="Where it publishes: tcp://HOST:PORT.")
    each: dict[str, str | list[str | int]] = Field(
        default_factory=dict,
        description="Values of the fields: a range such as 1..40, or a list. {index} counts the devices from 0.",
    )


class Included(Strict):
    """A file that another one includes."""

    defaults: Properties = Properties()
    devices: list[Device] = Field(default_factory=list, description="The devices, one by one or by pattern.")


class Database(Strict):
    """Where rows are stored. A DSN may hold a password, so it is never written here."""

    dsn_env: str = Field(default="KARMAN_DSN", description="The environment variable with the DSN.")
    dsn_file: str | None = Field(default=None, description="A file with the DSN, instead.")


class Http(Strict):
    """The port of /metrics and the status."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; loopback unless you say otherwise.")
    port: int = Field(default=config.DEFAULT_PORT, ge=1, le=65535)
    token_file: str | None = Field(default=None, description="A file with the bearer token that clients must show.")
    grafana_url: str | None = Field(default=None, description="Where Grafana is: the live page links to it.")


class Curve(Strict):
    """Encryption of the links to devices, and who is at their ends."""

    client_secret_file: str | None = Field(
        default=None,
        description="Our key pair, as 'karman keys' makes it, on every node; without, devices cannot tell who we are.",
    )
    require: bool = Field(default=False, description="Refuse devices without a server_key.")


class Security(Strict):
    """How the links to devices are secured; the HTTP port's token is under 'http'."""

    curve: Curve = Curve()


class Breakers(Strict):
    """Ratings in A, of each phase, of breakers that feed a whole rack, row, hall, site or feed, by its name."""

    rack: dict[str, Positive] = Field(default_factory=dict)
    row: dict[str, Positive] = Field(default_factory=dict)
    hall: dict[str, Positive] = Field(default_factory=dict)
    site: dict[str, Positive] = Field(default_factory=dict)
    feed: dict[str, Positive] = Field(default_factory=dict)


class Document(Included):
    """A pipeline: its devices, where they stand, and what becomes of their data. Paths are relative to this file."""

    include: list[str] = Field(
        default_factory=list, description="More files with devices, or patterns such as racks/*.yaml."
    )
    topology: dict[str, dict[str, dict[str, list[str]]]] = Field(
        default_factory=dict,
        description="Site: hall: row: racks. A range in a rack's name, r{01..40}, stands for many.",
    )
    breakers_a: Breakers = Breakers()
    database: Database = Database()
    http: Http = Http()
    security: Security = Security()
    streams: list[str] = Field(default=list(STREAMS), min_length=1, description="The streams of a three-phase total.")
    mains_hz: Positive = Field(default=60.0, description="Cycles a second of the supply.")
    window_s: Seconds = Field(default=5.0, description="The rolling window of the live figures.")
    devices_per_actor: Count = Field(default=1, le=1024, description="Devices that share an ingest.")
    standby: bool = Field(
        default=False, description="A second ingest for each, on another node, that takes over without loss."
    )
    store_shards: Count = Field(default=1, le=64, description="Writers to the database, each with a spool of its own.")
    aggregator_shards: Count = Field(default=1, le=64, description="Aggregators of each channel.")
    spool_dir: str | None = Field(default=None, description="Where batches wait while the database is away.")
    fleet: Fleet = Fleet()  # type: ignore[valid-type]
    limits: Limits = Limits()  # type: ignore[valid-type]
    storage: Storage = Storage()  # type: ignore[valid-type]
    metrics: Metrics = Metrics()  # type: ignore[valid-type]
