"""The dashboards as files: generated, of Grafana's classic schema, and consistent with themselves and each other."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import typing
import warnings
from collections import Counter
from typing import Any

import pytest

from pipeline.core import families
from tests import grafana

BOARDS = {path.stem: grafana.load(path) for path in grafana.DASHBOARDS}
SOURCES = {grafana.PROMETHEUS, grafana.DATABASE}


@pytest.fixture(params=BOARDS, ids=str)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    return BOARDS[request.param]


@pytest.fixture(scope="module")
def sdk() -> Any:
    """Grafana's own types of the classic schema."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have dashboards of the second schema, which files cannot hold
        from grafana_foundation_sdk.cog import encoder, plugins
        from grafana_foundation_sdk.models import dashboard, units
    plugins.register_default_plugins()
    kept = lambda board: json.loads(encoder.JSONEncoder().encode(dashboard.Dashboard.from_json(board)))  # noqa: E731
    known = {value for name in units.__annotations__ for value in typing.get_args(units.__annotations__[name])}
    return kept, known


def lost(before: Any, after: Any, where: str = "") -> list[str]:
    """What a reading and writing by Grafana's types did not keep, or changed."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            problem
            for key, value in before.items()
            for problem in (lost(value, after[key], f"{where}.{key}") if key in after else [f"{where}.{key}"])
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [problem for number, (old, new) in pairs for problem in lost(old, new, f"{where}[{number}]")]
    return [] if before == after else [where]


def test_the_committed_files_are_what_the_generator_gives() -> None:
    checked = subprocess.run(
        [sys.executable, str(grafana.FOLDER / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_grafanas_own_types_know_every_field(board: dict[str, Any], sdk: Any) -> None:
    kept, _ = sdk
    assert lost(board, kept(board)) == [".id"]  # null: Grafana gives one
    typo = json.loads(json.dumps(board))
    next(grafana.panels(typo))["fieldConfig"]["defaults"]["unitt"] = "watt"
    assert len(lost(typo, kept(typo))) == 2


def test_uids_and_titles_are_unique() -> None:
    assert [path.stem for path in grafana.DASHBOARDS] == [board["uid"] for board in BOARDS.values()]
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)
    assert all(len(board["uid"]) <= 40 for board in BOARDS.values())


def test_ids_are_unique_and_no_panel_covers_another(board: dict[str, Any]) -> None:
    assert max(Counter(panel["id"] for panel in board["panels"]).values()) == 1
    cells: Counter[tuple[int, int]] = Counter()
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= 24
        cells.update(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
    assert max(cells.values()) == 1
    # A hole in the grid would move what is below it up: the layout would not be the one that we looked at.
    rows = [sum(width for (_, y), width in cells.items() if y == line) for line in range(max(y for _, y in cells) + 1)]
    assert set(rows) == {24}


def test_every_panel_says_what_it_means_and_in_which_unit(board: dict[str, Any], sdk: Any) -> None:
    _, known = sdk
    for panel in grafana.panels(board):
        assert len(panel["description"]) > 40, panel["title"]
        field = panel["fieldConfig"]
        shown = [field["defaults"]["unit"]]
        shown += [p["value"] for override in field["overrides"] for p in override["properties"] if p["id"] == "unit"]
        assert set(shown) <= known, panel["title"]


def test_data_sources_are_variables_and_no_name_is_hard_coded(board: dict[str, Any]) -> None:
    kinds = {v["name"]: v["query"] for v in board["templating"]["list"] if v["type"] == "datasource"}
    assert kinds.items() <= {"DS_PROMETHEUS": "prometheus", "DS_TIMESCALE": "postgres"}.items()
    for node in walk(board):
        if "datasource" in node:
            uid = node["datasource"]["uid"]
            assert uid in SOURCES | {"-- Grafana --", "-- Mixed --"}
            assert uid not in SOURCES or uid[2:-1] in kinds


def test_variables_are_defined_before_they_are_used(board: dict[str, Any]) -> None:
    names: set[str] = set()
    for variable in board["templating"]["list"]:
        asked = {key: value for key, value in variable.items() if key in ("query", "datasource")}
        assert grafana.references(json.dumps(asked)) <= names, variable["name"]
        names.add(variable["name"])
    used = grafana.references(json.dumps({key: value for key, value in board.items() if key != "templating"}))
    assert used <= names | grafana.BUILT_IN
    chained = {name for v in board["templating"]["list"] for name in grafana.references(json.dumps(v))}
    assert names <= used | chained, "a variable that nothing uses"


def test_links_lead_to_dashboards_and_variables_that_exist(board: dict[str, Any]) -> None:
    urls = [node["url"] for node in walk(board) if node.get("url")]
    for url in urls:
        uid, _, parameters = url.removeprefix("/d/").partition("?")
        assert uid in BOARDS
        known = {variable["name"] for variable in BOARDS[uid]["templating"]["list"]}
        own = {variable["name"] for variable in board["templating"]["list"]}
        named = set(re.findall(r"(?:^|&)var-(\w+)=", parameters))
        passed = set(re.findall(r"\$\{(\w+):queryparam\}", parameters))
        assert named | passed <= known
        assert passed <= own
        assert "time" in parameters, "it leads to the same time"


def test_sql_that_depends_on_the_interval_is_not_held_to_that_of_the_data_source(board: dict[str, Any]) -> None:
    for panel in grafana.panels(board):
        if any("__interval" in target.get("rawSql", "") for target in panel["targets"]):
            assert panel["interval"] == "10ms"
            assert panel["maxDataPoints"]


def test_every_metric_exists(board: dict[str, Any]) -> None:
    known = {family.name for family in families.ALL}
    used = set(
        re.findall(r"\bkarman_[a-z_]+\b", json.dumps([board["panels"], board["annotations"], board["templating"]]))
    )
    assert used - known == set()


def test_a_rate_knows_the_scrape_interval(board: dict[str, Any]) -> None:
    for panel in grafana.panels(board):
        for target in panel["targets"]:
            if "rate(" in target.get("expr", ""):
                assert "$__rate_interval" in target["expr"]
                assert "interval" not in target


def walk(node: Any) -> typing.Iterator[dict[str, Any]]:
    """Every object in it."""
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from walk(child)
