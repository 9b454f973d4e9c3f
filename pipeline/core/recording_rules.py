"""What a recording's rows must satisfy, checked a column at a time on their text: findings with line and column.

An *error* is what cannot be turned into frames without guessing. A *warning* is what can be played but cannot be right,
such as |P| > S: another meter's rounding or definition must not stop its recordings from playing.

Must not know: files, compression, how text became columns.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.model import QUANTITIES

TIME, STREAM, PHASE, SEQUENCE = "time", "stream_name", "phase", "sequence_number"
VALUES: Final = tuple(quantity.name for quantity in QUANTITIES)
COLUMNS: Final = (TIME, STREAM, PHASE, *VALUES, SEQUENCE)
STREAM_NAMES: Final = ("karman1", "karman2", "karman3")
STREAM_PREFIX: Final = "threephase/"  # of the wire; recordings leave it out
PHASES: Final = ("phase_a", "phase_b")
ERROR, WARNING = "error", "warning"

FINDINGS_PER_RULE: Final = 4
_SEPARATORS: Final = {"\r": "lines end in carriage returns", ";": "separated by ';'", "\t": "separated by tabs"}
_WHOLE: Final = r"^-?[0-9]{1,18}(\.0*)?$"
_NUMBER: Final = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_UNKNOWN: Final = pa.array(["", "nan", "null", "none", "na", "n/a"])
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_POWER_TOLERANCE: Final = (0.01, 1.0)  # of S, and VA: meters round each figure on its own
_FACTOR_TOLERANCE: Final = 1e-3
_SPACING_MS: Final = (2.0, 500.0)  # beyond it a time column is suspected of another unit; a few lost frames are not

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong. `line` counts from 1, the header's; `column` is its name, or empty for the whole line."""

    line: int
    column: str
    message: str
    severity: str = ERROR

    @property
    def rank(self) -> tuple[int, bool, str]:
        """By line, and on each the errors first."""
        return self.line, self.severity != ERROR, self.column

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}" if self.column else f"line {self.line}"
        return f"{where}: {self.message}"


def check_header(names: Sequence[str]) -> list[Finding]:
    """Compare the first line's names with `COLUMNS`. Order does not matter; `sequence_number` may be missing."""
    if len(names) == 1:
        for letter, said in _SEPARATORS.items():
            if letter in names[0]:
                return [Finding(1, "", f"{said}: wanted are commas between cells, and a line feed after each line")]
    findings = []
    unknown = [name for name in names if name not in COLUMNS]
    alike = {name.lower(): name for name in unknown}
    for name in COLUMNS:
        if names.count(name) > 1:
            findings.append(Finding(1, name, "this column stands in the header more than once"))
        elif name not in names and name != SEQUENCE:
            close = difflib.get_close_matches(name, alike, 1, 0.7)
            meant = f"; is {alike[close[0]]!r} meant for it?" if close else f"; wanted are {', '.join(COLUMNS)}"
            findings.append(Finding(1, name, f"this column is missing{meant}"))
    findings += [Finding(1, name, "unknown column, ignored", WARNING) for name in unknown]
    return findings


def tidy(column: pa.Array) -> pa.Array:
    """Text without surrounding space; what says that nothing is known ("", "nan", "null" ...) becomes null."""
    text = pc.utf8_trim_whitespace(column)
    unknown = pc.is_in(pc.utf8_lower(text), value_set=_UNKNOWN)
    return pc.if_else(unknown, pa.scalar(None, pa.string()), text)


class Rows:
    """The rows of one recording as text, and what was found wrong with them.

    Args:
        text: tidied columns by the names of `COLUMNS`, of equal length; `sequence_number` may be missing.
        lines: each row's line number, shape (n,).
    """

    def __init__(self, text: Mapping[str, pa.Array], lines: NDArray[np.int64]) -> None:
        self._lines = lines
        self.findings: list[Finding] = []
        self.time_ms = self._whole(text, TIME, "a time in whole milliseconds since the epoch", optional=False)
        self.stream = self._names(text, STREAM, pc.replace_substring_regex(text[STREAM], f"^{STREAM_PREFIX}", ""))
        self.phase = self._names(text, PHASE, text[PHASE])
        self.values = {name: self._numbers(text, name) for name in VALUES}
        self.sequence = self._whole(text, SEQUENCE, "a whole number, 0 or more", optional=True)
        if not any(finding.severity == ERROR for finding in self.findings):
            self._check_order()
            self._check_physics()

    def _report(
        self, column: str, wrong: Mask, message: str, text: pa.Array | None = None, severity: str = ERROR
    ) -> None:
        where = np.flatnonzero(wrong)
        more = len(where) - FINDINGS_PER_RULE
        note = f" (as on {more} lines more)" if more > 0 else ""
        for row in where[:FINDINGS_PER_RULE].tolist():
            value = "" if text is None else f"{text[row].as_py()!r} is "
            self.findings.append(Finding(int(self._lines[row]), column, f"{value}{message}{note}", severity))
            note = ""

    def _whole(self, text: Mapping[str, pa.Array], name: str, what: str, optional: bool) -> pa.Array:
        """The column as int64. Nulls are an error where it is not optional."""
        column = text.get(name)
        if column is None:
            return pa.nulls(len(self._lines), pa.int64())
        absent = _mask(pc.is_null(column))
        if not optional:
            self._report(name, absent, f"empty; wanted is {what}")
        elif absent.any() and not absent.all():
            self._report(name, absent, "empty on some lines; every frame gets its index instead", severity=WARNING)
        shaped = _mask(pc.fill_null(pc.match_substring_regex(column, _WHOLE), True))
        self._report(name, ~shaped, f"not {what}", column)
        digits = pc.replace_substring_regex(pc.if_else(pa.array(shaped), column, None), r"\..*$", "")
        numbers = pc.cast(digits, pa.int64())
        self._report(name, _mask(pc.fill_null(pc.less(numbers, 0), False)), f"below 0; wanted is {what}", column)
        return numbers

    def _names(self, text: Mapping[str, pa.Array], name: str, found: pa.Array) -> pa.Array:
        allowed = STREAM_NAMES if name == STREAM else PHASES
        known = _mask(pc.is_in(found, value_set=pa.array(allowed)))
        self._report(name, ~known, f"unknown; wanted is one of {', '.join(allowed)}", text[name])
        return found

    def _numbers(self, text: Mapping[str, pa.Array], name: str) -> pa.Array:
        """The column as float32, straight from its decimals: a detour by float64 would round twice."""
        column = text[name]
        shaped = _mask(pc.fill_null(pc.match_substring_regex(column, _NUMBER), True))
        self._report(name, ~shaped, "not a number", column)
        plain = pc.utf8_ltrim(pc.if_else(pa.array(shaped), column, None), characters="+")
        numbers = pc.cast(plain, pa.float32())
        # Zero-copy views hold NaN for null; every comparison with NaN is false.
        view = _view(numbers)
        self._report(name, np.abs(view) > _FLOAT32_MAX, "beyond what 32 bits can hold", column)
        if name.startswith("rms_"):
            self._report(name, view < 0.0, "below 0, which an rms cannot be", column)
        return numbers

    def _check_order(self) -> None:
        time_ms = self.time_ms.to_numpy()
        key = np.stack([time_ms, _codes(self.stream, STREAM_NAMES), _codes(self.phase, PHASES)])
        order = np.lexsort(key[::-1])  # stable: of equal rows the first in the file stays first
        same = np.all(key[:, order[1:]] == key[:, order[:-1]], axis=0)
        repeated = np.zeros(len(time_ms), bool)
        repeated[order[1:][same]] = True
        self._report(TIME, repeated, "a second row of this time, stream and phase")

        # Rows of one frame may stand apart (a file sorted by stream): only a new time can go backwards.
        _, first = np.unique(time_ms, return_index=True)
        first.sort()
        backwards = np.zeros(len(time_ms), bool)
        backwards[first[1:]] = np.diff(time_ms[first]) < 0
        self._report(TIME, backwards, "earlier than the frame before it", severity=WARNING)
        if len(first) > 1:
            spacing_ms = float(np.median(np.diff(np.unique(time_ms))))
            odd = np.zeros(len(time_ms), bool)
            odd[first[1]] = not _SPACING_MS[0] <= spacing_ms <= _SPACING_MS[1]
            message = f"frames are {spacing_ms:g} ms apart, an AC cycle lasts 16 to 20 ms: is the time in milliseconds?"
            self._report(TIME, odd, message, severity=WARNING)

    def _check_physics(self) -> None:
        real, apparent = (np.abs(_view(self.values[name])) for name in ("real_power", "apparent_power"))
        relative, absolute = _POWER_TOLERANCE
        excess = real > apparent * (1.0 + relative) + absolute
        self._report("real_power", excess, "its size exceeds the apparent power", severity=WARNING)
        factor = np.abs(_view(self.values["power_factor"]))
        self._report("power_factor", factor > 1.0 + _FACTOR_TOLERANCE, "outside -1 ... 1", severity=WARNING)


def _mask(flags: pa.Array) -> Mask:
    return np.asarray(flags.to_numpy(zero_copy_only=False), bool)


def _view(numbers: pa.Array) -> NDArray[np.float64]:
    return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)


def _codes(names: pa.Array, known: Sequence[str]) -> NDArray[np.int64]:
    return np.asarray(pc.index_in(names, value_set=pa.array(known)).to_numpy(), np.int64)
