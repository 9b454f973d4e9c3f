"""What holds the panels: variables, annotations, the grid and the dashboard itself, as Grafana's classic JSON.

Classic, because it is the form that Grafana 10 to 13 load from files and ConfigMaps alike.

Must not know: what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from panels import DATABASE, WIDTH, Json

SCHEMA_VERSION: Final = 39  # of Grafana 10.4: newer ones migrate it when they load it
TAG: Final = "karman"


def _variable(name: str, label: str, kind: str, **more: Any) -> Json:
    return {"name": name, "label": label, "type": kind, "hide": 0, "skipUrlSync": False, **more}


def data_source(name: str, label: str, plugin: str) -> Json:
    """A variable that chooses among the data sources of a kind; the default one, or the only one, comes up first."""
    return _variable(
        name,
        label,
        "datasource",
        query=plugin,
        regex="",
        refresh=1,
        current={},
        options=[],
        multi=False,
        includeAll=False,
    )


PROMETHEUS_SOURCE: Final = data_source("DS_PROMETHEUS", "Prometheus", "prometheus")
DATABASE_SOURCE: Final = data_source("DS_TIMESCALE", "Database", "postgres")


def choice(
    name: str,
    label: str,
    source: Json,
    query: str,
    *,
    description: str = "",
    multi: bool = True,
    all_value: str | None = None,
) -> Json:
    """A variable whose options a query gives. `multi` ones also offer All, and begin with it.

    Args:
        all_value: what All stands for in a query, as it is; without it, every option.
    """
    asked: str | Json = query if source is DATABASE else {"query": query, "refId": name}
    every = {"text": ["All"], "value": ["$__all"]}
    return _variable(
        name,
        label,
        "query",
        description=description,
        datasource=source,
        query=asked,
        definition=query,
        refresh=2,  # when the time range changes: devices come and go
        regex="",
        sort=1,
        multi=multi,
        includeAll=multi,
        current=every if multi else {},
        options=[],
        **({"allValue": all_value} if all_value else {}),
    )


def picker(name: str, label: str, description: str, values: Mapping[str, str], first: str) -> Json:
    """A variable with fixed options: `values` maps what is shown to what stands in the query."""
    options = [{"text": text, "value": value, "selected": value == first} for text, value in values.items()]
    return _variable(
        name,
        label,
        "custom",
        description=description,
        query=", ".join(f"{text} : {value}" for text, value in values.items()),
        multi=False,
        includeAll=False,
        current=next(option for option in options if option["selected"]),
        options=options,
    )


_BUILT_IN: Final = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}


def annotation(name: str, color: str, source: Json, target: Json, **more: Any) -> Json:
    """Marks in time, where the query says."""
    return {
        "name": name,
        "datasource": source,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "target": target,
        **more,
    }


def place(rows: Iterable[tuple[str, Sequence[Json]]]) -> list[Json]:
    """Panels with ids and places: each row has a title and is filled from the left.

    Raises:
        ValueError: a panel is wider than the grid.
    """
    placed: list[Json] = []
    y = 0
    for title, panels in rows:
        x, height = 0, 0
        if title:
            placed.append(
                {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, y, WIDTH, 1)}
            )
            y += 1
        for item in panels:
            width, own_height = item["gridPos"]["w"], item["gridPos"]["h"]
            if width > WIDTH:
                raise ValueError(f"{item['title']} is {width} wide: the grid has {WIDTH}")
            if x + width > WIDTH:
                x, y, height = 0, y + height, 0
            placed.append(item | {"gridPos": _at(x, y, width, own_height)})
            x, height = x + width, max(height, own_height)
        y += height
    return [item | {"id": number} for number, item in enumerate(placed, start=1)]


def _at(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def dashboard(
    uid: str,
    title: str,
    description: str,
    rows: Iterable[tuple[str, Sequence[Json]]],
    *,
    variables: Sequence[Json],
    annotations: Sequence[Json],
    refresh: str,
    since: str,
) -> Json:
    """A dashboard, with links to the others of the same tag."""
    return {
        "id": None,
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,  # one crosshair over all panels
        "refresh": refresh,
        "time": {"from": f"now-{since}", "to": "now"},
        "timepicker": {"refresh_intervals": ["1s", "3s", "5s", "10s", "30s", "1m", "5m", "15m"]},
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "templating": {"list": list(variables)},
        "annotations": {"list": [_BUILT_IN, *annotations]},
        "links": [
            {
                "type": "dashboards",
                "title": "Karman",
                "tags": [TAG],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "panels": place(rows),
    }
