"""What a metric family is.

Must not know: which there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family. A counter's `name` ends with `_total`."""

    name: str
    kind: Literal["gauge", "counter"]
    unit: str
    labels: tuple[str, ...]
    meaning: str


def gauge(name: str, unit: str, labels: tuple[str, ...], meaning: str) -> Family:
    """A value that goes up and down."""
    return Family(name, "gauge", unit, labels, meaning)


def counter(name: str, unit: str, labels: tuple[str, ...], meaning: str) -> Family:
    """A value that only grows; `name` without `_total`."""
    return Family(f"{name}_total", "counter", unit, labels, meaning)
