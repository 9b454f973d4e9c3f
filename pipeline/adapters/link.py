"""ZeroMQ: one XSUB socket per device.

XSUB instead of SUB, so that a subscription can be withdrawn and what was sent before still be received.

Sockets belong to the thread that created them: make and use a `Subscriber` in one thread.

Must not know: what a payload holds.
"""

from __future__ import annotations

import contextlib
import math
import re
import select
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final, NamedTuple

import zmq
from zmq.utils.monitor import recv_monitor_message

from pipeline.adapters.curve import Keys, new_pair
from pipeline.adapters.gathering import Gathering
from pipeline.core.errors import InputError
from pipeline.core.framing import payload_of, payloads_of
from pipeline.core.rhythm import AT_ONCE

QUEUE: Final = 4096  # messages a socket: more than a minute at 60 Hz, 2 MB of those of devices; beyond it ZeroMQ drops
QUEUE_TOGETHER: Final = 64 * QUEUE  # of all sockets, where they are fewer: one endpoint may send 100,000 a second
LARGEST_MESSAGE: Final = 1 << 20  # bytes; a cycle is 500, a spectrum a few thousand
_QUIET_PORTS: Final = (20_000, 32_000)  # below those that systems give to outgoing connections
_LONGEST_PATH: Final = 107  # of a Unix socket
_ENDPOINT: Final = re.compile(r"(tcp://([^:/\s]+|\[[0-9a-fA-F:]+\]):(\d{1,5})|ipc://.+)")

# No ZMTP heartbeats: a device whose ZeroMQ does not answer them would be disconnected for ever. TCP's keep-alive does.
_KEEP_ALIVE: Final = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 10,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
_EVENTS: Final = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
)
_GONE: Final = {zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED}
_BROKEN: Final = "it breaks off: does the device encrypt, and is server_key its public key?"
_FAILURES: Final = {  # of a handshake, where we have the device's key; which one, chance may decide
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: _BROKEN,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: _BROKEN,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "the device does not admit our public key",
}
_NO_KEY: Final = "is this the device's ZeroMQ port? if it encrypts, it needs a server_key in the fleet file"
_FINAL: Final = {zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_AUTH}  # ZeroMQ does not try again
TOGETHER_S: Final = 1e-3  # messages that come so close to each other are taken together
_UNSUBSCRIBE, _SUBSCRIBE = b"\0", b"\1"
TRY_AGAIN_S: Final = 5.0  # after such a one: a device is set up anew by hand
_ZERO_COPY_RECV: Final = 10  # ZMQ_ZERO_COPY_RECV, for which pyzmq has no name
_sleep = time.sleep
_get = zmq.backend.Socket.get  # pyzmq's own layer over it serves names


def check_endpoint(endpoint: str) -> str:
    """The endpoint, if it is one.

    Raises:
        InputError: not of the form tcp://HOST:PORT or ipc://PATH.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or (match[3] is not None and not 0 < int(match[3]) < 65536):
        raise InputError(f"'{endpoint}' is not an endpoint: write tcp://HOST:PORT, for example tcp://10.0.0.7:5557")
    if endpoint.startswith("ipc://") and len(endpoint.encode()) > len("ipc://") + _LONGEST_PATH:
        raise InputError(f"'{endpoint}': the path of a socket has {_LONGEST_PATH} bytes at most")
    return endpoint


def queue_of(sockets: int) -> int:
    """Messages that may wait at each of so many sockets."""
    return max(QUEUE, QUEUE_TOGETHER // max(1, sockets))


@dataclass(slots=True)
class LinkState:
    """What is known of one device's connection."""

    endpoint: str
    topic: bytes
    server_key: str = ""  # "": the link is not encrypted
    connected: bool = False
    connections: int = 0  # successful connects; more than one means reconnects
    handshakes_failed: int = 0
    failure: str = ""  # of the last handshake, until one succeeds
    try_again_s: float | None = None  # when to connect again, by the monotonic clock, where ZeroMQ does not
    silent_since_s: float = field(default_factory=time.monotonic)


class Address(NamedTuple):
    """Where a device publishes."""

    endpoint: str
    topic: str
    server_key: str = ""  # its public key, where it encrypts


class Received(NamedTuple):
    """Messages of one device that were found at one moment; None stands for one of another topic."""

    device: int
    at_us: int  # microseconds since the epoch
    payloads: list[bytes | None]


@dataclass(slots=True)
class _Link:
    """The sockets of one device."""

    index: int
    socket: zmq.SyncSocket
    monitor: zmq.SyncSocket
    state: LinkState

    def close(self) -> None:
        """Close both; a monitor is asked for before its socket goes."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=0)


class Subscriber:
    """Receives the messages of many devices. A socket cannot say which endpoint spoke, so each has its own.

    A socket's descriptor says when to look; so devices that are quiet cost nothing, however many there are.

    Args:
        addresses: by device name; the order gives the device indices.
        rest_s: at least so long between two looks, behind one that found more than one message. Longer finds more at a
            time, which costs less each. A connection, too, gathers for so long before it is read
            (`adapters/gathering.py`).
        keys: our own, towards devices that encrypt; without, a pair that is made for now.
    """

    def __init__(self, addresses: Mapping[str, Address], rest_s: float = 0.0, keys: Keys | None = None) -> None:
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 65535)
        # Else each message that waits keeps what it was read into, 9 kB in memory; copying it costs less.
        self._context.set(_ZERO_COPY_RECV, 0)
        self._names: list[str] = []  # by index; a name keeps its index for good
        self._fds: dict[str, int] = {}
        self.states: dict[str, LinkState] = {}
        self._rest_s = rest_s
        self._keys = keys or new_pair()
        self._ready = select.epoll()
        self._by_fd: dict[int, _Link] = {}
        self._gathering = Gathering(rest_s)
        self._unfinished: dict[int, None] = {}  # descriptors of sockets that hold more than was taken, longest first
        self._found = 0  # messages, by the last look
        self._most = len(addresses)  # at a time
        for name, address in addresses.items():
            self.connect(name, address)

    def connect(self, name: str, address: Address) -> None:
        """Receive another device: its index is the next one, or the one that it had before."""
        if name not in self._names:
            self._names.append(name)
        self._most = max(self._most, len(self._fds) + 1)
        state = LinkState(address.endpoint, address.topic.encode(), address.server_key)
        self._fds[name] = self._open(self._names.index(name), state)
        self.states = {**self.states, name: state}  # a new one: others look at it in other threads

    def disconnect(self, name: str) -> None:
        """Receive a device no more; what has arrived and was not received is lost."""
        fd = self._fds.pop(name)
        self.states = {known: state for known, state in self.states.items() if known != name}
        self._ready.unregister(fd)
        self._unfinished.pop(fd, None)
        self._gathering.closed(fd)
        self._by_fd.pop(fd).close()

    def _open(self, index: int, state: LinkState) -> int:
        socket = self._context.socket(zmq.XSUB)
        socket.set(zmq.RCVHWM, queue_of(self._most))
        socket.set(zmq.RECONNECT_IVL, 100)
        socket.set(zmq.RECONNECT_IVL_MAX, 2000)
        for option, value in _KEEP_ALIVE.items():
            socket.set(option, value)
        self._set_up(socket, state)
        monitor = socket.get_monitor_socket(_EVENTS)
        socket.send(_SUBSCRIBE + state.topic)
        try:
            socket.connect(state.endpoint)
        except zmq.ZMQError as error:
            _Link(index, socket, monitor, state).close()
            raise InputError(f"cannot connect to '{state.endpoint}': {error}") from error
        fd = int(socket.get(zmq.FD))
        if len(self._by_fd) == 1:  # nobody has asked for its descriptor
            self._unfinished.update(dict.fromkeys(self._by_fd))
        self._by_fd[fd] = _Link(index, socket, monitor, state)
        self._unfinished[fd] = None  # it may have told of something before we looked
        self._ready.register(fd, select.EPOLLIN)
        return fd

    def receive(self, timeout_s: float, limit: int = AT_ONCE) -> list[Received]:
        """Wait up to `timeout_s` for a message, then take what has arrived, about `limit` messages at most.

        Of a device alone whose messages come one at a time: take those that come within `timeout_s`.

        Returns:
            For each device that sent something, its messages in order.
        """
        if len(self._by_fd) == 1 and self._found <= 1 and not self._unfinished:
            if timeout_s > 0:
                return self._one_by_one(timeout_s)
            self._unfinished.update(dict.fromkeys(self._by_fd))  # nobody has asked it since
        resting_s = min(self._rest_s, timeout_s) if self._found > 1 else 0.0
        if resting_s > 0:
            _sleep(resting_s)
        told = self._ready.poll(0 if self._unfinished else timeout_s - resting_s)
        ready = [*self._unfinished, *(fd for fd, _ in told if fd not in self._unfinished)]
        self._unfinished.clear()
        now_s, now_us = time.monotonic(), time.time_ns() // 1000
        arrived = []
        for turn, fd in enumerate(ready):
            if limit <= 0:  # beyond it devices take turns
                self._unfinished = {**dict.fromkeys(ready[turn:]), **self._unfinished}
                break
            link = self._by_fd[fd]
            payloads = self._drain(fd, link.socket, link.state.topic, limit)
            if payloads:
                arrived.append(Received(link.index, now_us, payloads))
                limit -= len(payloads)
                self._heard(fd, payloads, now_s)
        self._gathering.let_go(now_s, busy=self._unfinished)
        self._found = sum(len(received.payloads) for received in arrived)
        return arrived

    def _one_by_one(self, seconds: float) -> list[Received]:
        """What a device alone sends within this time, or up to twice that; until two messages come together.

        ZeroMQ itself waits for it, which costs less than to look when a descriptor says so (docs/performance.md).
        """
        ((fd, link),) = self._by_fd.items()
        socket, topic = link.socket, link.state.topic
        socket.set(zmq.RCVTIMEO, math.ceil(seconds * 1e3))
        taken: list[tuple[int, list[Any]]] = []
        now_s = time.monotonic()
        end_s = now_s + seconds
        with contextlib.suppress(zmq.Again):
            while now_s < end_s and not self._unfinished:
                parts = [socket.recv()]
                at_us, before_s, now_s = time.time_ns() // 1000, now_s, time.monotonic()
                while _get(socket, zmq.RCVMORE):
                    parts.append(socket.recv())
                taken.append((at_us, parts))
                if now_s - before_s < TOGETHER_S:
                    self._unfinished[fd] = None
        payloads = [payload_of(parts, topic) for _, parts in taken]
        if payloads:
            self._heard(fd, payloads, now_s)
        self._gathering.let_go(time.monotonic(), busy=self._unfinished)
        self._found = min(1, len(payloads))  # at a time
        return [Received(link.index, at_us, [payload]) for (at_us, _), payload in zip(taken, payloads, strict=True)]

    def _heard(self, fd: int, payloads: Sequence[bytes | None], now_s: float) -> None:
        """Note that messages of a device came, some of them perhaps of another topic."""
        if any(payload is not None for payload in payloads):
            self._by_fd[fd].state.silent_since_s = now_s
        self._gathering.heard(fd, len(payloads), len(payloads[-1] or b""), now_s)

    @property
    def behind(self) -> bool:
        """Whether the last look left messages for the next one."""
        return bool(self._unfinished)

    def _drain(self, fd: int, socket: zmq.SyncSocket, topic: bytes, limit: int) -> list[bytes | None]:
        """What a socket holds. Only when it says that there is no more will its descriptor tell of the next message."""
        receive = socket.recv if topic else socket.recv_multipart  # any frame may begin with an empty topic
        taken: list[Any] = []
        try:
            taken.append(receive(zmq.NOBLOCK))
            if int(_get(socket, zmq.EVENTS)) & zmq.POLLIN:  # often one is all: asking costs less than an exception
                taken.extend(map(receive, repeat(zmq.NOBLOCK, limit - 1)))  # keeps them where there are fewer
                while _get(socket, zmq.RCVMORE):  # never between two frames of a message
                    taken.append(receive(zmq.NOBLOCK))
                self._unfinished[fd] = None
        except zmq.Again:
            pass
        return payloads_of(taken, topic) if topic else [payload_of(parts, topic) for parts in taken]

    def hurry(self) -> None:
        """What the devices have sent comes in now, however little it is; until the next `watch`."""
        self._gathering.hurry()

    def unsubscribe(self) -> None:
        """Ask the devices to send no more; what they have sent until they hear of it comes in."""
        self._gathering.end()
        for link in self._by_fd.values():
            link.socket.send(_UNSUBSCRIBE + link.state.topic)
        self._unfinished.update(dict.fromkeys(self._by_fd))  # a socket that was used no longer tells of what it holds

    def watch(self) -> None:
        """Read the connection events since the last call into `states`, and connect anew where ZeroMQ does not.

        To be called about once a second.
        """
        now_s = time.monotonic()
        for fd, link in self._by_fd.items():
            state = link.state
            with contextlib.suppress(zmq.Again):
                while True:
                    told = recv_monitor_message(link.monitor, zmq.NOBLOCK)
                    if told["event"] == zmq.EVENT_CONNECTED:
                        state.try_again_s = None
                        self._gathering.opened(fd, state.endpoint, told["value"])
                    elif told["event"] in _GONE:
                        self._gathering.closed(fd)
                    _note(told["event"], state, now_s)
            if state.try_again_s is not None and now_s >= state.try_again_s:
                state.try_again_s = None
                with contextlib.suppress(zmq.ZMQError):
                    link.socket.disconnect(state.endpoint)
                link.socket.connect(state.endpoint)
        self._gathering.review(now_s)

    def probe(self, state: LinkState, seconds: float) -> list[bytes] | None:
        """The frames of the first message that a device publishes under any topic; None if it sends nothing in time.

        It has a socket of its own, and may be called in another thread.
        """
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            self._set_up(socket, state)
            socket.subscribe(b"")
            socket.connect(state.endpoint)
            if socket.poll(int(seconds * 1000)):
                return socket.recv_multipart()
        return None

    def _set_up(self, socket: zmq.SyncSocket, state: LinkState) -> None:
        """What every socket towards a device has."""
        socket.set(zmq.MAXMSGSIZE, LARGEST_MESSAGE)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.IPV6, "[" in state.endpoint)  # a name may have an address of either kind: for these it is IPv4
        if state.server_key:
            socket.set(zmq.CURVE_SERVERKEY, state.server_key.encode())
            socket.set(zmq.CURVE_PUBLICKEY, self._keys.public)
            socket.set(zmq.CURVE_SECRETKEY, self._keys.secret)

    def close(self) -> None:
        """Close every socket."""
        self._ready.close()
        for link in self._by_fd.values():
            link.close()
        self._context.term()


def _note(event: int, state: LinkState, now_s: float) -> None:
    if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
        state.connected = True
        state.connections += 1
        state.failure = ""
    elif event in _FAILURES:
        state.handshakes_failed += 1
        state.failure = _FAILURES[zmq.Event(event)] if state.server_key else _NO_KEY
        if event in _FINAL:
            state.try_again_s = now_s + TRY_AGAIN_S
    elif event in _GONE:
        state.connected = False
        if event == zmq.EVENT_DISCONNECTED:  # ZeroMQ connects again, but not after bytes that it cannot accept
            state.try_again_s = now_s + TRY_AGAIN_S


def free_endpoints(count: int, host: str = "127.0.0.1") -> list[str]:
    """Endpoints on ports that are free now, and that no outgoing connection will be given meanwhile."""
    with zmq.Context() as context:
        context.set(zmq.MAX_SOCKETS, 65535)
        sockets = [context.socket(zmq.XPUB) for _ in range(count)]
        for socket in sockets:
            socket.bind_to_random_port(f"tcp://{host}", *_QUIET_PORTS, max_tries=1000)
        endpoints = [socket.get_string(zmq.LAST_ENDPOINT) for socket in sockets]
        for socket in sockets:
            socket.close(linger=0)
    return endpoints
