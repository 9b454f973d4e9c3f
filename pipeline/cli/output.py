"""What commands that run for long print to: a terminal, a pipe or a file, which may be lost or full meanwhile.

Then what is said is lost, and nothing else: the pipeline goes on, and ends in order.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO

from rich.console import Console


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
