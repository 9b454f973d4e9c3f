"""What commands that run for long print to: a terminal, a pipe or a file, which may be lost or full meanwhile.

Then what is said is lost, and nothing else: the pipeline goes on, and ends in order.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer
from rich.console import Console

from pipeline.adapters.recordings import Recording
from pipeline.core.errors import InputError

RATE_TOLERANCE: Final = 0.02  # times are written in milliseconds


class _Patient:
    """A stream whose failures disturb nobody."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:  # for good: else Python itself fails with what it still holds when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        except OSError:
            pass  # a disk may have room again

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def patient_console() -> Console:
    """A console on standard output."""
    return Console(file=_Patient(sys.stdout), highlight=False)  # type: ignore[arg-type]  # all of it that is used


def new_file(path: Path | None) -> Path | None:
    """A file that an option names, if it can be written: what takes long is not to end without it.

    Raises:
        InputError: it cannot.
    """
    if path is None:
        return None
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise InputError(f"{path} cannot be written: is there such a folder, and may you write there?")
    return path


Output = Annotated[Path | None, typer.Option(callback=new_file, help="Write the figures to this file as JSON.")]


def say_rate(console: Console, recording: Recording, rate_hz: float) -> None:
    """Say it where a recording is played at another rate than it was made at: all energies differ by it."""
    if abs(rate_hz / recording.rate_hz - 1) > RATE_TOLERANCE:
        said = f"recorded at {recording.rate_hz:.2f} frames a second, played at {rate_hz:g}"
        console.print(f"{said}: give --rate {recording.rate_hz:.0f}?", style="yellow")
