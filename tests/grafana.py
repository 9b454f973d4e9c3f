"""What Grafana does to a query before a data source sees it: variables, intervals and macros put in their places.

The rules are those of its scenes library and of its Prometheus and PostgreSQL plugins, in our own words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "grafana"
DASHBOARDS = tuple(sorted((FOLDER / "dashboards").glob("*.json")))
PROMETHEUS, DATABASE = "${DS_PROMETHEUS}", "${DS_TIMESCALE}"
BUILT_IN = frozenset({"__url_time_range", "__value", "__field", "__data", "__interval", "__interval_ms", "__range",
                      "__rate_interval"})  # fmt: skip
_REFERENCE = re.compile(r"\$(\w+)|\$\{(\w+)(?:\.[^:}]+)?(?::(\w+))?\}")
_MACRO = re.compile(r"\$(__\w+)\(([^)]*)\)")


def load(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel but rows."""
    for panel in board["panels"]:
        yield from panel.get("panels", ())
        if panel["type"] != "row":
            yield panel


def annotations(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of our own."""
    return [annotation for annotation in board["annotations"]["list"] if not annotation.get("builtIn")]


def references(text: str) -> set[str]:
    """The names of the variables in a text, macros left out."""
    names = {plain or braced for plain, braced, _ in _REFERENCE.findall(_MACRO.sub("", text))}
    return {name for name in names if not name.isdigit()}  # $1 is a group of a regular expression


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable with what is chosen. `raw` is All with a value of its own, which is not formatted."""

    value: str | list[str]
    text: str = ""
    multi: bool = False
    raw: bool = False


def interpolate(text: str, variables: Mapping[str, Variable], default: Callable[[Variable], str]) -> str:
    """Put the values of variables in; what is no variable stays for the macros."""

    def value(match: re.Match[str]) -> str:
        name, form = match[1] or match[2], match[3]
        if name not in variables:
            return match[0]
        variable = variables[name]
        if variable.raw and form != "text":
            return str(variable.value)
        if form is None:
            return default(variable)
        return _FORMATS[form](variable)

    return _REFERENCE.sub(value, text)


def _values(variable: Variable) -> list[str]:
    return variable.value if isinstance(variable.value, list) else [variable.value]


def _quoted(variable: Variable) -> str:
    return ",".join("'" + value.replace("'", "''") + "'" for value in _values(variable))


_FORMATS: dict[str, Callable[[Variable], str]] = {
    "sqlstring": _quoted,
    "text": lambda variable: variable.text or ", ".join(_values(variable)),
    "raw": lambda variable: ",".join(_values(variable)),
}


def in_promql(variable: Variable) -> str:
    """A regular expression within quotes, where several may be chosen; else the value."""
    if not variable.multi:
        return str(variable.value).replace("\\", "\\\\").replace("'", "\\\\'")
    escaped = [
        re.sub(r"[$^*{}\[\]+?.()|]", r"\\\\\g<0>", value.replace("\\", "\\\\\\\\")) for value in _values(variable)
    ]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def in_sql(variable: Variable) -> str:
    """Quoted values, where several may be chosen; else the value within quotes that the query brings."""
    return _quoted(variable) if variable.multi else str(variable.value).replace("'", "''")


def promql(
    expression: str, variables: Mapping[str, Variable], *, step_s: int = 1, scrape_s: int = 1, range_s: int = 60
) -> str:
    """The expression as Prometheus gets it."""
    built_in = {
        "__interval": f"{step_s}s",
        "__rate_interval": f"{max(step_s + scrape_s, 4 * scrape_s)}s",
        "__range": f"{range_s}s",
    }
    return interpolate(expression, variables | {key: Variable(value) for key, value in built_in.items()}, in_promql)


def sql(
    statement: str, variables: Mapping[str, Variable], since: datetime, until: datetime, interval_ms: int = 1000
) -> str:
    """The statement as PostgreSQL gets it.

    Raises:
        KeyError: a macro that is not known here.
    """
    built_in = {"__interval_ms": Variable(str(interval_ms)), "__interval": Variable(_duration(interval_ms))}
    text = interpolate(statement, variables | built_in, in_sql)
    span = {"__timeFrom": _literal(since), "__timeTo": _literal(until)}

    def expand(match: re.Match[str]) -> str:
        name, arguments = match[1], match[2].strip()
        if name == "__timeFilter":
            return f"{arguments} BETWEEN {span['__timeFrom']} AND {span['__timeTo']}"
        return span[name]

    return _MACRO.sub(expand, text)


def _literal(moment: datetime) -> str:
    return f"'{moment.astimezone(UTC).isoformat()}'"


def _duration(milliseconds: int) -> str:
    for size, unit in ((3_600_000, "h"), (60_000, "m"), (1000, "s")):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def resolve(
    board: Mapping[str, Any], ask: Callable[[str, str], Sequence[str]], *, every: bool = True
) -> dict[str, Variable]:
    """What is chosen when a dashboard opens, or, with `every` off, the first option of each variable.

    Args:
        ask: the options that a query gives, by the uid of its data source; the query is interpolated already.
    """
    chosen: dict[str, Variable] = {}
    for variable in board["templating"]["list"]:
        name, multi = variable["name"], variable["multi"]
        if variable["type"] == "datasource":
            continue
        if variable["type"] == "custom":
            chosen[name] = Variable(variable["current"]["value"], variable["current"]["text"])
            continue
        source = variable["datasource"]["uid"]
        query = variable["query"] if source == DATABASE else variable["query"]["query"]
        if not (every and multi and "allValue" in variable):
            options = ask(source, interpolate(query, chosen, in_sql if source == DATABASE else in_promql))
        if every and multi:
            all_value = variable.get("allValue")
            chosen[name] = (
                Variable(all_value, multi=True, raw=True) if all_value else Variable(list(options), multi=True)
            )
        elif options:
            chosen[name] = Variable([options[0]] if multi else options[0], multi=multi)
        else:  # nothing to choose, for example no feed is configured: All stays
            chosen[name] = Variable(variable.get("allValue", ""), multi=multi, raw=True)
    return chosen
