"""The tables of places: what a limit tells while a phase is unknown, as Prometheus answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import grafana
from tests.grafana import Variable
from tests.promtool import promtool

CHOSEN = {name: Variable(".*", multi=True, raw=True) for name in ("site", "hall", "row", "rack")}


def column(table: str, family: str) -> str:
    """The query of a table's column, as Prometheus gets it."""
    board = grafana.load(next(path for path in grafana.DASHBOARDS if path.stem == "karman-fleet"))
    (panel,) = [panel for panel in grafana.panels(board) if panel["title"] == table]
    (query,) = [target["expr"] for target in panel["targets"] if family in target["expr"]]
    return grafana.promql(query, CHOSEN)


def a_feed(name: str, headroom_a: dict[str, float]) -> list[dict[str, str]]:
    """The series of a feed of which these phases are known."""
    of = f'level="feed",name="{name}"'
    rated = [f'karman_fleet_breaker_rating_amperes{{{of},phase="{phase}"}}' for phase in "ABC"]
    told = {f'karman_fleet_breaker_headroom_amperes{{{of},phase="{phase}"}}': a for phase, a in headroom_a.items()}
    return [{"series": series, "values": f"{value}"} for series, value in (dict.fromkeys(rated, 20.0) | told).items()]


@pytest.mark.prometheus
def test_a_limit_is_told_once_all_phases_are_known_or_one_is_past_it(tmp_path: Path) -> None:
    series = [
        *a_feed("known", {"A": 5.0, "B": 3.0, "C": 4.0}),
        *a_feed("unknown", {"A": 5.0, "B": 3.0}),
        *a_feed("past", {"A": 5.0, "B": -1.0}),
    ]
    asked: dict[str, Any] = {
        "expr": column("Feeds", "breaker_headroom"),
        "eval_time": "0s",
        "exp_samples": [
            {"labels": '{level="feed", name="known"}', "value": 3.0},
            {"labels": '{level="feed", name="past"}', "value": -1.0},
        ],
    }
    tests = [{"interval": "1s", "input_series": series, "promql_expr_test": [asked]}]
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1s", "tests": tests}))
    promtool(tmp_path, "test", "rules", path.name)
