"""Names by the hundred: ranges, and templates that are filled in from them.

A range is written `1..40` or `01..40`; a template `r{rack:02}-pdu{n}`, with an offset where numbers are shifted:
`tcp://10.0.0.1:{index+20000}`. In a list of names a range stands in the name itself: `r{01..40}`.

Must not know: what is named.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.core.errors import InputError

MOST: Final = 50_000  # names of one pattern: a slip of the keyboard must not fill the memory
_RANGE: Final = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_PLACE: Final = re.compile(r"([A-Za-z_]\w*)([+-]\d{1,9})?(?::(0\d{1,2}))?")

Value = str | int


def expand_range(text: str) -> list[int]:
    """`1..40` as its numbers, both ends included.

    Raises:
        InputError: not a range, one that goes back, or one of more than `MOST`.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        raise InputError(f"'{text}' is not a range: write for example 1..40")
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise InputError(f"the range {text} goes back: write {last}..{first}")
    if last - first >= MOST:
        raise InputError(f"the range {text} has more than {MOST:,} numbers")
    return list(range(first, last + 1))


def expand_name(text: str) -> list[str]:
    """A name with ranges in braces as all names that it stands for; numbers are as wide as the range is written."""
    parts: list[list[str]] = []
    end = 0
    for match in _FIELD.finditer(text):
        width = len(match[1].partition("..")[0])
        numbers = [f"{number:0{width}}" for number in expand_range(match[1])]
        parts += [[text[end : match.start()]], numbers]
        end = match.end()
    parts.append([text[end:]])
    if len(parts) > 1 and _size([len(part) for part in parts]) > MOST:
        raise InputError(f"'{text}' stands for more than {MOST:,} names")
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def combinations(each: Mapping[str, str | Sequence[Value]]) -> list[dict[str, Value]]:
    """All combinations of the values, the last name running fastest; `index` counts them from 0.

    Args:
        each: by name, a range or a list of values. Empty: one combination.
    """
    values = [expand_range(value) if isinstance(value, str) else list(value) for value in each.values()]
    if _size([len(value) for value in values]) > MOST:
        raise InputError(f"the pattern stands for more than {MOST:,} devices")
    return [
        {**dict(zip(each, chosen, strict=True)), "index": index}
        for index, chosen in enumerate(itertools.product(*values))
    ]


def fill(template: str, values: Mapping[str, Value]) -> str:
    """The template with its fields replaced.

    Raises:
        InputError: a field has no value, or is written in a way that has no meaning.
    """

    def replaced(match: re.Match[str]) -> str:
        place = _PLACE.fullmatch(match[1])
        if place is None:
            raise InputError(
                f"'{{{match[1]}}}' in '{template}' is no field: write {{rack}}, {{rack:02}} or {{rack+100}}"
            )
        name, offset, width = place.groups()
        if name not in values:
            known = ", ".join(values)
            raise InputError(f"'{template}' names {{{name}}}, which has no values: 'each' has {known}")
        value = values[name]
        if isinstance(value, str):
            if offset or width:
                raise InputError(f"{{{match[1]}}} in '{template}' is for numbers, and {name} is '{value}'")
            return value
        return f"{value + int(offset or 0):{width or ''}}"

    return _FIELD.sub(replaced, template)


def _size(lengths: Sequence[int]) -> int:
    size = 1
    for length in lengths:
        size *= length
    return size
