"""What is wrong with a file, in the user's words: file, line, key, and what would be right.

Must not know: what a right file is turned into.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.adapters.configuration.source import Place, Source

_OF_DSN: Final = "a DSN may hold a password and does not belong here: give dsn_env or dsn_file"
_KINDS: Final = {
    "string_type": "text is wanted; put it in quotes",
    "float_type": "a number is wanted",
    "int_type": "a whole number is wanted",
    "bool_type": "true or false is wanted",
    "list_type": "a list is wanted",
    "dict_type": "keys with values are wanted",
    "model_type": "keys with values are wanted",
    "model_attributes_type": "keys with values are wanted",
    "missing": "this is required",
}


def validate(model: type[BaseModel], source: Source) -> tuple[Any, list[str]]:
    """The model with the source's content, or None, and what is wrong with it, a line each."""
    try:
        return model.model_validate(source.content), []
    except ValidationError as error:
        return None, _all(model, source, error.errors(include_url=False))


def at(source: Source, place: Place, message: str) -> str:
    """One line: where, and what."""
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    return f"{source.path}:{source.line(place)}: {shown}: {message}" if shown else f"{source.path}: {message}"


def _all(model: type[BaseModel], source: Source, details: Iterable[ErrorDetails]) -> list[str]:
    lines: dict[Place, str] = {}
    for detail in details:
        place = _in_file(detail["loc"], source)
        lines.setdefault(place, at(source, place, _message(model, place, detail)))
    return [lines[place] for place in sorted(lines, key=source.line)]


def _in_file(loc: tuple[int | str, ...], source: Source) -> Place:
    """The place without what pydantic adds to name the members of unions."""
    if loc in source.lines:
        return loc
    for length in range(len(loc) - 1, 0, -1):
        if loc[:length] in source.lines:
            rest = loc[length:]
            return (*loc[:length], *rest[:1]) if isinstance(rest[0], str) and rest[0].isidentifier() else loc[:length]
    return loc[:1]


def _message(model: type[BaseModel], place: Place, detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        if place[-1] == "dsn":
            return _OF_DSN
        known = _known(model, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, 1, 0.6)
        return f"unknown key; did you mean '{near[0]}'?" if near else f"unknown key; there are {', '.join(known)}"
    if kind == "literal_error":
        return f"{detail['input']!r} is not {context['expected']}"
    if kind == "value_error":
        return str(context["error"])
    if kind in _KINDS:
        given = "" if kind == "missing" else f", not {detail['input']!r}"
        return _KINDS[kind] + (given if len(given) < 80 else "")
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}"


def _known(model: type[BaseModel], place: Place) -> list[str]:
    """The keys that a model has at a place."""
    found: Any = model
    for part in place:
        if isinstance(part, int):
            continue
        kind = found.model_fields[part].annotation
        inner = [kind, *getattr(kind, "__args__", ())]
        found = next(each for each in inner if isinstance(each, type) and issubclass(each, BaseModel))
    return list(found.model_fields)
