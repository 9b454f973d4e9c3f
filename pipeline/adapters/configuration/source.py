"""YAML files as plain values, with the line of every key and item, so that an error can say where it stands.

Must not know: what the keys mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.core.errors import InputError

DEEPEST: Final = 50  # levels; an anchor that holds itself has no end
MOST_PLACES: Final = 2_000_000  # anchors within anchors multiply; ten thousand devices have a tenth of it
Place = tuple[str | int, ...]  # keys and indices from the top


@dataclass(frozen=True, slots=True)
class Source:
    """One file's content. `lines`: the line, from 1, on which each place begins."""

    path: Path
    content: Any
    lines: Mapping[Place, int]

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read(path: Path) -> Source:
    """A YAML file of one document.

    Raises:
        InputError: it cannot be read, is no YAML, or has a key twice.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error
    lines: dict[Place, int] = {}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            _note(node, (), lines, path)
        content = {} if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InputError(f"{where}: this is not YAML: {error.problem or error.context}") from error
    except RecursionError:
        raise InputError(f"{path}: this is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: this is not YAML: {str(error).splitlines()[0]}") from error
    return Source(path, content, lines)


def _note(node: yaml.Node, place: Place, lines: dict[Place, int], path: Path) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if len(place) > DEEPEST or len(lines) > MOST_PLACES:
        raise InputError(f"{path}:{node.start_mark.line + 1}: what this holds has no end: does an anchor hold itself?")
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*place, str(key.value))
            if below in lines and key.value != "<<":
                raise InputError(
                    f"{path}:{key.start_mark.line + 1}: '{key.value}' is given twice, first on line {lines[below]}"
                )
            lines[below] = key.start_mark.line + 1
            _note(value, below, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note(item, (*place, index), lines, path)
