"""Recordings: CSV files of per-cycle figures, found by name, read into columns, checked, written.

The format is the original system's: one row per time, stream and phase; rows of one time form one frame. Ours are
gzip files whose header carries the comment `SIMULATED`, so that a file made here says so wherever it is taken.

Must not know: replay, wire.
"""

from __future__ import annotations

import contextlib
import difflib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from pipeline.core.errors import InputError
from pipeline.core.frames import frame_rate_hz, group
from pipeline.core.model import value_columns
from pipeline.core.recording_rules import (
    COLUMNS,
    ERROR,
    PHASES,
    STREAM_PREFIX,
    WARNING,
    Finding,
    Rows,
    check_header,
    tidy,
)

SUFFIXES: Final = (".csv", ".csv.gz")  # in order of preference: what a user dropped in comes before ours
FINDINGS_LIMIT: Final = 20
LARGEST: Final = 1 << 30  # bytes of text, most of a day at 60 Hz: it is read at once, into several times as much memory
SIMULATED: Final = b"simulated by karman recordings simulate, not measured"
_GZIP: Final = b"\x1f\x8b"
# Deflate, a comment, no time, best compression, unknown system: the same data gives the same bytes.
_GZIP_HEADER: Final = _GZIP + b"\x08\x10\x00\x00\x00\x00\x02\xff" + SIMULATED + b"\x00"
_DIGITS: Final = 7  # significant ones; 32-bit floats hold between 6 and 9


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording, in memory.

    `cycles` and `time_ms` are as `core.frames.group` gives them: a row per frame and stream, and each frame's time in
    milliseconds since the epoch.
    """

    name: str
    path: Path
    simulated: bool
    rate_hz: float  # from the usual spacing of frames, see `frames.frame_rate_hz`; NaN when there are fewer than two
    time_ms: pa.Array
    cycles: pa.RecordBatch

    @property
    def frame_count(self) -> int:
        """How many frames: distinct times."""
        return len(self.time_ms)


def datasets_folder() -> Path:
    """The folder of the recordings that come with the project."""
    package = Path(__file__).parents[1]
    # A wheel holds them inside the package. Asked first: beside an installed one may lie somebody else's `datasets`.
    inside = package / "datasets"
    return inside if inside.is_dir() else package.parent / "datasets"


def available(folder: Path | None = None) -> list[Path]:
    """The recordings of a folder by name; by default of `datasets_folder()`. Of one name, a plain CSV hides ours."""
    folder = folder or datasets_folder()
    found: dict[str, Path] = {}
    for suffix in reversed(SUFFIXES):
        found |= {recording_name(path): path for path in folder.glob(f"*{suffix}")}
    return [found[name] for name in sorted(found)]


def recording_name(path: Path) -> str:
    """A file's name without its suffixes."""
    return path.name.removesuffix(".gz").removesuffix(".csv")


def resolve(name: str, folder: Path | None = None) -> Path:
    """The file that a user means: a path, or a name, in full or its first word, with or without suffix.

    Raises:
        InputError: there is no such file; says which recordings there are.
    """
    path = Path(name)
    with contextlib.suppress(RuntimeError):  # there is nobody of that name
        path = path.expanduser()
    if path.is_file():
        return path
    if path.name != name:
        raise InputError(f"no recording at {name}")
    wanted = recording_name(path)
    paths = {recording_name(candidate): candidate for candidate in available(folder)}
    for known, candidate in paths.items():
        if wanted in (known, known.split("-")[0]):
            return candidate
    close = difflib.get_close_matches(wanted, [*paths, *(known.split("-")[0] for known in paths)], 1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(paths) or 'none'}, or give a path"
    raise InputError(f"no recording named {name!r}: {hint}")


def load(name: str) -> Recording:
    """Resolve and read.

    Raises:
        InputError: no such recording, or one that cannot be read.
    """
    return read(resolve(name))


def check(path: Path) -> list[Finding]:
    """Everything that is wrong with a file, by line; at most `FINDINGS_LIMIT` findings, errors before warnings.

    Raises:
        InputError: the file cannot be opened.
    """
    _, findings, _ = _parse(path)
    errors_first = sorted(findings, key=lambda finding: (finding.severity != ERROR, finding.rank))
    return sorted(errors_first[:FINDINGS_LIMIT], key=lambda finding: finding.rank)


def read(path: Path) -> Recording:
    """Read a recording.

    Raises:
        InputError: the file cannot be opened, or with the first error in it.
    """
    rows, findings, simulated = _parse(path)
    errors = sorted((finding for finding in findings if finding.severity == ERROR), key=lambda finding: finding.rank)
    if errors or rows is None:
        raise InputError(f"{path}: {errors[0]}")
    time_ms, cycles = group(rows)
    return Recording(recording_name(path), path, simulated, frame_rate_hz(time_ms), time_ms, cycles)


def write(path: Path, frames: pa.Table) -> None:
    """Write simulated frames, `simulation.scenarios.SCHEMA`, as gzip CSV, byte for byte the same each time.

    Raises:
        InputError: the suffix is not .csv.gz (a plain CSV could not say that it is simulated), or writing failed.
    """
    if not path.name.endswith(".csv.gz"):
        raise InputError(f"{path}: a simulated recording is a .csv.gz file, whose header says that it is simulated")
    columns = [
        frames["time_ms"].to_pylist(),
        [name.removeprefix(STREAM_PREFIX) for name in frames["stream"].to_pylist()],
    ]
    values = [
        ["" if np.isnan(number) else f"{number + 0.0:.{_DIGITS}g}" for number in frames[column].to_pylist()]
        for column in value_columns("a")
    ]
    rows = zip(*columns, [PHASES[0]] * len(frames), *values, frames["sequence"].to_pylist(), strict=True)
    text = "\n".join([",".join(COLUMNS), *(",".join(map(str, row)) for row in rows), ""]).encode()
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    trailer = zlib.crc32(text).to_bytes(4, "little") + (len(text) % 2**32).to_bytes(4, "little")
    try:
        path.write_bytes(_GZIP_HEADER + squeeze.compress(text) + squeeze.flush() + trailer)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def _parse(path: Path) -> tuple[Rows | None, list[Finding], bool]:
    """(rows, findings, simulated). Rows are None when the file as a whole cannot be understood."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    simulated = raw.startswith(_GZIP_HEADER)
    text, findings = _expand(raw)
    if len(text) > LARGEST:
        raise InputError(f"{path} holds more than {LARGEST >> 20} MiB of text: split it into several recordings")
    try:
        text.decode()
    except UnicodeDecodeError as error:
        message = f"not UTF-8: byte {text[error.start]:#04x}"
        return None, [*findings, Finding(text.count(b"\n", 0, error.start) + 1, "", message)], simulated
    header, _, body = text.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    names = [name.strip().strip('"') for name in header.decode().split(",")]
    if not header.strip():
        return None, [*findings, Finding(1, "", f"empty; the first line must be {','.join(COLUMNS)}")], simulated
    if b"\r" in header.rstrip(b"\r"):
        names = [header.decode()]
    findings += check_header(names)
    if any(finding.severity == ERROR for finding in findings):
        return None, findings, simulated
    if not body.strip():
        return None, [*findings, Finding(2, "", "no rows after the header")], simulated
    if not body.endswith(b"\n"):
        last = body.count(b"\n") + 2
        message = "the file does not end with a line break: its last value may be cut off"
        findings.append(Finding(last, "", message, WARNING))
    columns, lines, ragged = _split(body, names)
    findings += ragged
    if not len(lines):
        return None, findings or [Finding(2, "", "no rows after the header")], simulated
    rows = Rows(columns, lines)
    return rows, findings + rows.findings, simulated


def _expand(raw: bytes) -> tuple[bytes, list[Finding]]:
    """The text of a file, gzip or not: its first bytes tell, not its name. What is cut off is a finding.

    Of a text that is too large only its beginning.
    """
    if not raw.startswith(_GZIP):
        return raw, []
    parts: list[bytes] = []
    message, room = "", LARGEST + 1
    while raw and not message and room > 0:
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            parts.append(member.decompress(raw, room))
            room -= len(parts[-1])
            cut_off = not member.eof and room > 0
            message = "the gzip data ends here, before its end mark: the file is cut off" if cut_off else ""
        except zlib.error as error:
            message = f"damaged gzip data: {error}"
        raw = member.unused_data.lstrip(b"\x00")  # members may follow each other, and padding the last
    text = b"".join(parts)
    return text, [Finding(text.count(b"\n") + 1, "", message)] if message else []


def _split(body: bytes, names: list[str]) -> tuple[dict[str, pa.Array], np.ndarray, list[Finding]]:
    """(columns as tidied text, line number of every row, findings on lines of another length)."""
    skipped: list[int] = []
    ragged: list[Finding] = []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        skipped.append(row.number + 1)
        if row.text.strip():
            message = f"{row.actual_columns} cells; the header has {row.expected_columns}"
            ragged.append(Finding(row.number + 1, "", message))
        return "skip"

    try:
        parsed = pyarrow.csv.read_csv(
            pa.BufferReader(body),
            # One thread: only then the rows that are skipped know their number.
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(body) + 1),
            parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=skip, ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[name for name in names if name in COLUMNS],
            ),
        )
    except pa.ArrowInvalid as error:
        return {}, np.empty(0, np.int64), [Finding(2, "", f"not CSV: {error}".splitlines()[0])]
    numbers = np.arange(2, parsed.num_rows + len(skipped) + 2)
    lines = np.setdiff1d(numbers, skipped, assume_unique=True)
    columns = {name: tidy(parsed[name].combine_chunks()) for name in parsed.column_names}
    blank = np.all([column.is_null().to_numpy(zero_copy_only=False) for column in columns.values()], axis=0)
    kept = pa.array(np.flatnonzero(~blank))
    return {name: column.take(kept) for name, column in columns.items()}, lines[~blank], ragged
