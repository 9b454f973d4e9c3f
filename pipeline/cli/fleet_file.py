"""A fleet file that may change while a pipeline runs by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.adapters.configuration import Loaded
from pipeline.core.config import PipelineConfig

_Look = tuple[tuple[str, int, int, int] | None, ...]


class FleetFile:
    """Says when the file, or one that it includes, has changed.

    Args:
        load: reads it; raises InputError where it is wrong.
    """

    def __init__(self, load: Callable[[], Loaded]) -> None:
        self._load = load
        loaded = load()
        self.first = loaded.config
        self._files = loaded.files
        self._read_at = self._last = self._look()

    def changed(self) -> bool:
        """Whether it is another one than was read last, and is not being written at this moment."""
        before, self._last = self._last, self._look()
        return before == self._last != self._read_at

    def read(self) -> PipelineConfig:
        """The configuration as it is now.

        Raises:
            InputError: something is wrong in the file.
        """
        self._read_at = self._last = self._look()
        loaded = self._load()
        self._files = loaded.files
        self._read_at = self._last = self._look()
        return loaded.config

    def _look(self) -> _Look:
        # With the folders of included files: a new one may match their pattern.
        folders = {path.parent for path in self._files[1:]}
        return tuple(map(_stat, sorted({*self._files, *folders})))


def _stat(path: Path) -> tuple[str, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return str(path), found.st_mtime_ns, found.st_size, found.st_ino
