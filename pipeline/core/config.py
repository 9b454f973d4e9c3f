"""What a pipeline is told: its devices, its sinks, its limits. Read once, frozen, handed down in slices.

Every limit stands here or beside the code it bounds, with its reason.

Must not know: files, environment variables, the command line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pipeline.core.errors import InputError
from pipeline.core.model import STREAMS

DEFAULT_TOPIC: Final = "cycle-aligned"
DEFAULT_PORT: Final = 9105  # the original's metrics port
PHASES: Final = ("A", "B", "C")  # electrical phases; by default those of the streams in their order
LEVELS: Final = ("rack", "row", "hall", "site", "feed")  # what devices are added up by
DAY_S: Final = 24 * 3600.0
_DEVICE_NAME: Final = re.compile(r"[\w.:/@+-]{1,128}")


@dataclass(frozen=True, slots=True)
class Device:
    """A publisher endpoint. The wire carries no name, so the configuration gives one."""

    name: str
    endpoint: str
    topic: str = DEFAULT_TOPIC
    rack: str = ""
    feed: str = ""
    breaker_a: float | None = None  # rating of the breaker of each phase; None: no utilisation is told
    nominal_v: float | None = None  # line to neutral; None: no voltage is out of bounds
    node: str = ""  # the server that it feeds, by the name that schedulers know
    row: str = ""  # of the rack
    hall: str = ""  # of the row
    site: str = ""  # of the hall
    phases: tuple[str, ...] = PHASES  # of each of the pipeline's streams, "" where a stream is no phase's
    channels: tuple[str, ...] = ("a",)  # that add up to the device's power; a second one may measure the same current
    mains_hz: float | None = None  # None: the pipeline's
    server_key: str = ""  # its public key, where it encrypts (CURVE)


DEVICES_BOUNDED: Final = 64  # of an ingest, which its bounds in bytes are for


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds, each with its reason."""

    time_bound_s: float = 300.0  # a device clock further off than five minutes is wrong, not merely unsynchronised
    calculation_names: int = 256  # names come from outside and each keeps state; a Karman sends three
    aggregator_flush_s: float = 0.05  # what a live view can see
    store_flush_s: float = 0.1  # a COPY costs 1 ms whatever it carries; more often only burns CPU
    outbox_bytes: int = 64 << 20  # towards each receiver: 54 s of 64 devices while it is away
    aggregator_retain_s: float = 10.0  # resent to a restarted aggregator: twice the usual window
    recent_s: float = 10.0  # cycles kept for the live page, which has older ones from the database
    recent_bytes: int = 64 << 20  # of an ingest: 10 s of 64 devices are 14 MB; more only where a device floods
    # What a standby keeps: longer than it takes to notice that the one that sends is gone, and to open the store.
    standby_retain_s: float = 10.0
    standby_bytes: int = 64 << 20  # of an ingest: 10 s of 64 devices are 25 MB
    silence_s: float = 5.0  # a device unheard for so long is silent, in the status and on the page

    def of_ingest(self, devices: int) -> Limits:
        """Those of an ingest of so many devices: its bounds in bytes, meant for up to 64, grow with those beyond."""
        share = max(1.0, devices / DEVICES_BOUNDED)
        return replace(
            self,
            outbox_bytes=int(self.outbox_bytes * share),
            recent_bytes=int(self.recent_bytes * share),
            standby_bytes=int(self.standby_bytes * share),
        )


@dataclass(frozen=True, slots=True)
class Storage:
    """How long rows are kept, and how they are laid out. Disk, not CPU, limits how long (docs/storage.md)."""

    keep_cycles_s: float = 3 * DAY_S  # gigabytes a device and day: long enough to look into a weekend's event
    keep_spectra_s: float = 3 * DAY_S
    keep_1s_s: float = 30 * DAY_S  # a billing month of every second
    keep_1m_s: float = 400 * DAY_S  # a year and the same month of the year before
    keep_1h_s: float = 3650 * DAY_S
    chunk_s: float | None = None  # TimescaleDB's chunk of cycles; None derives it from devices and memory
    indexed_devices: int = 200  # up to so many, cycles are indexed by device: see `upkeep.index_cycles`
    columnstore_after_s: float = 2 * 3600.0  # late rows and a drained spool go into rowstore, which is cheaper
    spool_bytes: int = 8 << 30  # 2 to 4 hours of 30 devices: 19 kB a second and device, in small batches 35
    roll_up_s: float = 10.0  # plain PostgreSQL: how often minutes that are over, and their hours, are looked for
    tidy_s: float = 600.0  # how often partitions are made ahead and dropped, and the ledger is pruned


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is exposed to Prometheus."""

    compatible: bool = True  # the families of the system that this one replaces
    families: tuple[str, ...] = ("*",)  # patterns of the names that are exposed
    hold_s: float = 60.0  # how long extremes are held at least: twice a scrape interval of 30 s
    # Gauges go 3.5 s after the last frame: with a look each second and a scrape they are gone within 5 s.
    silence_s: float = 3.5
    forget_s: float = 600.0  # how long counters and the last frame's time stay, so that an alert can name the device


@dataclass(frozen=True, slots=True)
class Fleet:
    """How the power of many devices is added up."""

    wait_s: float = 1.0  # for the cycles of a second, after its end: an ingest takes 0.3 to 0.8 s, a slow network more
    correct_clocks: bool = False  # shift each device's cycles by the estimated offset of its clock
    max_offset_s: float = 0.5  # a clock further off is left alone: it is not unsynchronised but wrong
    flush_s: float = 0.2  # how often an ingest hands its rows on: 64 devices are then what Ray still passes inline
    percentile_s: float = DAY_S  # percentiles are over at least so long, and at most twice
    shards: int = 1  # actors that add up, each its racks: a message takes 1.4 us, so one does for thousands of devices
    shard_wait_s: float = 15.0  # for a shard that says nothing: as long as it may take to begin on another node


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker that feeds a whole rack, row, hall, site or feed."""

    level: str
    name: str
    rating_a: float  # of each phase


@dataclass(frozen=True, slots=True)
class Replay:
    """A recording played on the devices' endpoints, instead of devices."""

    recording: str  # a name or a path, as `recordings.load` takes it
    rate_hz: float = 60.0
    speed: float = 1.0
    duration_s: float | None = None
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """One pipeline."""

    devices: tuple[Device, ...]
    dsn: str = field(repr=False)  # may hold a password
    run_us: int  # when this run began, microseconds since the epoch: epochs of its producers are larger
    http_host: str = "127.0.0.1"
    http_port: int = DEFAULT_PORT
    token: str | None = field(default=None, repr=False)  # a bearer token that the HTTP port asks for
    window_s: float = 5.0
    mains_hz: float = 60.0  # cycles a second, for energy where the rows do not tell
    streams: tuple[str, ...] = STREAMS
    devices_per_actor: int = 1
    standby: bool = False  # a second ingest for each, on another node where there is one, that takes over at once
    store_shards: int = 1  # writers to the database; one takes what a core can pack and copy
    aggregator_shards: int = 1  # of each channel
    replay: Replay | None = None
    limits: Limits = Limits()
    storage: Storage = Storage()
    metrics: Metrics = Metrics()
    grafana_url: str | None = None  # the live page links to it
    fleet: Fleet | None = None  # None: nothing is added up, unless there are several devices
    breakers: tuple[Breaker, ...] = ()  # where a level has one of its own; else its devices' breakers add up
    curve_keys_file: str | None = None  # our own key pair towards devices that encrypt; None: one is made each time
    spool_dir: str | None = None  # where batches wait while the database is away; None: they wait in memory

    def __post_init__(self) -> None:
        if not self.devices:
            raise InputError("no device is given: name at least one, for example --connect tcp://10.0.0.7:5557")
        for device in self.devices:
            check_name(device.name)
            check_topic(device.topic)
        for attribute in ("name", "endpoint"):
            (value, count), *_ = Counter(getattr(device, attribute) for device in self.devices).most_common(1)
            if count > 1:
                raise InputError(f"the device {attribute} '{value}' is given {count} times: each must be unique")
        for name, value in (
            ("window", self.window_s),
            ("devices per actor", self.devices_per_actor),
            ("number of store shards", self.store_shards),
            ("number of aggregator shards", self.aggregator_shards),
            ("number of fleet shards", self.fleet_shards),
        ):
            if not value > 0:
                raise InputError(f"the {name} must be above 0, not {value}")

    @property
    def nominal_hz(self) -> float:
        """Frames a second of a device."""
        return self.replay.rate_hz * self.replay.speed if self.replay else self.mains_hz

    def hz_of(self, device: Device) -> float:
        """Frames a second of one device."""
        return self.nominal_hz if self.replay else device.mains_hz or self.mains_hz

    @property
    def fleet_settings(self) -> Fleet | None:
        """How devices are added up; None where there is a single one and no fleet file, to which others may come."""
        return self.fleet or (Fleet() if len(self.devices) > 1 else None)

    @property
    def fleet_shards(self) -> int:
        """Into how many shards the sums are divided."""
        return self.fleet_settings.shards if self.fleet_settings else 1

    @property
    def shards(self) -> tuple[int, int]:
        """Into how many shards the receivers are divided whose shard follows from a device's name."""
        return self.store_shards, self.aggregator_shards


def check_name(name: str) -> str:
    """The name of a device, if it can be one.

    Raises:
        InputError: it is empty, too long, or has other letters.
    """
    if not _DEVICE_NAME.fullmatch(name):
        raise InputError(f"{name!r} cannot be a device's name: use letters, digits and . : / @ + - _")
    return name


def check_topic(topic: str) -> str:
    """A ZeroMQ topic, if it is text.

    Raises:
        InputError: it is not: a shell or a file may hand on anything.
    """
    try:
        topic.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"the topic {topic!r} is no text: write it in UTF-8") from error
    return topic


def parse_connect(texts: Sequence[str], topic: str) -> tuple[Device, ...]:
    """Devices from `[NAME=]tcp://HOST:PORT`; without a name it is HOST-PORT, for the wire carries none."""
    devices = []
    for text in texts:
        name, separator, endpoint = text.partition("=")
        if not separator:
            name, endpoint = re.sub(r"[\[\]]", "", text.removeprefix("tcp://")).replace(":", "-").strip("-"), text
        devices.append(Device(name, endpoint, topic))
    return tuple(devices)
