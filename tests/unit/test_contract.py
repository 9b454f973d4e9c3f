"""What users of the system before know by heart: its defaults and the look of its dashboards, as plain values."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytest
import yaml

from pipeline.cli import demo, replay
from pipeline.core.config import Device, Metrics, PipelineConfig
from tests import grafana

VALUES = yaml.safe_load((grafana.FOLDER.parent / "ray-cluster" / "karman" / "values.yaml").read_text("utf-8"))
BOARDS = {path.stem: grafana.load(path) for path in grafana.DASHBOARDS}
LOAD = [(0.6, "yellow"), (0.75, "orange"), (0.85, "red")]


def default(of: Any, name: str) -> Any:
    """Of a setting: what it is where nothing is said."""
    return signature(of).parameters[name].default


def test_the_pipeline() -> None:
    assert (default(PipelineConfig, "window_s"), default(PipelineConfig, "http_port")) == (5.0, 9105)
    assert default(Device, "topic") == "cycle-aligned"
    assert Metrics().compatible
    assert Metrics().silence_s <= 5.0, "a dead device's gauges go within seconds"


def test_the_replay_and_the_demo() -> None:
    assert (default(replay.replay, "rate"), default(replay.replay, "topic")) == (60.0, "cycle-aligned")
    assert default(replay.replay, "bind") == "tcp://127.0.0.1:5557", "for other hosts one says so"
    assert (default(demo.demo, "rate"), demo.RACK, demo.BREAKER_A, demo.NOMINAL_V) == (60.0, "r42", 60.0, 120.0)


def test_helm_values() -> None:
    assert (VALUES["rackId"], VALUES["breakerRatingAmps"], VALUES["systemVoltage"]) == ("r42", 60, 120)
    assert (VALUES["source"]["mode"], VALUES["source"]["topic"]) == ("replay", "cycle-aligned")
    assert (VALUES["replay"]["rateHz"], VALUES["replay"]["defaultDataset"]) == (60, "sample1-b200-no-powercap.csv")
    assert VALUES["timescale"]["port"] == 5432
    assert VALUES["prometheus"]["scrapeInterval"] == "1s"


@pytest.mark.parametrize(
    ("board", "refresh", "reaches_back"), [("karman-summary", "1s", "now-5m"), ("karman-per-cycle", "3s", "now-2m")]
)
def test_a_dashboard_shows_what_is_new(board: str, refresh: str, reaches_back: str) -> None:
    assert (BOARDS[board]["refresh"], BOARDS[board]["time"]) == (refresh, {"from": reaches_back, "to": "now"})


@pytest.mark.parametrize(
    ("title", "least", "steps"),
    [
        ("Worst phase, peak current", "green", LOAD),
        ("Current spikiness, peak over mean", "green", [(1.2, "yellow"), (1.5, "orange"), (2.0, "red")]),
        ("Power factor", "red", [(0.85, "yellow"), (0.95, "green")]),
        ("Available headroom", "red", [(0.05, "orange"), (0.1, "yellow"), (0.2, "green")]),
    ],
)
def test_from_where_on_a_figure_is_yellow_or_red(title: str, least: str, steps: list[tuple[float, str]]) -> None:
    (panel,) = [panel for panel in grafana.panels(BOARDS["karman-summary"]) if panel["title"] == title]
    told = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in told] == [(None, least), *steps]


@pytest.mark.parametrize("board", ["karman-summary", "karman-per-cycle"])
def test_phases_are_red_green_and_blue(board: str) -> None:
    names = [
        {"threephase/karman1": "red", "threephase/karman2": "green", "threephase/karman3": "blue"},
        {"/^A /": "red", "/^B /": "green", "/^C /": "blue"},
    ][board == "karman-per-cycle"]
    panels = [panel for panel in grafana.panels(BOARDS[board]) if "each phase" in panel["title"]]
    assert len(panels) >= 2
    for panel in panels:
        colours = {
            override["matcher"]["options"]: change["value"]["fixedColor"]
            for override in panel["fieldConfig"]["overrides"]
            for change in override["properties"]
            if change["id"] == "color"
        }
        assert {name: colours.get(name) for name in names} == names
