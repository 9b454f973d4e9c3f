"""Ports for what a test starts."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack

FIRST, LAST = 20_000, 32_000  # between those of Ray's workers and those that the system gives to connections


def free_ports(count: int) -> list[int]:
    """Consecutive ports that are free now, of those that are ours alone when tests run side by side."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    width = (LAST - FIRST) // workers
    start = FIRST + width * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        first = random.randrange(start, start + width - count)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return list(range(first, first + count))


def free_port() -> int:
    """One such."""
    return free_ports(1)[0]
