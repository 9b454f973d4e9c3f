"""ZeroMQ: one SUB socket per device, one XPUB socket per published device. The only importer of pyzmq.

Sockets belong to the thread that created them: make and use a `Subscriber` or `Publisher` in one thread.

Must not know: what a payload holds.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from pipeline.core.errors import InputError

RECEIVE_QUEUE: Final = 4096  # messages a device: more than a minute at 60 Hz, 2 MB at most; beyond it ZeroMQ drops
SEND_QUEUE: Final = 4096  # messages a subscriber that does not keep up
LARGEST_MESSAGE: Final = 1 << 20  # bytes; a cycle is 500, a spectrum a few thousand
POLLED_SOCKETS: Final = 16  # up to here each arrival wakes the loop; above, all sockets are drained each tick
TICK_S: Final = 0.01
_ENDPOINT: Final = re.compile(r"(tcp://([^:/\s]+|\[[0-9a-fA-F:]+\]):(\d{1,5})|ipc://.+)")

# No ZMTP heartbeats: a device whose ZeroMQ does not answer them would be disconnected for ever. TCP's keep-alive does.
_KEEP_ALIVE: Final = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 10,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
}


def check_endpoint(endpoint: str) -> str:
    """The endpoint, if it is one.

    Raises:
        InputError: not of the form tcp://HOST:PORT or ipc://PATH.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or (match[3] is not None and not 0 < int(match[3]) < 65536):
        raise InputError(f"'{endpoint}' is not an endpoint: write tcp://HOST:PORT, for example tcp://10.0.0.7:5557")
    return endpoint


@dataclass(slots=True)
class LinkState:
    """What is known of one device's connection."""

    endpoint: str
    topic: bytes
    connected: bool = False
    connections: int = 0  # successful connects; more than one means reconnects
    last_error: str = ""
    messages: int = 0
    silent_since_s: float = field(default_factory=time.monotonic)


class Subscriber:
    """Receives the messages of many devices. A SUB socket cannot say which endpoint spoke, so each has its own.

    Args:
        endpoints: (endpoint, topic) by device name; the order gives the device indices.
    """

    def __init__(self, endpoints: Mapping[str, tuple[str, str]]) -> None:
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 65535)
        self._sockets: list[zmq.SyncSocket] = []
        self._monitors: list[zmq.SyncSocket] = []
        self.states = {name: LinkState(endpoint, topic.encode()) for name, (endpoint, topic) in endpoints.items()}
        self._poller = zmq.Poller()
        for state in self.states.values():
            self._open(state)

    def _open(self, state: LinkState) -> None:
        socket = self._context.socket(zmq.SUB)
        socket.set(zmq.RCVHWM, RECEIVE_QUEUE)
        socket.set(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RECONNECT_IVL, 100)
        socket.set(zmq.RECONNECT_IVL_MAX, 2000)
        for option, value in _KEEP_ALIVE.items():
            socket.set(option, value)
        self._monitors.append(
            socket.get_monitor_socket(
                zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
            )
        )
        socket.subscribe(state.topic)
        try:
            socket.connect(state.endpoint)
        except zmq.ZMQError as error:
            raise InputError(f"cannot connect to '{state.endpoint}': {error}") from error
        self._sockets.append(socket)
        self._poller.register(socket, zmq.POLLIN)

    def receive(self, timeout_s: float, limit: int = 20_000) -> list[tuple[int, int, list[bytes]]]:
        """Wait up to `timeout_s`, then take what has arrived, `limit` messages at most.

        Returns:
            (device index, arrival in microseconds since the epoch, message parts) of each, in order per device.
        """
        if len(self._sockets) <= POLLED_SOCKETS:
            ready = {socket for socket, _ in self._poller.poll(int(timeout_s * 1000))}
        else:
            time.sleep(min(TICK_S, timeout_s))
            ready = set(self._sockets)
        arrived: list[tuple[int, int, list[bytes]]] = []
        for index, (socket, state) in enumerate(zip(self._sockets, self.states.values(), strict=True)):
            if socket not in ready:
                continue
            before = len(arrived)
            with contextlib.suppress(zmq.Again):
                while len(arrived) < limit:
                    parts = socket.recv_multipart(zmq.NOBLOCK)
                    arrived.append((index, time.time_ns() // 1000, parts))
            if len(arrived) > before:
                state.messages += len(arrived) - before
                state.silent_since_s = time.monotonic()
        return arrived

    def watch(self) -> None:
        """Read the connection events since the last call into `states`."""
        for monitor, state in zip(self._monitors, self.states.values(), strict=True):
            with contextlib.suppress(zmq.Again):
                while True:
                    event = recv_monitor_message(monitor, zmq.NOBLOCK)["event"]
                    if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                        state.connected = True
                        state.connections += 1
                    elif event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED):
                        state.connected = False

    def close(self) -> None:
        """Close every socket."""
        for socket in self._sockets:
            socket.disable_monitor()
        for socket in self._monitors + self._sockets:
            socket.close(linger=0)
        self._context.term()


def probe(endpoint: str, seconds: float) -> bytes | None:
    """The first frame that a publisher sends under any topic, or None if it sends nothing in time."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        socket.subscribe(b"")
        socket.connect(endpoint)
        if socket.poll(int(seconds * 1000)):
            return socket.recv_multipart()[0]
    return None


class Publisher:
    """Publishes on one or more endpoints, each a device of its own. XPUB, so that subscribers are seen to arrive.

    A subscriber that does not keep up loses messages beyond its queue, as with any PUB socket; it can tell by the
    sequence numbers.
    """

    def __init__(self, endpoints: Sequence[str], topic: str) -> None:
        self._topic = topic.encode()
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 65535)
        self._sockets: list[zmq.SyncSocket] = []
        self._subscribed: set[int] = set()
        try:
            for endpoint in endpoints:
                socket = self._context.socket(zmq.XPUB)
                self._sockets.append(socket)
                socket.set(zmq.SNDHWM, SEND_QUEUE)
                socket.set(zmq.LINGER, 1000)
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

    def send(self, payload: bytes) -> None:
        """Publish the same payload on every endpoint."""
        frame = self._topic + payload
        for socket in self._sockets:
            socket.send(frame, copy=True)

    def close(self) -> None:
        """Close every socket, after up to a second for what is still queued."""
        for socket in self._sockets:
            socket.close()
        self._context.term()


def free_endpoints(count: int, host: str = "127.0.0.1") -> list[str]:
    """Endpoints on ports that are free now."""
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, 65535)
        sockets = [context.socket(zmq.XPUB) for _ in range(count)]
        for socket in sockets:
            socket.bind(f"tcp://{host}:*")
        endpoints = [socket.get_string(zmq.LAST_ENDPOINT) for socket in sockets]
        for socket in sockets:
            socket.close(linger=0)
    return endpoints
