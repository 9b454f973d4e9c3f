"""Settings of the core as pydantic models: a file has the very names, defaults and types of `core/config.py`.

Lengths of time may be written `90s`, `10m`, `2h`, `3d`, sizes `512MiB`, `8GiB`.

Must not know: files.
"""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Annotated, Any, Final, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?) ?([smhd])")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]iB)")


class Strict(BaseModel):
    """Unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _seconds(value: Any) -> Any:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and match is None:
        raise ValueError("write seconds, or a number with s, m, h or d, for example 10m")
    return float(match[1]) * _SECONDS[match[2]] if match else value


def _bytes(value: Any) -> Any:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and match is None:
        raise ValueError("write bytes, or a number with KiB, MiB, GiB or TiB, for example 8GiB")
    return int(float(match[1]) * _BYTES[match[2]]) if match else value


Seconds = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(gt=0, allow_inf_nan=False),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0},
                {"type": "string", "pattern": "^\\d+(\\.\\d+)? ?[smhd]$"},
            ]
        }
    ),
]
Bytes = Annotated[
    int,
    BeforeValidator(_bytes),
    Field(gt=0),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": "^\\d+(\\.\\d+)? ?[KMGT]iB$"},
            ]
        }
    ),
]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


def settings_model(of: type, about: str) -> type[Strict]:
    """A model with the fields of a dataclass of settings, which all have defaults; a field's unit tells how it may be
    written."""
    hints = get_type_hints(of)
    definitions: dict[str, Any] = {}
    for field in fields(of):
        kind: Any = hints[field.name]
        default: Any = field.default
        if field.name.endswith("_s"):
            kind = Seconds | None if kind == float | None else Seconds
        elif field.name.endswith("_bytes"):
            kind = Bytes
        elif kind is int:
            kind = Count
        elif kind == tuple[str, ...]:
            kind, default = list[str], list(default)
        definitions[field.name] = (kind, default)
    return create_model(of.__name__, __base__=Strict, __doc__=about, **definitions)


def settings(of: type, given: BaseModel) -> Any:
    """The dataclass again."""
    values = given.model_dump()
    return of(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
