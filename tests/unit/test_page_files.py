"""The live page's files keep to what its security rests on, and its vendored library is the one that was released."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "pipeline" / "page"
VENDOR = PAGE / "vendor"
OURS = sorted(path for path in PAGE.rglob("*") if path.is_file() and VENDOR not in path.parents)
# uPlot 1.6.32 as it is in the npm registry. A new version: `npm pack uplot`, and these two.
UPLOT = {
    "uPlot.esm.js": "5dd9b3281aa64b461b42d9945f6adb2649d346502b12281a9ae0d46599a80eba",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_nothing_from_outside_becomes_markup_or_code(path: Path) -> None:
    text = path.read_text("utf-8")
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|setHTML"
    assert re.findall(ways, text) == []
    if path.suffix == ".html":
        assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text) == []


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_nothing_is_fetched_from_elsewhere(path: Path) -> None:
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", path.read_text("utf-8"))
    assert [address for address in addresses if not address.startswith("http://www.w3.org/")] == []


def test_modules_are_short() -> None:
    assert {path.name: count for path in OURS if (count := len(path.read_text("utf-8").splitlines())) > 400} == {}


@pytest.mark.parametrize("name", UPLOT)
def test_uplot_is_as_released_and_has_its_licence(name: str) -> None:
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == UPLOT[name]
    assert "MIT" in (VENDOR / "uPlot.LICENSE").read_text("utf-8")
