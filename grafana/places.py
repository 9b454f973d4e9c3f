"""Places of the fleet dashboard: how their metrics are chosen, and the tables of them.

What is known of two phases says nothing of the third: a limit is told once all are known, or one is past it.

Must not know: the other panels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from panels import SAME_TIME, Json, by_name, joined, link, moment, prometheus, table, thresholds
from scope import FLEET, SUMMARY
from summary import LOAD

RACKS: Final = 'level="rack", name=~"$rack"'
FEEDS: Final = 'level="feed"'
ABOVE: Final = ("site", "hall", "row")
Chosen = Callable[..., str]  # (family, labels) -> its series of some places
PRESENT: Final = thresholds("red", (0.9, "yellow"), (0.999, "green"))
DEVICES_OF_RACK: Final = link(
    "Devices of this rack at this moment", SUMMARY, "var-rack=${__field.labels.name}", moment(60)
)
ONLY_THIS: Final = link("Only this", FLEET, "var-${__data.fields.Level}=${__value.text}", SAME_TIME)
ITS_DEVICES: Final = link("Its devices", SUMMARY, "var-rack=${__value.text}", SAME_TIME)


def above(family: str, labels: str = 'phase="all"') -> str:
    """A family of the chosen sites, halls and rows."""
    return "(" + " or ".join(f'{family}{{level="{level}", name=~"${level}", {labels}}}' for level in ABOVE) + ")"


def of_racks(family: str, labels: str = 'phase="all"') -> str:
    """A family of the chosen racks."""
    return f"{family}{{{RACKS}, {labels}}}"


def of_feeds(family: str, labels: str = 'phase="all"') -> str:
    """A family of all feeds."""
    return f"{family}{{{FEEDS}, {labels}}}"


def _worst(of: Chosen, family: str, worst: str, past: str) -> str:
    """A place's worst phase, where all of its phases are known, or it is past a limit already."""
    phases = 'phase=~"A|B|C"'
    told, rated = of(family, phases), of("karman_fleet_breaker_rating_amperes", phases)
    found = f"{worst} by (level, name) ({told})"
    return f"{found} and (count by (level, name) ({told}) == count by (level, name) ({rated}) or {found} {past})"


def _columns(of: Chosen) -> dict[str, tuple[str, str, Json]]:
    """Name, expression and looks of the columns about places."""
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
            _worst(of, "karman_fleet_breaker_utilisation_ratio", "max", ">= 0.8"),
            {"unit": "percentunit", "thresholds": LOAD, **filled},
        ),
        "Value #G": (
            "Headroom",
            _worst(of, "karman_fleet_breaker_headroom_amperes", "min", "<= 0"),
            {"unit": "amp", "decimals": 1, "thresholds": thresholds("red", (0, "text")), **coloured},
        ),
        "Value #H": (
            "Headroom, one feed",
            _worst(of, "karman_fleet_redundancy_headroom_amperes", "min", "<= 0"),
            {"unit": "amp", "decimals": 1, "thresholds": thresholds("red", (0, "text")), **coloured},
        ),
        "Value #I": (
            "Present",
            of("karman_fleet_members_present") + " / " + of("karman_fleet_members"),
            {"unit": "percentunit", "decimals": 1, "thresholds": PRESENT, **coloured},
        ),
    }


def places(title: str, description: str, of: Chosen, first: Mapping[str, str], down: Json | None) -> Json:
    """A table of places, the most loaded first.

    Args:
        of: chooses a family's series.
        first: the titles of the labels that name a place; a label that has none is hidden.
        down: the link of its name.
    """
    columns = _columns(of)
    return table(
        title,
        description,
        "none",
        [prometheus(f"max by (level, name) ({expr})", instant=True) for _, expr, _ in columns.values()],
        overrides=[
            *([by_name(first["name"], links=[down])] if down else []),
            *(by_name(name, **looks) for name, _, looks in columns.values()),
        ],
        transformations=joined(
            {**first, **{key: name for key, (name, _, _) in columns.items()}},
            hidden=[label for label in ("level", "name") if label not in first],
        ),
        sort=[{"displayName": "Of the rating", "desc": True}],
        height=9,
    )
