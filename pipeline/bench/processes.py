"""What the processes of a pipeline cost: CPU seconds and memory, by kind.

Must not know: what they do.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import psutil
import psycopg

GENERATOR: Final = "generator"
DATABASE: Final = "database"
BENCHMARK: Final = "benchmark"  # this process, Ray's driver
_ACTOR: Final = re.compile(r"ray::(\w+Actor)")


@dataclass(frozen=True, slots=True)
class Usage:
    """At one moment: CPU seconds since the start of each kind's processes, their private memory, their number."""

    cpu_s: Mapping[str, float]
    memory_bytes: Mapping[str, int]
    processes: Mapping[str, int]


def usage(others: Mapping[str, int]) -> Usage:
    """Of the descendants of this process, by actor class or "Ray", and of the trees below `others` (name to pid)."""
    cpu_s: defaultdict[str, float] = defaultdict(float)
    memory: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for kind, process in _kinds(others):
        with contextlib.suppress(psutil.Error), process.oneshot():
            times = process.cpu_times()
            cpu_s[kind] += times.user + times.system
            if kind in others:  # a database's processes come and go
                cpu_s[kind] += times.children_user + times.children_system
            memory[kind] += process.memory_full_info().uss
            count[kind] += 1
    return Usage(dict(cpu_s), dict(memory), dict(count))


def database(dsn: str) -> dict[str, int]:
    """The server's first process, if it runs on this machine."""
    with psycopg.connect(dsn) as connection:
        backend = connection.info.backend_pid
        try:
            process = psutil.Process(backend)
            if process.name().startswith("postgres") and (parent := process.parent()):
                return {DATABASE: parent.pid}
        except psutil.Error:
            pass
    return {}


def _kinds(others: Mapping[str, int]) -> Iterator[tuple[str, psutil.Process]]:
    known: set[int] = set()
    for name, pid in others.items():
        for process in _tree(pid):
            known.add(process.pid)
            yield name, process
    for process in _tree(os.getpid()):
        if process.pid not in known:
            yield _kind(process), process


def _tree(pid: int) -> Iterable[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def _kind(process: psutil.Process) -> str:
    if process.pid == os.getpid():
        return BENCHMARK
    with contextlib.suppress(psutil.Error):
        actor = _ACTOR.match(" ".join(process.cmdline()))
        if actor:
            return actor[1]
    return "Ray"
