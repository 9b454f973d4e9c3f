"""Per cycle: one device's power from the tables, cycle by cycle when zoomed in, rolled up when zoomed out."""

from __future__ import annotations

from typing import Any, Final

from boards import DATABASE_SOURCE, PROMETHEUS_SOURCE, dashboard, picker
from panels import (
    PHASES,
    WIDTH,
    Json,
    by_name,
    by_regexp,
    fixed,
    graph,
    link,
    panel,
    series,
    sql,
    table,
    thresholds,
)
from scope import PER_CYCLE, PHASE, TABLE_DEVICE, TABLE_RACK, TABLE_STREAM, gaps, restarts

_POINTS: Final = 1000  # so that what is shown depends on the time range, and not on the width of the screen
_RAW_BELOW_MS: Final = 250  # up to five minutes: a minute is 3,600 cycles a phase, and a screen shows no more

# What is shown, what stands in the tables, and its unit.
METRICS: Final = {
    "Real power": ("real_power_w", "watt"),
    "Reactive power": ("reactive_power_var", "voltampreact"),
    "Apparent power": ("apparent_power_va", "voltamp"),
    "Power factor": ("power_factor", "none"),
    "RMS voltage": ("rms_voltage_v", "volt"),
    "RMS current": ("rms_current_a", "amp"),
}
_COLUMNS: Final = {name: column for name, (column, _) in METRICS.items()}

_NAME: Final = (
    "CASE stream "
    + " ".join(f"WHEN '{stream}' THEN '{name[-1]}'" for stream, (name, _) in PHASES.items())
    + " ELSE stream END"
)
_THREE: Final = ", ".join(f"'{stream}'" for stream in PHASES)
_STEP: Final = "CASE WHEN $__interval_ms < 60000 THEN 1 WHEN $__interval_ms < 3600000 THEN 60 ELSE 3600 END"
_BUCKET: Final = "date_bin(greatest($__interval_ms, 1000) * interval '1 ms', time, 'epoch')"
# Lines break where more than two cycles, or a whole bucket, are missing.
_STEP_OF_CYCLES: Final = "interval '50 ms'"
_STEP_OF_BUCKETS: Final = "1.5 * greatest($__interval_ms, 1000) * interval '1 ms'"
# Streams need not share their times: what another one's points leave empty for less than this is no gap.
_SPANNED_MS: Final = 100
# Cycles of a device without a clock may have arrived at the same time: their numbers tell them apart.
_NUMBER: Final = (
    "CASE WHEN bool_or(flags & 3 <> 0) OVER (PARTITION BY time)"
    " THEN coalesce(sequence, max(sequence) OVER (PARTITION BY time)) END"
)
_OF_DEVICE: Final = "$__timeFilter(time) AND device = ${device:sqlstring} AND phase = ${phase:sqlstring}"

_HOW: Final = (
    " Up to about five minutes each point is a cycle; beyond that a second, a minute or an hour, and what a cycle did"
    " in it shows as min and max."
)
_MEANS: Final = " Up to about five minutes each point is a cycle; beyond that a mean."


def _by_phase(metric: str) -> list[Json]:
    column = f"${{{metric}}}"
    name = f"{_NAME} || ' ${{{metric}:text}}'"
    cycles = f"""
SELECT time, {name} AS metric, {column} AS value
FROM cycle_by_phase
WHERE $__interval_ms < {_RAW_BELOW_MS} AND {_OF_DEVICE} AND stream IN (${{stream:sqlstring}})
"""
    rolled_up = f"""
SELECT r.time, r.name || v.statistic AS metric, v.value
FROM (
  SELECT {_BUCKET} AS time, {name} AS name,
    CASE
      WHEN '{column}' = 'power_factor' THEN CASE WHEN sum(real_power_w_count) = sum(apparent_power_va_count)
        THEN sum(real_power_w_sum) / nullif(sum(apparent_power_va_sum), 0) END
      WHEN '{column}' LIKE 'rms%' THEN sqrt(sum({column}_sumsq) / nullif(sum({column}_count), 0))
      ELSE sum({column}_sum) / nullif(sum({column}_count), 0)
    END AS mean, min({column}_min) AS least, max({column}_max) AS greatest
  FROM power_rollup
  WHERE $__interval_ms >= {_RAW_BELOW_MS} AND step_s = {_STEP}
    AND {_OF_DEVICE} AND stream IN (${{stream:sqlstring}})
  GROUP BY 1, 2
) r CROSS JOIN LATERAL (VALUES ('', r.mean), (' min', r.least), (' max', r.greatest)) v (statistic, value)
"""
    return [series(cycles, _STEP_OF_CYCLES), series(rolled_up, _STEP_OF_BUCKETS)]


def _picked(metric: str) -> Json:
    dashed: dict[str, Any] = {"custom.lineStyle": {"fill": "dash", "dash": [2, 4]}}
    return graph(
        f"${{{metric}:text}} of each phase",
        "The quantity chosen above, by phase."
        + _HOW
        + " A power factor is that of the sums; an RMS value over a time is"
        " the root of the mean square.",
        "none",
        _by_phase(metric),
        overrides=[
            *(by_regexp(f"/^{name[-1]} /", color=fixed(color)) for name, color in PHASES.values()),
            *(by_regexp(f"/{name}/", unit=unit) for name, (_, unit) in METRICS.items()),
            by_regexp("/ (min|max)$/", **dashed),
        ],
        custom={"spanNulls": _SPANNED_MS},
        width=WIDTH,
        height=11,
        points=_POINTS,
        least_interval="10ms",
    )


def _three_phase(title: str, description: str, unit: str, needed: str, expression: str, color: str) -> Json:
    """`needed`: the columns of which each phase must have a value."""
    whole = " AND ".join(f"count({column}) = {len(PHASES)}" for column in needed.split())
    statement = f"""
SELECT time, '{title}' AS metric, {expression} AS value
FROM (
  SELECT time, {_NUMBER} AS number, stream,
    real_power_w AS w, apparent_power_va AS va, reactive_power_var AS var, rms_current_a AS a
  FROM cycle_by_phase
  WHERE $__interval_ms < {_RAW_BELOW_MS} AND {_OF_DEVICE} AND stream IN ({_THREE})
  UNION ALL
  SELECT {_BUCKET}, NULL, stream,
    sum(real_power_w_sum) / nullif(sum(real_power_w_count), 0),
    sum(apparent_power_va_sum) / nullif(sum(apparent_power_va_count), 0),
    sum(reactive_power_var_sum) / nullif(sum(reactive_power_var_count), 0),
    sqrt(sum(rms_current_a_sumsq) / nullif(sum(rms_current_a_count), 0))
  FROM power_rollup
  WHERE $__interval_ms >= {_RAW_BELOW_MS} AND step_s = {_STEP} AND {_OF_DEVICE} AND stream IN ({_THREE})
  GROUP BY 1, 3
) phases
GROUP BY time, number
HAVING {whole}
"""
    longest = f"CASE WHEN $__interval_ms < {_RAW_BELOW_MS} THEN {_STEP_OF_CYCLES} ELSE {_STEP_OF_BUCKETS} END"
    return graph(
        title,
        description + _MEANS,
        unit,
        [series(statement, longest)],
        custom={"spanNulls": _SPANNED_MS},
        overrides=[by_name(title, color=fixed(color))],
        points=_POINTS,
        least_interval="10ms",
    )


def _three_phases() -> list[Json]:
    whole = " A cycle of which a phase is missing is left out."
    return [
        _three_phase("Three-phase real power", "Sum over the three phases." + whole, "watt", "w", "sum(w)", "green"),
        _three_phase(
            "Three-phase reactive power",
            "Sum over the three phases; lagging is positive, as the device defines it." + whole,
            "voltampreact",
            "var",
            "sum(var)",
            "yellow",
        ),
        _three_phase(
            "Three-phase power factor",
            "Real power of the three phases over the sum of their apparent powers. Below 0.85 under load, look for"
            " power supplies that idle or fail.",
            "none",
            "w va",
            "sum(w) / nullif(sum(va), 0)",
            "purple",
        ),
        _three_phase(
            "Imbalance of phase currents",
            "Greatest deviation of a phase's current from the mean of the three, over that mean. From 15 % on for"
            " minutes, move single-phase loads; single cycles say little.",
            "percentunit",
            "a",
            "greatest(max(a) - avg(a), avg(a) - min(a)) / nullif(avg(a), 0)",
            "orange",
        ),
    ]


def _spectrum() -> Json:
    columns = ", ".join(
        f"max(u.magnitude) FILTER (WHERE newest.stream = '{stream}') AS \"{name}\""
        for stream, (name, _) in PHASES.items()
    )
    statement = f"""
SELECT u.bin::text AS bin, {columns}
FROM (
  SELECT DISTINCT ON (s.name) s.name AS stream, p.magnitude
  FROM spectrum p JOIN device d ON d.id = p.device_id JOIN stream s ON s.id = p.stream_id
  WHERE $__timeFilter(p.time) AND d.name = ${{device:sqlstring}} AND s.name IN (${{stream:sqlstring}})
  ORDER BY s.name, p.time DESC
) newest CROSS JOIN LATERAL unnest(newest.magnitude) WITH ORDINALITY u (magnitude, bin)
GROUP BY u.bin
ORDER BY u.bin
"""
    return panel(
        "barchart",
        "Newest spectrum",
        "The newest spectrum of each phase in this time range, bin by bin, as the device sent it: spacing and unit of"
        " the bins are the device's. Empty where a device sends none. Bins that stand out are harmonics: of the third,"
        " look at the neutral.",
        "none",
        [sql(statement, table=True)],
        width=12,
        height=9,
        overrides=[by_name(name, color=fixed(color)) for name, color in PHASES.values()],
        options={
            "xField": "bin",
            "orientation": "auto",
            "xTickLabelSpacing": 100,
            "showValue": "never",
            "stacking": "none",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "none"},
        },
    )


def _gap_table() -> Json:
    statement = """
SELECT g.from_time AS "From", extract(epoch FROM g.to_time - g.from_time)::float8 AS "Length", s.name AS "Stream",
  g.missing AS "Cycles missing", g.reason AS "Reason"
FROM gap g JOIN device d ON d.id = g.device_id JOIN stream s ON s.id = g.stream_id
WHERE $__timeFilter(g.from_time) AND d.name = ${device:sqlstring}
ORDER BY g.from_time DESC LIMIT 200
"""
    around = link("Cycles around it", PER_CYCLE, "${device:queryparam}", "time=${__value.raw}", "time.window=10000")
    return table(
        "Gaps of this device",
        "Cycles that never arrived, the newest first. transport: lost between device and pipeline; look at the network."
        " restart: nobody of ours was listening. absent: the device left the phase out of its messages.",
        "none",
        [sql(statement, table=True)],
        width=12,
        overrides=[
            by_name("From", unit="dateTimeAsIso", links=[around]),
            by_name("Length", unit="s"),
            by_name("Cycles missing", **{"custom.cellOptions": {"type": "color-text"}}, thresholds=thresholds("red")),
        ],
    )


def build() -> Json:
    """The dashboard."""
    return dashboard(
        PER_CYCLE,
        "Karman: Per cycle",
        "Every AC cycle of one device, and the same by second, minute and hour when zoomed out.",
        [
            ("", [_picked("metric1"), _picked("metric2")]),
            ("Three phases together", _three_phases()),
            ("Spectra and gaps", [_spectrum(), _gap_table()]),
        ],
        variables=[
            DATABASE_SOURCE,
            PROMETHEUS_SOURCE,
            TABLE_RACK,
            TABLE_DEVICE,
            TABLE_STREAM,
            PHASE,
            picker("metric1", "First", "What the first panel shows.", _COLUMNS, "real_power_w"),
            picker("metric2", "Second", "What the second panel shows.", _COLUMNS, "rms_voltage_v"),
        ],
        annotations=[gaps(), *restarts()],
        refresh="3s",
        since="2m",
    )
