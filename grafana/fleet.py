"""Fleet: what racks, rows, halls, sites and feeds draw together, how near their limits, and who is in the sums."""

from __future__ import annotations

from typing import Final

from boards import DATABASE_SOURCE, PROMETHEUS_SOURCE, choice, dashboard
from panels import (
    PHASES,
    PROMETHEUS,
    SAME_TIME,
    WIDTH,
    Json,
    by_regexp,
    fixed,
    graph,
    link,
    panel,
    prometheus,
    series,
    stat,
    thresholds,
)
from places import DEVICES_OF_RACK, ITS_DEVICES, ONLY_THIS, PRESENT, RACKS, above, of_feeds, of_racks, places
from scope import FLEET, PER_CYCLE, SUMMARY, gaps, restarts
from summary import IMBALANCE, LOAD

_SHOWN: Final = 10  # of hundreds of racks, those that matter most
_POINTS: Final = 1000
_CONTINUOUS: Final = thresholds("green", (0.60, "yellow"), (0.80, "red"))
_SITE: Final = choice("site", "Site", PROMETHEUS, "label_values(karman_device_info, site)", all_value=".*")
_HALL: Final = choice("hall", "Hall", PROMETHEUS, 'label_values(karman_device_info{site=~"$site"}, hall)')
_ROW: Final = choice(
    "row", "Row", PROMETHEUS, 'label_values(karman_device_info{site=~"$site", hall=~"|$hall"}, row)'
)  # the empty word: what has no hall, or no row, is in none
_RACK: Final = choice(
    "rack", "Rack", PROMETHEUS, 'label_values(karman_device_info{site=~"$site", hall=~"|$hall", row=~"|$row"}, rack)'
)
_DEVICE: Final = choice("device", "Device", PROMETHEUS, 'label_values(karman_device_info{rack=~"$rack"}, device)')


def _headlines() -> list[Json]:
    small = {"width": 4, "height": 5}
    return [
        stat(
            "Real power",
            "Real power of the chosen racks now: the sum of their coincident sums. Devices that are not heard are not"
            " in it; see the share of devices present beside.",
            "watt",
            f'sum(karman_fleet_real_power_watts{{{RACKS}, phase="all"}})',
            thresholds("blue"),
            **small,
        ),
        stat(
            "Most loaded rack",
            "Current over rating of the worst phase of the worst rack. 80 % is the continuous limit: move load from it"
            " or lower its power caps. None while a device of every rack is missing, or where no rating is configured.",
            "percentunit",
            f"max(karman_fleet_breaker_utilisation_ratio{{{RACKS}}})",
            LOAD,
            defaults={"decimals": 1, "min": 0, "noValue": "not known"},
            **small,
        ),
        stat(
            "Least headroom of a rack",
            "What the worst phase of the worst rack has left below 80 % of its rating, the continuous limit. Below 0 it"
            " is over the limit already.",
            "amp",
            f"min(karman_fleet_breaker_headroom_amperes{{{RACKS}}})",
            thresholds("red", (0, "orange"), (5, "yellow"), (10, "green")),
            defaults={"decimals": 1, "noValue": "not known"},
            **small,
        ),
        stat(
            "Worst imbalance of a rack",
            "Greatest deviation of a phase's current from the mean of the three, of the worst rack. From 15 % on, move"
            " single-phase loads.",
            "percentunit",
            f"max(karman_fleet_current_imbalance_ratio{{{RACKS}}})",
            IMBALANCE,
            defaults={"decimals": 1},
            **small,
        ),
        stat(
            "Devices present",
            "Share of the chosen racks' devices that are in the sums. Below 100 % the sums are too low: see Pipeline"
            " health for the devices that are silent.",
            "percentunit",
            f'sum(karman_fleet_members_present{{{RACKS}, phase="all"}})'
            f' / sum(karman_fleet_members{{{RACKS}, phase="all"}})',
            PRESENT,
            defaults={"decimals": 1, "max": 1},
            **small,
        ),
        stat(
            "Sums behind",
            "How far the newest second of the sums is behind the present. They wait for devices that are late; above"
            " some seconds, a clock is wrong or the machine is too slow.",
            "s",
            "max(karman_fleet_delay_seconds)",
            thresholds("green", (5, "yellow"), (15, "red")),
            **small,
        ),
    ]


def _load() -> list[Json]:
    return [
        panel(
            "status-history",
            "Racks: load over time",
            "Current over rating of each rack's worst phase, from green at rest to red at the rating. A column that"
            " turns red in many racks at once is a job that starts; a row that stays red is a rack to take load from."
            " Empty where a device of the rack is missing, or no rating is configured. Click for the rack's devices at"
            " that moment.",
            "percentunit",
            [prometheus(f"max by (name) (karman_fleet_breaker_utilisation_ratio{{{RACKS}}})", "{{name}}")],
            width=WIDTH,
            height=10,
            points=60,
            defaults={"color": {"mode": "continuous-GrYlRd"}, "decimals": 0, "min": 0, "max": 1},
            custom={"fillOpacity": 85, "lineWidth": 1},
            options={
                "showValue": "never",
                "rowHeight": 0.9,
                "colWidth": 0.9,
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
                "tooltip": {"mode": "single", "sort": "none"},
            },
            links=[DEVICES_OF_RACK],
        ),
        graph(
            "Most loaded racks",
            f"Current over rating of the worst phase, of the {_SHOWN} racks nearest to their limit. 80 % is the"
            " continuous limit.",
            "percentunit",
            [
                prometheus(
                    f"topk({_SHOWN}, max by (name) (karman_fleet_breaker_utilisation_ratio{{{RACKS}}}))", "{{name}}"
                )
            ],
            defaults={"min": 0, "thresholds": _CONTINUOUS},
            custom={"thresholdsStyle": {"mode": "dashed"}},
            links=[DEVICES_OF_RACK],
        ),
        graph(
            "Headroom of one feed if the other fails",
            "What the lesser of a rack's two feeds would have left below 80 % of its rating if it carried both, worst"
            f" phase, of the {_SHOWN} racks that have least. Below 0 it could not carry the rack for long: redundancy"
            " is gone. Move load before it is needed. Empty for racks that have not two feeds.",
            "amp",
            [
                prometheus(
                    f"bottomk({_SHOWN}, min by (name) (karman_fleet_redundancy_headroom_amperes{{{RACKS}}}))",
                    "{{name}}",
                )
            ],
            defaults={"thresholds": thresholds("red", (0, "transparent"))},
            custom={"thresholdsStyle": {"mode": "dashed"}},
            links=[DEVICES_OF_RACK],
        ),
    ]


def _coincident() -> list[Json]:
    of_level = "(level = '{0}' AND name = ANY (ARRAY[${{{0}:sqlstring}}]::text[]))"  # which may be empty
    # All sites are any, also that of no topology.
    chosen = " OR ".join(["(level = 'site' AND name ~ '^${site:regex}$')", *map(of_level.format, ("hall", "row"))])
    history = f"""
SELECT p.time, p.level || ' ' || p.name || v.statistic AS metric, v.value
FROM (
  SELECT date_bin(greatest($__interval_ms, 1000) * interval '1 ms', time, 'epoch') AS time, level, name,
    avg(real_power_w) AS mean, max(real_power_max_w) AS peak
  FROM fleet_1s
  WHERE $__timeFilter(time) AND phase = 'all' AND ({chosen})
  GROUP BY 1, 2, 3
) p CROSS JOIN LATERAL (VALUES ('', p.mean), (' peak', p.peak)) v (statistic, value)
"""
    dashed = {"custom.lineStyle": {"fill": "dash", "dash": [2, 4]}}
    return [
        graph(
            "Coincident power and its peak",
            "Of the chosen sites, halls and rows: the sum of what was drawn in the same cycle, its mean, and the"
            " greatest single cycle of the last minute. It is what the transformer sees; the racks' own peaks add up to"
            " more.",
            "watt",
            [
                prometheus(above("karman_fleet_real_power_watts"), "{{level}} {{name}}"),
                prometheus(above("karman_fleet_real_power_peak_1m_watts"), "{{level}} {{name}} peak"),
            ],
            overrides=[by_regexp("/ peak$/", **dashed)],
        ),
        graph(
            "Coincidence",
            "Peak of the sum over the sum of the members' peaks in a quarter of an hour. Near 100 % all peak together,"
            " as one job makes them: plan for the sum of the peaks. Lower, there is room to oversubscribe.",
            "percentunit",
            [prometheus(above("karman_fleet_coincidence_15m_ratio"), "{{level}} {{name}}")],
            defaults={"max": 1},
        ),
        graph(
            "History: mean and peak",
            "The same from the database, as far back as seconds are kept. The peak is the greatest cycle of the sum"
            " within each point: it stays visible however far one zooms out.",
            "watt",
            [series(history, "1.5 * greatest($__interval_ms, 1000) * interval '1 ms'")],
            overrides=[by_regexp("/ peak$/", **dashed)],
            width=WIDTH,
            points=_POINTS,
            least_interval="10ms",
        ),
    ]


def _ranking(title: str, description: str, expr: str, legend: str, target: Json) -> Json:
    return panel(
        "bargauge",
        title,
        description,
        "watt",
        [prometheus(expr, legend) | {"instant": True, "range": False}],
        width=12,
        height=9,
        defaults={"color": {"mode": "continuous-BlPu"}, "min": 0},
        options={
            "orientation": "horizontal",
            "displayMode": "gradient",
            "showUnfilled": True,
            "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
        },
        links=[target],
    )


def _consumers() -> list[Json]:
    return [
        _ranking(
            "Racks that draw most",
            f"The {_SHOWN} racks with the greatest real power now. Where a cap saves most, and where to look first when"
            " the sum nears its limit. Click for a rack's devices.",
            f'sort_desc(topk({_SHOWN}, karman_fleet_real_power_watts{{{RACKS}, phase="all"}}))',
            "{{name}}",
            link("Its devices", SUMMARY, "var-rack=${__field.labels.name}", SAME_TIME),
        ),
        _ranking(
            "Devices that draw most",
            f"The {_SHOWN} devices with the greatest three-phase real power now, of the chosen racks. Click for a"
            " device's cycles.",
            f'sort_desc(topk({_SHOWN}, karman_three_phase_real_power_mean_watts{{device=~"$device", phase="a"}}))',
            "{{device}}",
            link("Its cycles", PER_CYCLE, "var-device=${__field.labels.device}", SAME_TIME),
        ),
    ]


def _phases() -> list[Json]:
    return [
        graph(
            "Current of each feed, by phase",
            "Sum of the currents of all devices of a feed, by phase. Lines of a feed that part are unequal load: move"
            " single-phase loads from the highest phase to the lowest.",
            "amp",
            [
                prometheus(
                    'karman_fleet_current_amperes{level="feed", phase=~"A|B|C"}', "Feed {{name}}, phase {{phase}}"
                )
            ],
            overrides=[by_regexp(f"/phase {name[-1]}$/", color=fixed(color)) for name, color in PHASES.values()],
        ),
        graph(
            "Imbalance of feeds, and of the worst racks",
            f"Greatest deviation of a phase's current from the mean of the three: of each feed, and of the {_SHOWN}"
            " worst racks. Acceptable up to 10 %, to be acted on from 15 %, critical from 20 %.",
            "percentunit",
            [
                prometheus('karman_fleet_current_imbalance_ratio{level="feed"}', "Feed {{name}}"),
                prometheus(f"topk({_SHOWN}, karman_fleet_current_imbalance_ratio{{{RACKS}}})", "{{name}}"),
            ],
            defaults={"min": 0, "thresholds": IMBALANCE},
            custom={"thresholdsStyle": {"mode": "dashed"}},
        ),
    ]


def _presence() -> list[Json]:
    return [
        graph(
            "Devices present",
            "Devices in the sums over those configured, of the chosen sites, halls and rows. What is missing is unknown"
            " and counts as nothing in the sums: they are too low by it.",
            "percentunit",
            [
                prometheus(
                    f"{above('karman_fleet_members_present')} / {above('karman_fleet_members')}",
                    "{{level}} {{name}}",
                )
            ],
            defaults={"min": 0, "max": 1},
        ),
        graph(
            "Least covered racks",
            f"Share of all members' cycles that is in the newest second, of the {_SHOWN} racks that lack most. A rack"
            " that flickers loses frames on the way; one at a fraction has a silent device.",
            "percentunit",
            [
                prometheus(
                    f'bottomk({_SHOWN}, karman_fleet_coverage_ratio{{{RACKS}, phase="all"}})',
                    "{{name}}",
                )
            ],
            defaults={"min": 0, "max": 1},
            links=[DEVICES_OF_RACK],
        ),
    ]


def build() -> Json:
    """The dashboard."""
    return dashboard(
        FLEET,
        "Karman: Fleet",
        "What sites, halls, rows, racks and feeds draw together, cycle by cycle, and how near their limits they are.",
        [
            ("", _headlines()),
            (
                "Places",
                [
                    places(
                        "Sites, halls and rows",
                        "The chosen places above racks, the most loaded first. Peaks are of the sum; 99.9 % of the"
                        " cycles of the last day or two were below the next column. Against a rating they are told once"
                        " all phases are known, or one is past 80 %. Click a name to look only at it.",
                        above,
                        {"level": "Level", "name": "Name"},
                        ONLY_THIS,
                    ),
                    places(
                        "Feeds",
                        "All feeds, whatever is chosen above, with the same columns. Headroom, one feed: what it would"
                        " have left if the other failed and it carried both.",
                        of_feeds,
                        {"name": "Feed"},
                        None,
                    ),
                    places(
                        "Racks",
                        "The chosen racks, the most loaded first, with the same columns. Click a rack for its devices.",
                        of_racks,
                        {"name": "Rack"},
                        ITS_DEVICES,
                    ),
                ],
            ),
            ("Against the limit", _load()),
            ("Coincident power", _coincident()),
            ("Who draws it", _consumers()),
            ("Phases", _phases()),
            ("Who is in the sums", _presence()),
        ],
        variables=[PROMETHEUS_SOURCE, DATABASE_SOURCE, _SITE, _HALL, _ROW, _RACK, _DEVICE],
        annotations=[gaps(), *restarts()],
        refresh="5s",
        since="15m",
    )
