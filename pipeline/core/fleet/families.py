"""The metric families of a fleet; docs/fleet.md says how each figure is made.

Labels: `level` is rack, row, hall, site or feed, `name` the one meant, `phase` A, B, C or `all`, their sum.

Must not know: where values come from.
"""

from __future__ import annotations

from typing import Final

from pipeline.core.family import counter, gauge

_PLACE: Final = ("level", "name", "phase")
WINDOWS: Final = ("1s", "1m", "15m")
LENGTHS: Final = {"1s": "second", "1m": "minute", "15m": "15 minutes"}
QUANTILES: Final = ("p50", "p95", "p99", "p999")
MEMBERS: Final = gauge("karman_fleet_members", "devices", _PLACE, "Configured devices that have the phase.")
PRESENT: Final = gauge(
    "karman_fleet_members_present", "devices", _PLACE, "Devices in the sums of the newest second; others are unknown."
)
COVERAGE: Final = gauge(
    "karman_fleet_coverage_ratio", "ratio", _PLACE, "Share of all members' cycles that are in the newest second."
)
POWER: Final = gauge(
    "karman_fleet_real_power_watts", "watts", _PLACE, "Coincident real power of the members present, mean of a second."
)
PEAK: Final = tuple(
    gauge(
        f"karman_fleet_real_power_peak_{window}_watts",
        "watts",
        _PLACE,
        f"Greatest cycle of the sum of the last {LENGTHS[window]}.",
    )
    for window in WINDOWS
)
TROUGH: Final = tuple(
    gauge(
        f"karman_fleet_real_power_trough_{window}_watts",
        "watts",
        _PLACE,
        f"Least cycle of the sum of the last {LENGTHS[window]}, of those with the most members.",
    )
    for window in WINDOWS
)
COINCIDENCE: Final = tuple(
    gauge(
        f"karman_fleet_coincidence_{window}_ratio",
        "ratio",
        _PLACE,
        f"Peak of the sum over the sum of the members' peaks of the last {LENGTHS[window]}: 1 where all peak at once.",
    )
    for window in WINDOWS
)
QUANTILE: Final = tuple(
    gauge(
        f"karman_fleet_real_power_{name}_watts",
        "watts",
        _PLACE,
        f"{percent} % of the cycles of the last 24 to 48 hours (unless configured) were below; off by 1 % at most.",
    )
    for name, percent in zip(QUANTILES, ("50", "95", "99", "99.9"), strict=True)
)
ENERGY: Final = (  # in the order of the columns of `Figures.total_energy_j`
    counter(
        "karman_fleet_energy_joules",
        "joules",
        _PLACE,
        "Real energy of the members' cycles, of the seconds in which they took more than they gave back together;"
        " nothing is made up for gaps.",
    ),
    counter(
        "karman_fleet_exported_energy_joules",
        "joules",
        _PLACE,
        "The same of the seconds in which they gave back more than they took.",
    ),
)
CURRENT: Final = gauge(
    "karman_fleet_current_amperes", "amperes", _PLACE, "Sum of the members' RMS currents of a second in a phase."
)
IMBALANCE: Final = gauge(
    "karman_fleet_current_imbalance_ratio",
    "ratio",
    _PLACE,
    "Greatest deviation of a phase's current from the mean of the three, over that mean; `phase` is `all`.",
)
RATING: Final = gauge(
    "karman_fleet_breaker_rating_amperes",
    "amperes",
    _PLACE,
    "Configured rating of each phase: its own breaker's, else the sum of its devices'.",
)
UTILISATION: Final = gauge(
    "karman_fleet_breaker_utilisation_ratio",
    "ratio",
    _PLACE,
    "Current over rating; while a member is missing only where the others load it to 80 % already.",
)
HEADROOM: Final = gauge(
    "karman_fleet_breaker_headroom_amperes",
    "amperes",
    _PLACE,
    "80 % of the rating, the continuous limit, less the current; while a member is missing only where that leaves"
    " nothing.",
)
REDUNDANCY: Final = gauge(
    "karman_fleet_redundancy_headroom_amperes",
    "amperes",
    _PLACE,
    "80 % of the rating of the lesser of two feeds, less the current of both: what it would have left if the other"
    " failed; while a member is missing only where the others load the place to 80 % already.",
)
DELAY: Final = gauge(
    "karman_fleet_delay_seconds", "seconds", (), "How far the newest second of the sums is behind the present."
)
EXCLUDED: Final = counter(
    "karman_fleet_excluded_rows",
    "rows",
    ("device", "reason"),
    "Rows that are in no sum: `late`, `ahead` of the others, `untimed` or `unknown`; only reasons that occurred.",
)
UNWRITTEN: Final = counter(
    "karman_fleet_unwritten_seconds",
    "seconds",
    (),
    "Seconds of the sums that never came into the database: it was away for longer than they could be kept.",
)
MISSED: Final = counter(
    "karman_fleet_missed_seconds",
    "seconds",
    ("shard",),
    "Seconds that were told without what a shard adds up: nothing was heard of it for longer than is waited.",
)
CLOCK_OFFSET: Final = gauge(
    "karman_device_clock_offset_seconds",
    "seconds",
    ("device",),
    "How far a device's clock is ahead of the fleet's, estimated from arrivals; includes differences in transport.",
)
FLEET: Final = (
    *(MEMBERS, PRESENT, COVERAGE, POWER, *PEAK, *TROUGH, *COINCIDENCE),
    *(*QUANTILE, *ENERGY, CURRENT, IMBALANCE, RATING, UTILISATION, HEADROOM, REDUNDANCY),
    *(DELAY, EXCLUDED, UNWRITTEN, MISSED, CLOCK_OFFSET),
)
