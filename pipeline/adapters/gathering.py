"""Lets TCP connections be read several messages at a time: one system call for them instead of one for each.

ZeroMQ reads whenever the system tells it to. The system tells of a connection once so many bytes have arrived as we ask
for (SO_RCVLOWAT), or when the other side closes it; and of what is there at once when we ask for less again.

Must not know: ZeroMQ, what a message holds.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

LARGEST: Final = 4096  # bytes; ZeroMQ reads 8 KiB at a time, so it takes all that was gathered
LEAST: Final = 2.0  # messages in a rest; a connection on which less comes is read message by message
QUIET_S: Final = 0.5  # a connection on which so long nothing came gathers no more


class Gathering:
    """The connections of many devices, each under a key of its owner.

    Args:
        rest_s: a connection gathers what comes in so long, by the rate at which it came before.
    """

    def __init__(self, rest_s: float) -> None:
        self._rest_s = rest_s
        self._connections: dict[int, _Connection] = {}
        self._heard_s: dict[int, float] = {}  # of those that gather, longest ago first
        self._reviewed_s = time.monotonic()
        self._ended = False

    def opened(self, key: int, endpoint: str, descriptor: int) -> None:
        """A connection to an endpoint stands, under somebody else's descriptor."""
        if endpoint.startswith("tcp:"):
            self._connections[key] = _Connection(descriptor, int(endpoint.rpartition(":")[2]))

    def closed(self, key: int) -> None:
        """It stands no more; its descriptor may soon be another's."""
        self._connections.pop(key, None)
        self._heard_s.pop(key, None)

    def heard(self, key: int, messages: int, size: int, now_s: float) -> None:
        """So many messages came in, the last one of so many bytes."""
        connection = self._connections.get(key)
        if connection is not None:
            connection.messages += messages
            connection.size = size
            if self._heard_s.pop(key, None) is not None:
                self._heard_s[key] = now_s

    def review(self, now_s: float) -> None:
        """Let those gather on which enough has come since the last review, and no others.

        To be called about once a second.
        """
        rests = max(now_s - self._reviewed_s, 0.1) / self._rest_s if self._rest_s else float("inf")
        self._reviewed_s = now_s
        for key, connection in self._connections.items():
            messages, connection.messages = connection.messages / rests, 0
            gathers = messages >= LEAST and not self._ended
            size = min(LARGEST, int(messages * connection.size)) if gathers else 1
            if not size / 2 <= connection.gathers <= 2 * size:
                connection.gather(size)
                self._heard_s.pop(key, None)
                if gathers:
                    self._heard_s[key] = now_s

    def let_go(self, now_s: float, busy: Container[int]) -> None:
        """What came on those that are quiet now comes in; `busy`: those whose messages have not been taken yet."""
        quiet = []
        for key, heard_s in self._heard_s.items():
            if now_s - heard_s < QUIET_S:
                break
            if key not in busy:
                quiet.append(key)
        for key in quiet:
            del self._heard_s[key]
            self._connections[key].gather(1)

    def hurry(self) -> None:
        """All that came comes in now, however little it is; until the next review."""
        for key in self._heard_s:
            self._connections[key].gather(1)
        self._heard_s.clear()

    def end(self) -> None:
        """Gather no more."""
        self._ended = True
        self.hurry()


@dataclass(slots=True)
class _Connection:
    descriptor: int
    port: int
    gathers: int = 1  # bytes, before it is read
    messages: int = 0  # since the last review
    size: int = 0  # of the last one

    def gather(self, size: int) -> None:
        self.gathers = size
        with contextlib.suppress(OSError):  # its owner has closed it, and did not tell yet
            duplicate = os.dup(self.descriptor)
            try:
                connection = socket.socket(fileno=duplicate)
            except OSError:
                os.close(duplicate)
                return
            with connection:
                is_tcp = connection.family in (socket.AF_INET, socket.AF_INET6)
                if is_tcp and connection.getpeername()[1] == self.port:  # else another library has its number now
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
