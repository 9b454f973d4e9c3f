"""ZeroMQ: one XPUB socket per published device.

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
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        topic: str,
        keys: Keys | None = None,
        admitted: Path | None = None,
        queue: int = QUEUE,
    ) -> None:
        self._topic = topic.encode()
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 65535)
        self._sockets: list[zmq.SyncSocket] = []
        self._subscribed: set[int] = set()
        self._gate: ThreadAuthenticator | None = None
        if admitted is not None:
            self._gate = ThreadAuthenticator(self._context)
            self._gate.start()
            self._gate.configure_curve(domain="*", location=admitted)
        try:
            for endpoint in endpoints:
                socket = self._context.socket(zmq.XPUB)
                self._sockets.append(socket)
                socket.set(zmq.SNDHWM, queue)
                socket.set(zmq.LINGER, 1000)
                if keys is not None:
                    socket.set(zmq.CURVE_SERVER, 1)
                    socket.set(zmq.CURVE_PUBLICKEY, keys.public)
                    socket.set(zmq.CURVE_SECRETKEY, keys.secret)
                socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise InputError(f"cannot bind {endpoint}: {error}; choose another address with --bind") from error

    def wait_for_subscribers(self, timeout_s: float) -> bool:
        """Whether every endpoint has had a subscriber; waits for it up to `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while len(self._subscribed) < len(self._sockets):
            for index, socket in enumerate(self._sockets):
                with contextlib.suppress(zmq.Again):
                    while socket.recv(zmq.NOBLOCK)[:1] == b"\x01":
                        self._subscribed.add(index)
            if time.monotonic() >= deadline:
                return len(self._subscribed) == len(self._sockets)
            time.sleep(0.01)
        return True

    @property
    def endpoints(self) -> list[str]:
        """Where it publishes; a port given as * is known now."""
        return [socket.get_string(zmq.LAST_ENDPOINT) for socket in self._sockets]

    def send(self, payload: bytes) -> None:
        """Publish the same payload on every endpoint."""
        frame = self._topic + payload
        for socket in self._sockets:
            socket.send(frame, copy=True)

    def send_to(self, indices: Iterable[int], payload: bytes) -> None:
        """Publish a payload on some of the endpoints."""
        frame = self._topic + payload
        for index in indices:
            _send(self._sockets[index], frame)

    def send_run(self, index: int, payloads: Iterable[bytes]) -> None:
        """Publish many payloads, one after the other, on one endpoint."""
        deque(map(partial(_send, self._sockets[index]), map(self._topic.__add__, payloads)), maxlen=0)

    def close(self) -> None:
        """Close every socket, after up to a second for what is still queued."""
        for socket in self._sockets:
            socket.close()
        if self._gate is not None:
            self._gate.stop()
        self._context.term()
