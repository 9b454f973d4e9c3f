"""ZeroMQ: XPUB sockets that publish devices, each device on an endpoint of its own.

Sockets belong to the thread that created them: make and use a `Publisher` in one thread.

Must not know: what a payload holds.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import zmq
from zmq.auth.thread import ThreadAuthenticator

from pipeline.adapters.curve import Keys
from pipeline.adapters.link import QUEUE
from pipeline.core.errors import InputError

_send: Final = zmq.backend.Socket.send  # pyzmq's own layer over it serves routing, and takes a quarter of a sending


class Publisher:
    """Publishes on one or more endpoints, each a device of its own. XPUB, so that subscribers are seen to arrive.

    A subscriber that does not keep up loses messages beyond its queue, as with any PUB socket; it can tell by the
    sequence numbers.

    Args:
        keys: its own, where it encrypts; then whoever knows the public one may subscribe.
        admitted: a folder with the public keys of those who may, and nobody else.
        queue: messages that wait for a subscriber.
        sockets: to which the endpoints are dealt out in turn; what is sent on one comes from all of its endpoints, and
            costs less than to send it on a socket for each, which is what is made where none are given.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        topic: str,
        keys: Keys | None = None,
        admitted: Path | None = None,
        queue: int = QUEUE,
        sockets: int | None = None,
    ) -> None:
        self._topic = topic.encode()
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 65535)
        self._sockets: list[zmq.SyncSocket] = []
        self.endpoints: list[str] = []  # a port given as * is known
        self._gate: ThreadAuthenticator | None = None
        if admitted is not None:
            self._gate = ThreadAuthenticator(self._context)
            self._gate.start()
            self._gate.configure_curve(domain="*", location=admitted)
        sockets = sockets or len(endpoints)
        try:
            for place, endpoint in enumerate(endpoints):
                if place < sockets:
                    self._sockets.append(self._opened(queue, keys))
                socket = self._sockets[place % sockets]
                socket.set(zmq.IPV6, "[" in endpoint)
                socket.bind(endpoint)
                self.endpoints.append(socket.get_string(zmq.LAST_ENDPOINT))
        except zmq.ZMQError as error:
            self.close()
            raise InputError(f"cannot bind {endpoint}: {error}; choose another address with --bind") from error
        self._awaited = [len(self.endpoints[place::sockets]) for place in range(sockets)]  # subscribers of each socket

    def _opened(self, queue: int, keys: Keys | None) -> zmq.SyncSocket:
        socket = self._context.socket(zmq.XPUB)
        socket.set(zmq.SNDHWM, queue)
        socket.set(zmq.LINGER, 1000)
        socket.set(zmq.XPUB_VERBOSE, 1)  # else it tells of the first subscriber only
        if keys is not None:
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.CURVE_PUBLICKEY, keys.public)
            socket.set(zmq.CURVE_SECRETKEY, keys.secret)
        return socket

    def wait_for_subscribers(self, timeout_s: float) -> bool:
        """Whether every socket has had as many subscribers as it has endpoints; waits for it up to `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while any(awaited > 0 for awaited in self._awaited):
            for place, socket in enumerate(self._sockets):
                with contextlib.suppress(zmq.Again):
                    while socket.recv(zmq.NOBLOCK)[:1] == b"\x01":
                        self._awaited[place] -= 1
            if time.monotonic() >= deadline:
                return all(awaited <= 0 for awaited in self._awaited)
            time.sleep(0.01)
        return True

    def send(self, payload: bytes) -> None:
        """Publish the same payload on every endpoint."""
        frame = self._topic + payload
        for socket in self._sockets:
            socket.send(frame, copy=True)

    def send_run(self, place: int, payloads: Iterable[bytes]) -> None:
        """Publish payloads, one after the other, on one of the sockets."""
        deque(map(partial(_send, self._sockets[place]), map(self._topic.__add__, payloads)), maxlen=0)

    def close(self) -> None:
        """Close every socket, after up to a second for what is still queued."""
        for socket in self._sockets:
            socket.close()
        if self._gate is not None:
            self._gate.stop()
        self._context.term()
