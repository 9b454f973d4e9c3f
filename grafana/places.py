"""Places of the fleet dashboard: how their metrics are chosen, and the tables of them.

Must not know: the other panels.
"""

from __future__ import annotations

from typing import Final

from panels import SAME_TIME, Json, by_name, joined, link, moment, prometheus, table, thresholds
from scope import FLEET, SUMMARY
from summary import LOAD

RACKS: Final = 'level="rack", name=~"$rack"'
ABOVE: Final = ("site", "hall", "row")
PRESENT: Final = thresholds("red", (0.9, "yellow"), (0.999, "green"))


DEVICES_OF_RACK: Final = link(
    "Devices of this rack at this moment", SUMMARY, "var-rack=${__field.labels.name}", moment(60)
)


def above(family: str, labels: str = 'phase="all"') -> str:
    """A family of the chosen sites, halls and rows."""
    return " or ".join(f'{family}{{level="{level}", name=~"${level}", {labels}}}' for level in ABOVE)


def _columns(racks: bool) -> dict[str, tuple[str, str, Json]]:
    """Name, expression and looks of the columns about places."""

    def of(family: str, labels: str = 'phase="all"') -> str:
        return f"{family}{{{RACKS}, {labels}}}" if racks else f"({above(family, labels)})"

    worst = 'phase=~"A|B|C"'
    coloured = {"custom.cellOptions": {"type": "color-text"}}
    filled = {"custom.cellOptions": {"type": "gauge", "mode": "basic"}, "min": 0, "max": 1}
    return {
        "Value #A": ("Real power", of("karman_fleet_real_power_watts"), {"unit": "watt"}),
        "Value #B": ("Peak, 1 min", of("karman_fleet_real_power_peak_1m_watts"), {"unit": "watt"}),
        "Value #C": ("Peak, 15 min", of("karman_fleet_real_power_peak_15m_watts"), {"unit": "watt"}),
        "Value #D": ("99.9 % below", of("karman_fleet_real_power_p999_watts"), {"unit": "watt"}),
        "Value #E": ("Coincidence", of("karman_fleet_coincidence_15m_ratio"), {"unit": "percentunit", "decimals": 1}),
        "Value #F": (
            "Of the rating",
            f"max by (level, name) ({of('karman_fleet_breaker_utilisation_ratio', worst)})",
            {"unit": "percentunit", "thresholds": LOAD, **filled},
        ),
        "Value #G": (
            "Headroom",
            f"min by (level, name) ({of('karman_fleet_breaker_headroom_amperes', worst)})",
            {"unit": "amp", "decimals": 1, "thresholds": thresholds("red", (0, "text")), **coloured},
        ),
        "Value #H": (
            "Headroom, one feed",
            f"min by (level, name) ({of('karman_fleet_redundancy_headroom_amperes', worst)})",
            {"unit": "amp", "decimals": 1, "thresholds": thresholds("red", (0, "text")), **coloured},
        ),
        "Value #I": (
            "Present",
            of("karman_fleet_members_present") + " / " + of("karman_fleet_members"),
            {"unit": "percentunit", "decimals": 1, "thresholds": PRESENT, **coloured},
        ),
    }


def places(title: str, description: str, racks: bool) -> Json:
    """A table of the chosen racks, or of what is above them, with a link to what is below."""
    columns = _columns(racks)
    first = {"name": "Rack"} if racks else {"level": "Level", "name": "Name"}
    down = (
        link("Its devices", SUMMARY, "var-rack=${__value.text}", SAME_TIME)
        if racks
        else link("Only this", FLEET, "var-${__data.fields.Level}=${__value.text}", SAME_TIME)
    )
    queries = [f"max by (level, name) ({expr})" for _, expr, _ in columns.values()]
    return table(
        title,
        description,
        "none",
        [prometheus(query, instant=True) for query in queries],
        overrides=[
            by_name("Rack" if racks else "Name", links=[down]),
            *(by_name(name, **looks) for name, _, looks in columns.values()),
        ],
        transformations=joined(
            first | {key: name for key, (name, _, _) in columns.items()}, hidden=["level"] if racks else []
        ),
        sort=[{"displayName": "Of the rating", "desc": True}],
        height=9,
    )
