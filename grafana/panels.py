"""What a dashboard is filled with: queries, panels, overrides and links, as the dicts of Grafana's classic JSON.

Must not know: what is shown, where a panel stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Json = dict[str, Any]

PLUGIN_VERSION: Final = "10.0.0"  # the options are written as this version's panels take them
WIDTH: Final = 24  # columns of the grid

PROMETHEUS: Final = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
# The older of the plugin's two names: every version from 10 to 13 knows it.
DATABASE: Final = {"type": "postgres", "uid": "${DS_TIMESCALE}"}

# The original's colours of the three phases, by the stream that measures each.
PHASES: Final = {
    "threephase/karman1": ("Phase A", "red"),
    "threephase/karman2": ("Phase B", "green"),
    "threephase/karman3": ("Phase C", "blue"),
}


def prometheus(expr: str, legend: str = "", *, instant: bool = False) -> Json:
    """A PromQL query: a range as time series, or one moment as a table."""
    query: Json = {"datasource": PROMETHEUS, "expr": expr, "editorMode": "code"}
    if instant:
        return query | {"instant": True, "range": False, "format": "table"}
    query |= {"instant": False, "range": True, "format": "time_series", "legendFormat": legend or "__auto"}
    if "$__rate_interval" not in expr:
        query["interval"] = "1s"  # gauges are new each second; a rate has to know the real scrape interval instead
    return query


def sql(statement: str, *, table: bool = False) -> Json:
    """An SQL query. A time series has the columns time, metric and value."""
    return {
        "datasource": DATABASE,
        "rawSql": statement.strip(),
        "rawQuery": True,
        "editorMode": "code",
        "format": "table" if table else "time_series",
    }


def series(points: str, longest_step: str) -> Json:
    """A time series from a query of the columns time, metric and value, whose lines break where points are missing.

    Args:
        longest_step: an SQL interval; what is further apart is not connected.
    """
    return sql(f"""
WITH points AS (
{points.strip()}
)
SELECT time, metric, value FROM points
UNION ALL
SELECT time - interval '1 ms', metric, NULL
FROM (SELECT time, metric, time - lag(time) OVER (PARTITION BY metric ORDER BY time) AS step FROM points) steps
WHERE step > {longest_step}
ORDER BY time, metric
""")


def thresholds(base: str, *steps: tuple[float, str]) -> Json:
    """Colours from values on."""
    return {
        "mode": "absolute",
        "steps": [{"color": base, "value": None}, *({"color": color, "value": value} for value, color in steps)],
    }


def by_name(name: str, **properties: Any) -> Json:
    """An override of the field of this name."""
    return _override("byName", name, properties)


def by_regexp(pattern: str, **properties: Any) -> Json:
    """An override of the fields whose name matches."""
    return _override("byRegexp", pattern, properties)


def _override(matcher: str, options: str, properties: Mapping[str, Any]) -> Json:
    return {
        "matcher": {"id": matcher, "options": options},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def fixed(color: str) -> Json:
    """One colour, whatever the value."""
    return {"mode": "fixed", "fixedColor": color}


def phase_colours(after: str = "") -> list[Json]:
    """Name the three streams as phases and colour them as the original does; `after` follows the stream in a name."""
    return [
        by_name(f"{stream}{after}", color=fixed(color), displayName=f"{name}{after}")
        for stream, (name, color) in PHASES.items()
    ]


def link(title: str, dashboard: str, *parameters: str) -> Json:
    """A link to a dashboard by its uid."""
    return {"title": title, "url": f"/d/{dashboard}?{'&'.join(parameters)}", "targetBlank": False}


SAME_TIME: Final = "${__url_time_range}"


def moment(seconds: int) -> str:
    """So many seconds, with the time of the point that was clicked in their middle."""
    return f"time=${{__value.time}}&time.window={seconds * 1000}"


def panel(
    kind: str,
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Json],
    *,
    width: int,
    height: int,
    defaults: Mapping[str, Any] | None = None,
    custom: Mapping[str, Any] | None = None,
    overrides: Sequence[Json] = (),
    options: Mapping[str, Any] | None = None,
    transformations: Sequence[Json] = (),
    links: Sequence[Json] = (),
    points: int | None = None,
    least_interval: str | None = None,
) -> Json:
    """A panel; `place` gives it its id and place.

    Args:
        width, height: in units of the grid.
        points: at most so many points, whatever the width of the screen.
        least_interval: what `$__interval` may go down to; without it what the data source says, for SQL a minute.
    """
    field = {"unit": unit, "color": {"mode": "palette-classic"}, **(defaults or {})}
    if custom:
        field["custom"] = dict(custom)
    if links:
        field["links"] = list(links)
    sources = {query["datasource"]["uid"]: query["datasource"] for query in queries}
    result: Json = {
        "type": kind,
        "title": title,
        "description": description,
        "pluginVersion": PLUGIN_VERSION,
        "datasource": next(iter(sources.values())) if len(sources) == 1 else {"type": "mixed", "uid": "-- Mixed --"},
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": field, "overrides": list(overrides)},
        "options": dict(options or {}),
        "targets": [query | {"refId": chr(ord("A") + number)} for number, query in enumerate(queries)],
    }
    if transformations:
        result["transformations"] = list(transformations)
    if points:
        result["maxDataPoints"] = points
    if least_interval:
        result["interval"] = least_interval
    return result


def stat(title: str, description: str, unit: str, query: Json | str, steps: Json, **more: Any) -> Json:
    """The newest value, coloured by thresholds, with its course behind."""
    more.setdefault("width", 6)
    more.setdefault("height", 6)
    defaults = {"color": {"mode": "thresholds"}, "thresholds": steps, **more.pop("defaults", {})}
    return panel(
        "stat",
        title,
        description,
        unit,
        [prometheus(query) if isinstance(query, str) else query],
        defaults=defaults,
        options={
            "graphMode": "area",
            "colorMode": "value",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "value",
            "reduceOptions": {"values": False, "calcs": ["lastNotNull"], "fields": ""},
        },
        **more,
    )


def graph(title: str, description: str, unit: str, queries: Sequence[Json], **more: Any) -> Json:
    """A time series."""
    more.setdefault("width", 12)
    more.setdefault("height", 8)
    custom = {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 0,
        "showPoints": "never",
        "spanNulls": False,
        "axisWidth": 80,  # panels below each other line up
        **more.pop("custom", {}),
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    return panel("timeseries", title, description, unit, queries, custom=custom, options=options, **more)


def table(title: str, description: str, unit: str, queries: Sequence[Json], **more: Any) -> Json:
    """Rows; a column's unit is that of `unit` unless an override says otherwise."""
    more.setdefault("width", WIDTH)
    more.setdefault("height", 9)
    options = {"showHeader": True, "cellHeight": "sm", "sortBy": more.pop("sort", [])}
    defaults = {"color": {"mode": "thresholds"}, "thresholds": thresholds("text"), **more.pop("defaults", {})}
    custom = {"align": "auto", "filterable": True, "inspect": False, "cellOptions": {"type": "auto"}}
    return panel("table", title, description, unit, queries, custom=custom, defaults=defaults, options=options, **more)


def joined(columns: Mapping[str, str], hidden: Iterable[str] = ()) -> list[Json]:
    """Instant queries as one table: rows with the same labels become one, `Value #A` gets a name."""
    order = {name: number for number, name in enumerate(columns)}
    return [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": dict.fromkeys(["Time", *hidden], True),
                "indexByName": order,
                "renameByName": dict(columns),
            },
        },
    ]
