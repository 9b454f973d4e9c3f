"""The alerts whose conditions hold at a moment, without a Prometheus: the rules of grafana/alerts/karman.rules.yaml.

They are judged of the very samples that Prometheus scrapes; a test holds both to the same answers. A rule with `for`
fires only once its condition has held so long: `waits_s` says how long that is, and not since when it holds.

Must not know: clocks, who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.core.metrics import Part, Snapshot, collect

Found = Iterator[tuple[Mapping[str, str], float]]  # labels and value of each series for which a condition holds

# What a moment does not tell.
ONLY_PROMETHEUS: Final = {
    "KarmanPhaseGone": "what was sent before needs the past",
    "KarmanPipelineDown": "whoever answers is not down",
    "KarmanSpoolGrowing": "a rate needs the past; KarmanDatabaseBehind holds meanwhile",
    "KarmanFramesDropped": "an increase needs the past; the balance has all drops by reason",
    "KarmanBreakerLoadHighInBursts": "the heat of ten minutes needs the past; utilisation stands beside each device",
    "KarmanPlaceLoadHighInBursts": "so does that of a place",
    "KarmanActorRestarting": "an increase needs the past; restarts stand beside each actor",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """A condition that holds. `labels` and `value` are those that Prometheus would tell."""

    name: str
    severity: str
    labels: Mapping[str, str]
    value: float
    waits_s: float


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert and its condition."""

    name: str
    severity: str
    waits_s: float
    find: Callable[[Samples], Found]


class Samples:
    """Samples by the name of their family, as they are at `now_s`, in seconds since the epoch."""

    def __init__(self, now_s: float, parts: Mapping[str, Sequence[Part]]) -> None:
        self.now_s = now_s
        self._parts = parts

    def of(self, family: str, **wanted: str) -> Found:
        """Labels and value of those that have certain labels."""
        for part in self._parts.get(family, ()):
            for row, value in zip(part.labels.rows, part.values.tolist(), strict=True):
                labels = {name: text for name, text in zip(part.labels.names, row, strict=True) if text}
                if value == value and all(labels.get(name) == text for name, text in wanted.items()):
                    yield labels, value

    def by_device(self, family: str) -> Mapping[str, float]:
        """The value of each device."""
        return {labels["device"]: value for labels, value in self.of(family)}

    def over(self, family: str, by: str) -> Found:
        """Each sample over another family's of the same device."""
        divisors = self.by_device(by)
        for labels, value in self.of(family):
            if labels["device"] in divisors:
                yield labels, value / divisors[labels["device"]]

    def filled(self, family: str) -> Found:
        """How much of its bound is taken, of what has one."""
        limits = {tuple(of.items()): value for of, value in self.of(f"{family}_limit_bytes")}
        for of, value in self.of(f"{family}_bytes"):
            if limits.get(tuple(of.items())):
                yield of, value / limits[tuple(of.items())]

    def loaded(self) -> set[tuple[str, str]]:
        """Devices and channels of which a phase draws more than an ampere: below, ratios say nothing."""
        return {(of["device"], of["phase"]) for of, value in self.of("karman_rms_current_mean_amperes") if value > 1}


def standing(snapshot: Snapshot) -> list[Alert]:
    """The alerts whose conditions hold, whichever metrics are exposed."""
    settings = replace(snapshot.settings, compatible=False, families=("*",))
    parts = {family.name: parts for family, parts in collect(replace(snapshot, settings=settings))}
    return judged(Samples(snapshot.now_us / 1e6, parts))


def judged(samples: Samples) -> list[Alert]:
    """The alerts whose conditions hold of some samples."""
    return [
        Alert(rule.name, rule.severity, labels, value, rule.waits_s)
        for rule in RULES
        for labels, value in rule.find(samples)
    ]


def _silent(samples: Samples) -> Found:
    last_s = samples.by_device("karman_last_frame_timestamp_seconds")
    for labels, value in samples.of("karman_device_info"):
        if labels["device"] not in last_s or samples.now_s - last_s[labels["device"]] >= 10:
            yield labels, value


def _incomplete(samples: Samples) -> Found:
    return ((of, value) for of, value in samples.of("karman_completeness_ratio") if value < 0.99)


def _load_high(samples: Samples) -> Found:
    shares = samples.over("karman_rms_current_mean_amperes", "karman_breaker_rating_amperes")
    return ((of, value) for of, value in shares if value >= 0.8)


def _overload(samples: Samples) -> Found:
    shares = samples.over("karman_rms_current_held_max_amperes", "karman_breaker_rating_amperes")
    return ((of, value) for of, value in shares if value >= 1)


def _imbalance(samples: Samples) -> Found:
    loaded = samples.loaded()
    ratios = samples.of("karman_current_imbalance_ratio")
    return ((of, value) for of, value in ratios if value > 0.2 and (of["device"], of["phase"]) in loaded)


def _power_factor(samples: Samples) -> Found:
    loaded = samples.loaded()
    factors = ((of, abs(value)) for of, value in samples.of("karman_three_phase_power_factor_ratio"))
    return ((of, value) for of, value in factors if value < 0.85 and (of["device"], of["phase"]) in loaded)


def _voltage(samples: Samples) -> Found:
    shares = samples.over("karman_rms_voltage_mean_volts", "karman_nominal_voltage_volts")
    return ((of, abs(value - 1)) for of, value in shares if abs(value - 1) > 0.1)


def _place_load_high(samples: Samples) -> Found:
    shares = samples.of("karman_fleet_breaker_utilisation_ratio")
    return ((of, value) for of, value in shares if value >= 0.8)


def _redundancy_lost(samples: Samples) -> Found:
    for level in ("rack", "feed"):
        headroom = samples.of("karman_fleet_redundancy_headroom_amperes", level=level)
        yield from ((of, -value) for of, value in headroom if value < 0)


def _members_missing(samples: Samples) -> Found:
    for place in ({"level": "rack"}, {"level": "site", "name": "fleet"}):
        present = {tuple(of.items()): value for of, value in samples.of("karman_fleet_members_present", **place)}
        for of, members in samples.of("karman_fleet_members", phase="all", **place):
            missing = members - present.get(tuple(of.items()), members)
            if missing > 0:
                yield of, missing


def _clock_off(samples: Samples) -> Found:
    offsets = ((of, abs(value)) for of, value in samples.of("karman_device_clock_offset_seconds"))
    return ((of, value) for of, value in offsets if value > 0.1)


def _database_behind(samples: Samples) -> Found:
    behind = [(of, value) for of, value in samples.of("karman_database_lag_seconds") if value > 30]
    away = [(of, value) for of, value in samples.of("karman_database_up") if value == 0]
    yield from behind or away


def _jobs_failing(samples: Samples) -> Found:
    return ((of, value) for of, value in samples.of("karman_database_failing_jobs") if value > 0)


def _configuration_refused(samples: Samples) -> Found:
    return ((of, value) for of, value in samples.of("karman_configuration_refused") if value > 0)


def _spool_nearly_full(samples: Samples) -> Found:
    return ((of, value) for of, value in samples.filled("karman_spool") if value > 0.8)


def _queue_filling(samples: Samples) -> Found:
    return ((of, value) for of, value in samples.filled("karman_queue") if value > 0.5)


RULES: Final = (
    Rule("KarmanDeviceSilent", "critical", 5, _silent),
    Rule("KarmanStreamIncomplete", "warning", 60, _incomplete),
    Rule("KarmanBreakerLoadHigh", "warning", 600, _load_high),
    Rule("KarmanBreakerOverload", "critical", 0, _overload),
    Rule("KarmanPhaseImbalance", "warning", 300, _imbalance),
    Rule("KarmanLowPowerFactor", "warning", 600, _power_factor),
    Rule("KarmanVoltageOutOfBounds", "critical", 10, _voltage),
    Rule("KarmanPlaceLoadHigh", "warning", 600, _place_load_high),
    Rule("KarmanPlaceRedundancyLost", "warning", 600, _redundancy_lost),
    Rule("KarmanFleetMembersMissing", "warning", 30, _members_missing),
    Rule("KarmanDeviceClockOff", "warning", 300, _clock_off),
    Rule("KarmanDatabaseBehind", "warning", 60, _database_behind),
    Rule("KarmanDatabaseJobsFailing", "warning", 900, _jobs_failing),
    Rule("KarmanConfigurationRefused", "warning", 60, _configuration_refused),
    Rule("KarmanSpoolNearlyFull", "critical", 0, _spool_nearly_full),
    Rule("KarmanQueueFilling", "warning", 60, _queue_filling),
)
