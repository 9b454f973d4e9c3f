"""The catalogue of metrics: name, type, unit, labels and meaning of every family. docs/metrics.md is made from it.

Names follow Prometheus' conventions: base units as suffix, `_total` for counters, the statistic in the name and not in
a label. The families without the prefix `karman_` are those of the system that this one replaces.

Must not know: where values come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipeline.core.aggregation import TOTALS
from pipeline.core.family import Family, counter, gauge
from pipeline.core.fleet.families import FLEET
from pipeline.core.model import QUANTITIES


@dataclass(frozen=True, slots=True)
class Electrical:
    """Families of the same figures in the order of their columns, by statistic."""

    mean: tuple[Family, ...]
    minimum: tuple[Family, ...]
    maximum: tuple[Family, ...]
    held_minimum: tuple[Family, ...]
    held_maximum: tuple[Family, ...]

    def all(self) -> tuple[Family, ...]:
        """All of them."""
        return self.mean + self.minimum + self.maximum + self.held_minimum + self.held_maximum


_UNITS: Final = {"v": "volts", "a": "amperes", "w": "watts", "va": "voltamperes", "var": "vars", "": "ratio"}
_UNIT_OF: Final = {quantity.name: _UNITS[quantity.unit] for quantity in QUANTITIES}
_STREAM: Final = ("device", "stream", "phase")
_TOTAL: Final = ("device", "phase")


def _words(name: str) -> str:
    words = name.replace("_", " ").replace("rms", "RMS").replace("dc", "DC")
    return words[0].upper() + words[1:]


def _mean(prefix: str, quantity: str, labels: tuple[str, ...], whole: str) -> Family:
    unit = _UNIT_OF[quantity]
    if quantity == "power_factor":
        meaning = (
            f"Power factor{whole} over the window: mean real power over mean apparent power, signed as the former."
        )
        return gauge(f"{prefix}power_factor_ratio", unit, labels, meaning)
    how = "root of the mean square" if quantity.startswith("rms_") else "mean"
    return gauge(
        f"{prefix}{quantity}_mean_{unit}",
        unit,
        labels,
        f"{_words(quantity)}{whole}, {how} over the window.",
    )


def _extreme(prefix: str, quantity: str, statistic: str, labels: tuple[str, ...], whole: str) -> Family:
    unit = _UNIT_OF[quantity]
    greatest = "greatest" if statistic.endswith("max") else "least"
    since = "since at least the hold time" if statistic.startswith("held") else "of the window"
    meaning = f"{_words(quantity)}{whole}: the {greatest} single cycle {since}."
    return gauge(f"{prefix}{quantity}_{statistic}_{unit}", unit, labels, meaning)


def _electrical(prefix: str, quantities: tuple[str, ...], labels: tuple[str, ...], whole: str) -> Electrical:
    return Electrical(
        tuple(_mean(prefix, quantity, labels, whole) for quantity in quantities),
        *(
            tuple(_extreme(prefix, quantity, statistic, labels, whole) for quantity in quantities)
            for statistic in ("min", "max", "held_min", "held_max")
        ),
    )


STREAM: Final = _electrical("karman_", tuple(quantity.name for quantity in QUANTITIES), _STREAM, "")
THREE_PHASE: Final = _electrical("karman_three_phase_", TOTALS, _TOTAL, ", sum over the phases of one frame")
THREE_PHASE_POWER_FACTOR: Final = gauge(
    "karman_three_phase_power_factor_ratio",
    "ratio",
    _TOTAL,
    "Power factor of the three phases: their real power over the sum of their apparent powers, means of the window.",
)
CURRENT_IMBALANCE: Final = gauge(
    "karman_current_imbalance_ratio",
    "ratio",
    _TOTAL,
    "Greatest deviation of a phase's RMS current from the mean of the phases, over that mean.",
)
BREAKER_UTILISATION: Final = gauge(
    "karman_breaker_utilisation_ratio",
    "ratio",
    _STREAM,
    "Greatest RMS current of a cycle of the window over the breaker's rating, where one is configured.",
)
BREAKER_RATING: Final = gauge(
    "karman_breaker_rating_amperes", "amperes", ("device",), "Configured rating of each phase."
)
NOMINAL_VOLTAGE: Final = gauge(
    "karman_nominal_voltage_volts", "volts", ("device",), "Configured nominal voltage, line to neutral."
)
ENERGY: Final = (  # in the order of the columns of `EnergyMeter.totals`
    counter("karman_imported_energy_joules", "joules", _STREAM, "Real energy taken from the supply, cycle by cycle."),
    counter("karman_exported_energy_joules", "joules", _STREAM, "Real energy given back to the supply."),
    counter(
        "karman_lagging_reactive_energy_varseconds",
        "var-seconds",
        _STREAM,
        "Reactive energy of lagging (inductive) cycles.",
    ),
    counter(
        "karman_leading_reactive_energy_varseconds",
        "var-seconds",
        _STREAM,
        "Reactive energy of leading (capacitive) cycles.",
    ),
    counter("karman_energy_integrated_seconds", "seconds", _STREAM, "Time over which the energies were integrated."),
    counter(
        "karman_energy_gap_seconds",
        "seconds",
        _STREAM,
        "Time that no energy is known of: frames missing, or without real power.",
    ),
)

RECEIVED: Final = counter("karman_frames_received", "frames", ("device",), "Frames (messages) received.")
MISSING: Final = counter("karman_frames_missing", "frames", ("device",), "Frames found missing, by sequence number.")
LATE: Final = counter(
    "karman_frames_late",
    "frames",
    ("device",),
    "Frames that came after their successors; `missing` counted them before.",
)
RENUMBERED: Final = counter(
    "karman_streams_renumbered",
    "streams",
    ("device",),
    "Streams that began their numbering anew: the device restarted.",
)
DROPPED: Final = counter(
    "karman_frames_dropped",
    "frames",
    ("device", "reason"),
    "Frames received and not kept, among them `duplicate` and `malformed`; only reasons that occurred.",
)
COMPLETENESS: Final = gauge(
    "karman_completeness_ratio", "ratio", ("device",), "Delivered over delivered and missing, of the last minute."
)
DELAY: Final = gauge(
    "karman_transport_delay_seconds",
    "seconds",
    ("device",),
    "From the device's time of its newest frame to arrival; clock offsets included.",
)
LAST_FRAME: Final = gauge(
    "karman_last_frame_timestamp_seconds", "seconds", ("device",), "Arrival of the last frame; stays for ten minutes."
)
CONNECTED: Final = gauge("karman_device_connected", "1 or 0", ("device",), "1 while the ZeroMQ connection is up.")
RECONNECTS: Final = counter("karman_reconnects", "connections", ("device",), "Connections made after the first.")
HANDSHAKES_FAILED: Final = counter(
    "karman_handshakes_failed", "connections", ("device",), "Connections that failed because of keys (CURVE)."
)
DEVICE_INFO: Final = gauge(
    "karman_device_info",
    "1",
    ("device", "endpoint", "topic", "rack", "feed", "row", "hall", "site"),
    "A configured device and where it stands; 1.",
)

BUILD_INFO: Final = gauge("karman_build_info", "1", ("version",), "The version of the pipeline; 1.")
STORED: Final = counter("karman_frames_stored", "frames", (), "Frames committed to the database.")
SPOOLED: Final = gauge("karman_frames_spooled", "frames", (), "Frames on disk that wait for the database.")
IN_FLIGHT: Final = gauge("karman_frames_in_flight", "frames", (), "Frames received, neither committed nor spooled yet.")
DROPS: Final = counter(
    "karman_drops", "frames", ("reason",), "Frames of all devices received and not kept; every reason, also at 0."
)
STORE: Final = (  # with the key of the store's statistics
    (gauge("karman_database_up", "1 or 0", (), "1 while the database takes writes."), "up"),
    (
        gauge(
            "karman_database_lag_seconds",
            "seconds",
            (),
            "How far the newest committed arrival is behind the newest arrival.",
        ),
        "lag_s",
    ),
    (gauge("karman_store_waiting_batches", "batches", (), "Batches handed in that wait for their turn."), "waiting"),
    (counter("karman_store_transactions", "transactions", (), "Transactions committed."), "transactions"),
    (
        counter("karman_store_batches", "batches", (), "Batches committed, live ones and those from the spool."),
        "batches",
    ),
    (counter("karman_store_busy_seconds", "seconds", (), "Time spent in transactions that were committed."), "busy_s"),
    (gauge("karman_spool_bytes", "bytes", (), "Bytes on disk that wait for the database."), "spool_bytes"),
    (
        gauge("karman_spool_limit_bytes", "bytes", (), "Bytes that the spool may hold; beyond it the oldest goes."),
        "spool_limit_bytes",
    ),
    (gauge("karman_spool_segments", "segments", (), "Segments on disk that wait for the database."), "spool_segments"),
    (
        counter("karman_spool_damaged_segments", "segments", (), "Segments that could not be read back."),
        "spool_damaged",
    ),
    (
        gauge(
            "karman_database_failing_jobs",
            "jobs",
            (),
            "Jobs at which TimescaleDB's own scheduler fails; the pipeline runs them.",
        ),
        "failing_jobs",
    ),
)
QUEUES: Final = (  # with the attribute of `metrics.Queue`
    (
        gauge(
            "karman_queue_bytes",
            "bytes",
            ("actor", "receiver"),
            "Batches that an actor keeps for a receiver, acknowledged ones that are retained included.",
        ),
        "nbytes",
    ),
    (
        gauge(
            "karman_queue_limit_bytes",
            "bytes",
            ("actor", "receiver"),
            "Bytes that the queue may hold; beyond it nothing is taken.",
        ),
        "limit_bytes",
    ),
    (counter("karman_calls", "calls", ("actor", "receiver"), "Actor calls made to hand batches on."), "calls"),
    (
        counter("karman_call_failures", "calls", ("actor", "receiver"), "Calls that failed and were made again."),
        "failures",
    ),
    (
        counter(
            "karman_queue_drops",
            "batches",
            ("actor", "receiver"),
            "Batches for which the queue had no room. Messages that are not stored for it: karman_drops, outbox_full.",
        ),
        "dropped",
    ),
)
REFUSED: Final = gauge(
    "karman_configuration_refused",
    "1 or 0",
    (),
    "1 while the fleet file that was read last is not in force: it is wrong, or changes what cannot change.",
)
RESTARTS: Final = counter(
    "karman_actor_restarts", "restarts", ("actor",), "Restarts of an actor since its supervisor watches."
)

# The original's families. active_power and real_power are the same value under two names: dashboards use both.
_STATISTICS: Final = ("latest", "peak", "trough", "average")
_COMPATIBLE_LABELS: Final = ("stream", "phase", "device", "rack")
_COMPATIBLE_COLUMNS: Final = (
    ("active_power", 4),
    *((quantity.name, index) for index, quantity in enumerate(QUANTITIES)),
)


def _compatible(name: str, quantity: str, statistic: str, whole: str) -> Family:
    unit = "watts" if name == "active_power" else _UNIT_OF[quantity]
    meaning = f"{_words(name)}{whole}, {statistic} of the window; in {unit}. The original's name."
    return gauge(f"{name}{'_three_phase' if whole else ''}_{statistic}", unit, _COMPATIBLE_LABELS, meaning)


COMPATIBLE_STREAMS: Final = {
    statistic: tuple(
        (_compatible(name, QUANTITIES[column].name, statistic, ""), column) for name, column in _COMPATIBLE_COLUMNS
    )
    for statistic in _STATISTICS
}
COMPATIBLE_TOTALS: Final = {
    statistic: tuple(
        _compatible(name, name, statistic, ", sum over the phases of one frame")
        for name in ("real_power", "reactive_power")
    )
    for statistic in _STATISTICS
}
COMPATIBLE: Final = (
    *(family for families in COMPATIBLE_STREAMS.values() for family, _ in families),
    *(family for families in COMPATIBLE_TOTALS.values() for family in families),
)

GROUPS: Final[dict[str, tuple[Family, ...]]] = {
    "Each phase": (*STREAM.all(), BREAKER_UTILISATION),
    "Energy": ENERGY,
    "Three phases together": (*THREE_PHASE.all(), THREE_PHASE_POWER_FACTOR, CURRENT_IMBALANCE),
    "Quality of a device's stream": (
        RECEIVED, MISSING, LATE, RENUMBERED, DROPPED, COMPLETENESS, DELAY, LAST_FRAME, CONNECTED, RECONNECTS,
        HANDSHAKES_FAILED, DEVICE_INFO, BREAKER_RATING, NOMINAL_VOLTAGE,
    ),
    "The fleet: racks, rows, halls, sites and feeds": FLEET,
    "The pipeline itself": (
        BUILD_INFO, STORED, SPOOLED, IN_FLIGHT, DROPS, *(family for family, _ in STORE),
        *(family for family, _ in QUEUES), RESTARTS, REFUSED,
    ),
    "The names of the system that this one replaces": COMPATIBLE,
}  # fmt: skip
ALL: Final = tuple(family for families in GROUPS.values() for family in families)
