"""Summary: the newest seconds of the chosen devices, from Prometheus; the original's panels, thresholds and colours."""

from __future__ import annotations

from typing import Final

from boards import DATABASE_SOURCE, PROMETHEUS_SOURCE, dashboard
from panels import (
    SAME_TIME,
    Json,
    by_name,
    fixed,
    graph,
    joined,
    link,
    moment,
    phase_colours,
    prometheus,
    stat,
    table,
    thresholds,
)
from scope import DEVICE, FEED, PER_CYCLE, PHASE, RACK, STREAM, SUMMARY, age_of_last_frame, gaps, restarts

_DEVICE: Final = 'device=~"$device"'
_TOTAL: Final = f'{_DEVICE}, phase=~"$phase"'
_EACH: Final = f'{_DEVICE}, stream=~"$stream", phase=~"$phase"'
_RATING: Final = "on (device) group_left () karman_breaker_rating_amperes"
# As in the alert rules: below an ampere a ratio of currents says nothing.
_LOADED: Final = f"and on (device, phase) max by (device, phase) (karman_rms_current_mean_amperes{{{_TOTAL}}}) > 1"
_SHOWN: Final = 10  # devices in the table of everything: it is asked for anew each second
_NO_RATING: Final = "Without a configured breaker rating there is nothing to compare with."

LOAD: Final = thresholds("green", (0.60, "yellow"), (0.75, "orange"), (0.85, "red"))
POWER_FACTOR: Final = thresholds("red", (0.85, "yellow"), (0.95, "green"))
IMBALANCE: Final = thresholds("green", (0.10, "yellow"), (0.15, "orange"), (0.20, "red"))
COMPLETE: Final = thresholds("red", (0.99, "yellow"), (0.999, "green"))
_PLAIN: Final = thresholds("blue")

_CYCLES: Final = link("Cycles around this moment", PER_CYCLE, "${device:queryparam}", "var-phase=${phase}", moment(10))


def _headlines() -> list[Json]:
    return [
        stat(
            "Worst phase, peak current",
            "Greatest current of a single cycle of the last seconds, as a share of its breaker's rating, on the phase"
            " that is worst off: each phase has a breaker of its own. From 80 % on for hours, move load or lower a"
            f" power cap. {_NO_RATING}",
            "percentunit",
            f"max(karman_breaker_utilisation_ratio{{{_EACH}}})",
            LOAD,
            defaults={"decimals": 1, "min": 0, "max": 1, "noValue": "no rating"},
        ),
        stat(
            "Current spikiness, peak over mean",
            "Greatest cycle over the mean of the last seconds, averaged over the phases. Up to 1.2 is steady; from 1.5"
            " on the load is as bursty as inference can be: plan breakers by the peak, not by the mean.",
            "none",
            f"avg(karman_rms_current_max_amperes{{{_EACH}}} / (karman_rms_current_mean_amperes{{{_EACH}}} > 1))",
            thresholds("green", (1.2, "yellow"), (1.5, "orange"), (2.0, "red")),
            defaults={"decimals": 2, "min": 1, "noValue": "idle"},
        ),
        stat(
            "Power factor",
            "Real power over apparent power of all chosen phases together. A low one draws more current for the same"
            " work: below 0.85 under load, look for power supplies that idle or fail.",
            "percentunit",
            f"sum(karman_real_power_mean_watts{{{_EACH}}}) / sum(karman_apparent_power_mean_voltamperes{{{_EACH}}})",
            POWER_FACTOR,
            defaults={"decimals": 1, "min": 0, "max": 1},
        ),
        stat(
            "Available headroom",
            "What the breaker of the worst phase has left above its greatest cycle. Less than 20 % is less than the"
            f" continuous limit allows: add nothing there. {_NO_RATING}",
            "percentunit",
            f"1 - max(karman_breaker_utilisation_ratio{{{_EACH}}})",
            thresholds("red", (0.05, "orange"), (0.10, "yellow"), (0.20, "green")),
            defaults={"decimals": 1, "min": 0, "max": 1, "noValue": "no rating"},
        ),
    ]


def _second_line() -> list[Json]:
    small = {"width": 4, "height": 5}
    rated = f"karman_rms_current_held_max_amperes{{{_EACH}}} / {_RATING}"
    nominal = f"karman_rms_voltage_mean_volts{{{_EACH}}} / on (device) group_left () karman_nominal_voltage_volts"
    heard = f"count({age_of_last_frame(_DEVICE)} < 10) or vector(0)"
    return [
        stat(
            "Real power",
            "Three-phase real power of the chosen devices now: the sum of their means over the last seconds.",
            "watt",
            f"sum(karman_three_phase_real_power_mean_watts{{{_TOTAL}}})",
            _PLAIN,
            **small,
        ),
        stat(
            "Energy in this time range",
            "Taken from the supply, integrated over every cycle: exact at any scrape interval. What was lost in gaps is"
            " not in it; see the gap seconds in Pipeline health.",
            "kwatth",
            prometheus(
                f"sum(increase(karman_imported_energy_joules_total{{{_EACH}}}[$__range])) / 3.6e6", instant=True
            ),
            _PLAIN,
            defaults={"decimals": 3},
            **small,
        ),
        stat(
            "Highest cycle, last minute",
            "As the worst phase, but held for a minute, so that no scrape interval up to 30 s misses a spike. Above 100"
            f" % a breaker may trip: look at the cycles around it. {_NO_RATING}",
            "percentunit",
            f"max({rated})",
            thresholds("green", (0.60, "yellow"), (0.75, "orange"), (0.85, "red")),
            defaults={"decimals": 1, "noValue": "no rating"},
            **small,
        ),
        stat(
            "Imbalance of phase currents",
            "Greatest deviation of a phase's current from the mean of the three, of the worst device. From 15 % on,"
            " move single-phase loads.",
            "percentunit",
            f"max(karman_current_imbalance_ratio{{{_TOTAL}}} {_LOADED})",
            IMBALANCE,
            defaults={"decimals": 1, "noValue": "idle"},
            **small,
        ),
        stat(
            "Voltage off nominal",
            "Greatest deviation of a phase's voltage from the nominal one. From 10 % on it is the feed, a transformer's"
            " tap or a lost phase. Without a configured nominal voltage there is nothing to compare with.",
            "percentunit",
            f"max(abs({nominal} - 1))",
            thresholds("green", (0.05, "yellow"), (0.10, "red")),
            defaults={"decimals": 1, "noValue": "no nominal"},
            **small,
        ),
        stat(
            "Devices heard",
            "Share of the chosen devices that sent something within ten seconds. Below 100 %, see which in the table of"
            " devices, then its connection.",
            "percentunit",
            f"({heard}) / count(karman_device_info{{{_DEVICE}}})",
            thresholds("red", (0.999, "green")),
            **small,
        ),
    ]


def _graphs() -> list[Json]:
    return [
        graph(
            "Peak current of each phase",
            "Greatest cycle of the last seconds; of several devices the greatest. Shows which phase is nearest to its"
            " breaker. Lines that part are unequal load: move single-phase loads.",
            "amp",
            [prometheus(f"max by (stream) (karman_rms_current_max_amperes{{{_EACH}}})", "{{stream}}")],
            overrides=phase_colours(),
            links=[_CYCLES],
        ),
        graph(
            "Voltage of each phase, and power factor",
            "Line to neutral, mean of the last seconds, and the power factor of all chosen phases. A voltage that sags"
            " with the load is the feed or the transformer; a power factor that sags is the power supplies.",
            "volt",
            [
                prometheus(f"avg by (stream) (karman_rms_voltage_mean_volts{{{_EACH}}})", "{{stream}}"),
                prometheus(
                    f"sum(karman_real_power_mean_watts{{{_EACH}}})"
                    f" / sum(karman_apparent_power_mean_voltamperes{{{_EACH}}})",
                    "Power factor",
                ),
            ],
            overrides=[
                *phase_colours(),
                by_name("Power factor", unit="percentunit", color=fixed("yellow"), **{"custom.axisPlacement": "right"}),
            ],
            links=[_CYCLES],
        ),
        graph(
            "Three-phase real and reactive power",
            "Sums over the phases of one frame, means of the last seconds, of all chosen devices. Reactive power that"
            " grows while real power falls is power supplies that idle.",
            "watt",
            [
                prometheus(f"sum(karman_three_phase_real_power_mean_watts{{{_TOTAL}}})", "Real power"),
                prometheus(f"sum(karman_three_phase_reactive_power_mean_vars{{{_TOTAL}}})", "Reactive power"),
            ],
            overrides=[
                by_name("Real power", color=fixed("green")),
                by_name("Reactive power", color=fixed("yellow"), unit="voltampreact"),
            ],
            links=[_CYCLES],
        ),
        graph(
            "Real power: peak, average, trough",
            "Greatest, mean and least three-phase cycle of the last seconds; a wide band is bursty load. Of several"
            " devices the sum of their peaks, which need not have come at once: the peak of the sum is in Fleet.",
            "watt",
            [
                prometheus(f"sum(karman_three_phase_real_power_max_watts{{{_TOTAL}}})", "Peak"),
                prometheus(f"sum(karman_three_phase_real_power_mean_watts{{{_TOTAL}}})", "Average"),
                prometheus(f"sum(karman_three_phase_real_power_min_watts{{{_TOTAL}}})", "Trough"),
            ],
            overrides=[
                by_name("Peak", color=fixed("red")),
                by_name("Average", color=fixed("green")),
                by_name("Trough", color=fixed("blue")),
            ],
            links=[_CYCLES],
        ),
    ]


def _devices() -> Json:
    columns: dict[str, tuple[str, str | None, Json]] = {
        "device": ("Device", f"max by (device, rack, feed) (karman_device_info{{{_DEVICE}}})", {}),
        "rack": ("Rack", None, {}),
        "feed": ("Feed", None, {}),
        "Value #B": (
            "Real power",
            f"sum by (device) (karman_three_phase_real_power_mean_watts{{{_TOTAL}}})",
            {"unit": "watt"},
        ),
        "Value #C": ("Peak current", f"max by (device) (karman_rms_current_max_amperes{{{_EACH}}})", {"unit": "amp"}),
        "Value #D": (
            "Of the breaker",
            f"max by (device) (karman_breaker_utilisation_ratio{{{_EACH}}})",
            {
                "unit": "percentunit",
                "min": 0,
                "max": 1,
                "thresholds": LOAD,
                "custom.cellOptions": {"type": "gauge", "mode": "basic"},
            },
        ),
        "Value #E": (
            "Power factor",
            f"max by (device) (karman_three_phase_power_factor_ratio{{{_TOTAL}}})",
            {"unit": "percentunit", "decimals": 1, "thresholds": POWER_FACTOR},
        ),
        "Value #F": (
            "Imbalance",
            f"max by (device) (karman_current_imbalance_ratio{{{_TOTAL}}})",
            {"unit": "percentunit", "decimals": 1, "thresholds": IMBALANCE},
        ),
        "Value #G": (
            "Complete",
            f"max by (device) (karman_completeness_ratio{{{_DEVICE}}})",
            {"unit": "percentunit", "decimals": 2, "thresholds": COMPLETE},
        ),
        "Value #H": (
            "Last heard",
            f"max by (device) ({age_of_last_frame(_DEVICE)})",
            {"unit": "s", "thresholds": thresholds("green", (5, "yellow"), (10, "red"))},
        ),
    }
    coloured = {"custom.cellOptions": {"type": "color-text"}}
    return table(
        "Devices",
        "The chosen devices, the most loaded first. An empty row is a device that is configured and silent. Click a"
        " device for its cycles.",
        "none",
        [prometheus(expr, instant=True) for _, expr, _ in columns.values() if expr],
        overrides=[
            by_name(
                "Device",
                links=[
                    link(
                        "Cycles of this device",
                        PER_CYCLE,
                        "var-device=${__value.text}",
                        "var-phase=${phase}",
                        SAME_TIME,
                    )
                ],
            ),
            *(
                by_name(name, **(coloured if "thresholds" in properties else {}) | properties)
                for name, _, properties in columns.values()
                if properties
            ),
        ],
        transformations=joined({key: name for key, (name, _, _) in columns.items()}, hidden=["Value #A"]),
        sort=[{"displayName": "Of the breaker", "desc": True}],
    )


def _every_metric() -> Json:
    quantities = {
        "Real power": ("real_power", "watts", "watt"),
        "Reactive power": ("reactive_power", "vars", "voltampreact"),
        "Apparent power": ("apparent_power", "voltamperes", "voltamp"),
        "Power factor": ("power_factor", "ratio", "none"),
        "RMS voltage": ("rms_voltage", "volts", "volt"),
        "RMS current": ("rms_current", "amperes", "amp"),
        "DC offset voltage": ("dc_offset_voltage", "volts", "volt"),
        "DC offset current": ("dc_offset_current", "amperes", "amp"),
    }
    statistics = {
        "": "mean",
        "min": "least cycle",
        "max": "greatest cycle",
        "held_min": "least, held",
        "held_max": "greatest, held",
    }

    def family(prefix: str, quantity: str, unit: str, statistic: str) -> str:
        mean = "" if quantity == "power_factor" else "_mean"
        return f"{prefix}{quantity}{f'_{statistic}' if statistic else mean}_{unit}"

    busiest = f"topk({_SHOWN}, max by (device) (karman_rms_current_max_amperes{{{_EACH}}}))"

    def rows(quantity: str, unit: str) -> str:
        parts = [
            f'label_replace({family("karman_", quantity, unit, statistic)}{{{_EACH}}}, "statistic", "{word}", "", "")'
            for statistic, word in statistics.items()
        ]
        if quantity in ("real_power", "reactive_power", "apparent_power", "power_factor"):
            parts += [
                f"label_replace(label_replace({family('karman_three_phase_', quantity, unit, statistic)}{{{_TOTAL}}},"
                f' "statistic", "{word}", "", ""), "stream", "all three", "", "")'
                for statistic, word in statistics.items()
                if not (quantity == "power_factor" and statistic)
            ]
        return f"max by (device, stream, phase, statistic) ({' or '.join(parts)}) and on (device) {busiest}"

    columns = {"device": "Device", "stream": "Stream", "phase": "Channel", "statistic": "Statistic"}
    columns |= {f"Value #{chr(ord('A') + number)}": name for number, name in enumerate(quantities)}
    return table(
        "Every metric",
        f"All figures of the chosen devices, at most of the {_SHOWN} with the greatest current: mean, least and"
        " greatest cycle of the last seconds, and the extremes held for a minute. For troubleshooting; filter by a"
        " click on a column's head.",
        "none",
        [prometheus(rows(quantity, unit), instant=True) for quantity, unit, _ in quantities.values()],
        overrides=[by_name(name, unit=shown, decimals=3) for name, (_, _, shown) in quantities.items()],
        transformations=joined(columns),
        sort=[{"displayName": "Device", "desc": False}],
        height=12,
    )


def build() -> Json:
    """The dashboard."""
    return dashboard(
        SUMMARY,
        "Karman: Summary",
        "The newest seconds of the chosen devices: how near the breakers are, how bursty and how balanced the load is.",
        [
            ("", [*_headlines(), *_second_line()]),
            ("Course", _graphs()),
            ("Devices", [_devices()]),
            ("Figures", [_every_metric()]),
        ],
        variables=[PROMETHEUS_SOURCE, DATABASE_SOURCE, RACK, FEED, DEVICE, STREAM, PHASE],
        annotations=[gaps(), *restarts()],
        refresh="1s",
        since="5m",
    )
