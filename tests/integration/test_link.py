"""Real ZeroMQ sockets on loopback."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise

import psutil
import pytest
import zmq

from pipeline.adapters import gathering, link
from pipeline.adapters.publisher import Publisher
from pipeline.adapters.silence import SilenceWatch
from pipeline.core.errors import InputError


def gather(
    subscriber: link.Subscriber, count: int, limit: int = 20_000, deadline_s: float = 10.0
) -> list[tuple[int, bytes | None]]:
    arrived: list[tuple[int, bytes | None]] = []
    deadline = time.monotonic() + deadline_s
    while len(arrived) < count and time.monotonic() < deadline:
        arrived += [(got.device, payload) for got in subscriber.receive(0.05, limit) for payload in got.payloads]
    return arrived


@pytest.mark.parametrize("limit", [1, 3, 6, 7])
def test_a_limit_parts_no_frames_of_a_message(limit: int) -> None:
    endpoints = link.free_endpoints(2)
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        senders = [stack.enter_context(context.socket(zmq.XPUB)) for _ in endpoints]
        for sender, endpoint in zip(senders, endpoints, strict=True):
            sender.bind(endpoint)
        subscriber = link.Subscriber({endpoint: link.Address(endpoint, "t") for endpoint in endpoints})
        stack.callback(subscriber.close)
        for sender in senders:
            assert sender.recv() == b"\x01t"
        for number in range(5):
            for sender in senders:
                sender.send_multipart([b"t", b"%d" % number])
        arrived = gather(subscriber, 10, limit)
    assert sorted(arrived) == [(device, b"%d" % number) for device in range(2) for number in range(5)]


def test_what_waits_at_a_socket_takes_little_more_than_its_bytes() -> None:
    (endpoint,) = link.free_endpoints(1)
    publisher = Publisher([endpoint], "t")
    subscriber = link.Subscriber({"d": link.Address(endpoint, "t")})
    count, size = 3000, 500
    try:
        assert publisher.wait_for_subscribers(10)
        before = psutil.Process().memory_full_info().uss
        for _ in range(count):  # one by one, as devices send: each is read by itself
            publisher.send(bytes(size))
            time.sleep(0.0002)
        time.sleep(0.5)
        assert psutil.Process().memory_full_info().uss - before < 5 * count * size
        assert len(gather(subscriber, count)) == count
    finally:
        subscriber.close()
        publisher.close()


def test_few_sockets_may_keep_what_many_may() -> None:
    assert link.queue_of(1) == 64 * link.queue_of(64) == 64 * link.queue_of(1000)
    (endpoint,) = link.free_endpoints(1)
    count = 2 * link.QUEUE
    publisher = Publisher([endpoint], "t", queue=count)
    subscriber = link.Subscriber({"d": link.Address(endpoint, "t")})
    try:
        assert publisher.wait_for_subscribers(10)
        for _ in range(count):
            publisher.send(b"x")
        time.sleep(1.0)
        assert len(gather(subscriber, count)) == count
    finally:
        subscriber.close()
        publisher.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited 10 s"
        time.sleep(0.02)


def test_beyond_the_limit_devices_take_turns() -> None:
    endpoints = link.free_endpoints(4)
    publisher = Publisher(endpoints, "t")
    subscriber = link.Subscriber({endpoint: link.Address(endpoint, "t") for endpoint in endpoints})
    try:
        assert publisher.wait_for_subscribers(10)
        publisher.send(b"first")
        assert len(gather(subscriber, 4)) == 4
        heard: list[int] = []
        for _ in range(8):  # each time there is more of every device than is taken
            for _ in range(10):
                publisher.send(b"more")
            time.sleep(0.05)
            heard += [received.device for received in subscriber.receive(1.0, limit=10)]
        assert set(heard[:5]) == set(heard[-5:]) == set(range(4))
        assert subscriber.behind
        while subscriber.receive(0.2):
            pass
        assert not subscriber.behind
    finally:
        subscriber.close()
        publisher.close()


def test_a_device_comes_back_after_a_message_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "TRY_AGAIN_S", 0.2)
    publisher = Publisher(["tcp://127.0.0.1:*"], "t")
    subscriber = link.Subscriber({"d": link.Address(publisher.endpoints[0], "t")})
    try:
        assert publisher.wait_for_subscribers(10)
        publisher.send(b"before")
        assert gather(subscriber, 1) == [(0, b"before")]
        publisher.send(b"x" * (link.LARGEST_MESSAGE + 1))
        heard: list[tuple[int, bytes | None]] = []

        def back() -> bool:
            publisher.send(b"after")
            subscriber.watch()
            heard.extend(gather(subscriber, 1, deadline_s=0.05))
            return bool(heard)

        until(back)
        assert set(heard) == {(0, b"after")}
    finally:
        subscriber.close()
        publisher.close()


def test_a_device_may_have_an_ipv6_address() -> None:
    publisher = Publisher(["tcp://[::1]:*"], "t")
    subscriber = link.Subscriber({"d": link.Address(publisher.endpoints[0], "t")})
    try:
        assert publisher.wait_for_subscribers(10)
        publisher.send(b"six")
        assert gather(subscriber, 1) == [(0, b"six")]
        with ThreadPoolExecutor(1) as pool:
            probed = pool.submit(subscriber.probe, subscriber.states["d"], 10.0)
            while not probed.done():
                publisher.send(b"six")
                time.sleep(0.02)
        assert probed.result() == [b"tsix"]
    finally:
        subscriber.close()
        publisher.close()


def test_endpoints_may_share_a_socket() -> None:
    publisher = Publisher(["tcp://127.0.0.1:*"] * 5, "t", sockets=2)
    addresses = [link.Address(endpoint, "t") for endpoint in publisher.endpoints]
    assert len(set(addresses)) == 5
    subscriber = link.Subscriber({f"d{place}": address for place, address in enumerate(addresses[:-1])})
    try:
        assert not publisher.wait_for_subscribers(1)  # one endpoint has none
        subscriber.connect("d4", addresses[-1])
        assert publisher.wait_for_subscribers(10)
        publisher.send_run(0, [b"1", b"2"])
        publisher.send_run(1, [b"3"])
        heard: dict[int, list[bytes | None]] = {}
        for device, payload in gather(subscriber, 3 * 2 + 2):
            heard.setdefault(device, []).append(payload)
        assert heard == {0: [b"1", b"2"], 1: [b"3"], 2: [b"1", b"2"], 3: [b"3"], 4: [b"1", b"2"]}
    finally:
        subscriber.close()
        publisher.close()


def test_what_is_gathered_comes_many_at_a_time_and_none_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "QUIET_S", 3.0)
    (endpoint,) = link.free_endpoints(1)
    publisher = Publisher([endpoint], "t")
    subscriber = link.Subscriber({"d": link.Address(endpoint, "t")}, rest_s=0.5)
    sent = 0

    def send(count: int) -> list[int]:
        nonlocal sent
        for _ in range(count):
            publisher.send(b"%3d" % sent + bytes(500))
            sent += 1
            time.sleep(0.002)
        return [*range(sent - count, sent)]

    def come(count: int, deadline_s: float = 10.0) -> list[int]:
        return [int(each[:3]) for _, each in gather(subscriber, count, deadline_s=deadline_s) if each is not None]

    def connected() -> bool:
        subscriber.watch()
        return subscriber.states["d"].connected

    def begin_to_gather() -> None:
        subscriber.hurry()
        numbers = send(40)
        assert come(40) == numbers
        subscriber.watch()

    try:
        assert publisher.wait_for_subscribers(10)
        until(connected)
        begin_to_gather()
        numbers = send(1)
        assert come(1, 0.3) == []
        numbers += send(30)
        several = come(8)
        several += come(len(numbers) - len(several))  # the last ones once it is quiet
        assert several == numbers

        begin_to_gather()
        numbers = send(1)
        assert come(1, 0.3) == []
        subscriber.hurry()
        assert come(1, 1.0) == numbers

        begin_to_gather()
        numbers = send(1)
        assert come(1, 0.3) == []
        time.sleep(0.5)
        subscriber.watch()  # so little comes that it need not be gathered
        assert come(1, 1.0) == numbers

        begin_to_gather()
        numbers = send(1)
        assert come(1, 0.3) == []
        publisher.close()  # nor does a device that goes leave anything
        assert come(1, 1.0) == numbers
        publisher = Publisher([endpoint], "t")
        assert publisher.wait_for_subscribers(10)
        until(connected)
        begin_to_gather()  # on a new connection as before
        numbers = send(1)
        assert come(1, 0.3) == []
        subscriber.unsubscribe()
        assert come(1, 1.0) == numbers
    finally:
        subscriber.close()
        publisher.close()


def test_a_rest_is_taken_only_where_it_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    rests = []
    monkeypatch.setattr(link, "_sleep", rests.append)
    (endpoint,) = link.free_endpoints(1)
    publisher = Publisher([endpoint], "t")
    subscriber = link.Subscriber({"d": link.Address(endpoint, "t")}, rest_s=0.01)
    try:
        assert publisher.wait_for_subscribers(10)
        for _ in range(3):
            publisher.send(b"alone")
            assert len(gather(subscriber, 1)) == 1
            subscriber.receive(0.05)
        assert rests == []
        for _ in range(500):
            publisher.send(b"together")
        assert len(gather(subscriber, 500)) == 500
        subscriber.receive(0.05)
        assert rests
    finally:
        subscriber.close()
        publisher.close()


def test_messages_of_a_device_alone_are_told_when_they_come_and_none_is_left_behind() -> None:
    endpoints = link.free_endpoints(2)
    publishers = [Publisher([endpoint], "t") for endpoint in endpoints]
    subscriber = link.Subscriber({"d": link.Address(endpoints[0], "t")})
    publisher = publishers[0]

    def send_apart() -> None:
        for number in range(3):
            time.sleep(0.05)
            publisher.send(b"%d" % number)

    def payloads(arrived: list[link.Received]) -> list[bytes | None]:
        return [payload for received in arrived for payload in received.payloads]

    try:
        assert publisher.wait_for_subscribers(10)
        assert subscriber.receive(0.01) == []  # the first look is one at its descriptor
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(send_apart)
            arrived = subscriber.receive(0.4)
            sending.result()
        assert payloads(arrived) == [b"0", b"1", b"2"]
        times = [received.at_us for received in arrived]
        assert all(later - earlier > 30_000 for earlier, later in pairwise(times)), "each has its own time"

        for number in range(20):
            publisher.send(b"%d" % number)
        assert [payload for _, payload in gather(subscriber, 20)] == [b"%d" % number for number in range(20)]

        subscriber.receive(0.01)
        publisher.send(b"waits")
        time.sleep(0.1)
        assert payloads(subscriber.receive(0.0)) == [b"waits"], "a look that does not wait finds it"

        assert subscriber.receive(0.01) == []
        for number in range(3):
            publisher.send(b"%d" % number)
        time.sleep(0.1)
        assert payloads(subscriber.receive(0.01)) == [b"0"]
        subscriber.connect("e", link.Address(endpoints[1], "t"))  # the other two are found beside another device
        assert gather(subscriber, 2) == [(0, b"1"), (0, b"2")]
    finally:
        subscriber.close()
        for each in publishers:
            each.close()


def test_a_device_that_sends_seldom_does_not_gather() -> None:
    (endpoint,) = link.free_endpoints(1)
    publisher = Publisher([endpoint], "t")
    subscriber = link.Subscriber({"d": link.Address(endpoint, "t")}, rest_s=0.01)
    try:
        assert publisher.wait_for_subscribers(10)
        for _ in range(3):
            publisher.send(bytes(500))
            assert len(gather(subscriber, 1, deadline_s=gathering.QUIET_S / 2)) == 1
            time.sleep(0.2)
            subscriber.watch()
    finally:
        subscriber.close()
        publisher.close()


@pytest.mark.parametrize(("count", "rest_s", "limit"), [(2, 0.0, 20_000), (40, 0.01, 20_000), (3, 0.0, 2)])
def test_each_endpoint_is_told_apart_in_order(count: int, rest_s: float, limit: int) -> None:
    endpoints = link.free_endpoints(count)
    publishers = [Publisher([endpoint], "t") for endpoint in endpoints]
    subscriber = link.Subscriber({endpoint: link.Address(endpoint, "t") for endpoint in endpoints}, rest_s)
    try:
        for publisher in publishers:
            assert publisher.wait_for_subscribers(10)
        for number in range(3):
            for index, publisher in enumerate(publishers):
                publisher.send(b"%d:%d" % (index, number))
        arrived = gather(subscriber, 3 * count, limit)
        for index in range(count):
            assert [payload for device, payload in arrived if device == index] == [
                b"%d:%d" % (index, n) for n in range(3)
            ]
        subscriber.watch()
        assert all(state.connected for state in subscriber.states.values())
    finally:
        subscriber.close()
        for publisher in publishers:
            publisher.close()


def test_devices_come_and_go_and_keep_their_index() -> None:
    endpoints = link.free_endpoints(3)
    publishers = [Publisher([endpoint], "t") for endpoint in endpoints]
    subscriber = link.Subscriber({"a": link.Address(endpoints[0], "t"), "b": link.Address(endpoints[1], "t")})
    try:
        assert all(publisher.wait_for_subscribers(10) for publisher in publishers[:2])
        subscriber.disconnect("a")
        subscriber.connect("c", link.Address(endpoints[2], "t"))
        assert publishers[2].wait_for_subscribers(10)
        for name, publisher in zip("abc", publishers, strict=True):
            publisher.send(name.encode())
        assert sorted(gather(subscriber, 2)) == [(1, b"b"), (2, b"c")]
        assert list(subscriber.states) == ["b", "c"]
        subscriber.connect("a", link.Address(endpoints[0], "t"))
        publishers[0].close()
        publishers[0] = Publisher([endpoints[0]], "t")  # waits anew for its subscriber
        until(lambda: not subscriber.receive(0.02) and publishers[0].wait_for_subscribers(0.02))
        publishers[0].send(b"again")
        assert gather(subscriber, 1) == [(0, b"again")]
    finally:
        subscriber.close()
        for publisher in publishers:
            publisher.close()


def test_after_unsubscribing_all_that_was_sent_before_comes_in_and_nothing_after() -> None:
    endpoints = link.free_endpoints(2)
    publishers = [Publisher([endpoint], "t") for endpoint in endpoints]
    subscriber = link.Subscriber({endpoint: link.Address(endpoint, "t") for endpoint in endpoints})
    try:
        assert all(publisher.wait_for_subscribers(10) for publisher in publishers)
        publishers[0].send(b"first")
        assert gather(subscriber, 1) == [(0, b"first")]  # the sockets have told of what they hold, and were read
        for number in range(100):
            publishers[0].send(b"%d" % number)
        time.sleep(0.5)  # all of it waits at our socket
        subscriber.unsubscribe()
        assert gather(subscriber, 100, limit=30) == [(0, b"%d" % number) for number in range(100)]
        # A live device goes on sending, and hears of it.
        until(lambda: publishers[1].send(b"live") or not subscriber.receive(0.1))
    finally:
        subscriber.close()
        for publisher in publishers:
            publisher.close()


def test_a_publisher_that_comes_back_is_heard_again_and_the_reconnect_is_seen() -> None:
    (endpoint,) = link.free_endpoints(1)
    subscriber = link.Subscriber({"d": link.Address(endpoint, "")})
    try:
        for _ in range(2):
            publisher = Publisher([endpoint], "")
            # A SUB socket renews its subscriptions when its owner next uses it, so keep on receiving.
            until(lambda here=publisher: subscriber.receive(0.01) or here.wait_for_subscribers(0.01))
            publisher.send(b"x")
            assert gather(subscriber, 1) == [(0, b"x")]
            publisher.close()
        until(lambda: subscriber.watch() or subscriber.states["d"].connections == 2)
    finally:
        subscriber.close()


def test_messages_of_several_parts_and_of_longer_topics() -> None:
    (endpoint,) = link.free_endpoints(1)
    subscriber = link.Subscriber({"d": link.Address(endpoint, "t")})
    with zmq.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.bind(endpoint)
        try:
            assert publisher.poll(10_000)
            for parts in ([b"ta"], [b"t", b"b"], [b"tt", b"c"], [b"u", b"d"], [b"te"]):
                publisher.send_multipart(parts)
            assert gather(subscriber, 4) == [(0, b"a"), (0, b"b"), (0, None), (0, b"e")]
            for parts, payload in (([b"t", b"b"], b"b"), ([b"tt", b"c"], None), ([b"te"], b"e")):  # one by one too
                publisher.send_multipart(parts)
                assert gather(subscriber, 1) == [(0, payload)]
        finally:
            subscriber.close()


@pytest.mark.parametrize(
    "endpoint", ["", "tcp://", "tcp://host", "tcp://host:0", "tcp://host:70000", "http://a:1", "host:5557"]
)
def test_what_is_not_an_endpoint_is_refused_with_an_example(endpoint: str) -> None:
    with pytest.raises(InputError, match="tcp://HOST:PORT"):
        link.check_endpoint(endpoint)


def test_a_path_that_no_socket_can_have_is_refused() -> None:
    assert link.check_endpoint("ipc:///" + "x" * 106)
    with pytest.raises(InputError, match="107 bytes at most"):
        link.check_endpoint("ipc:///" + "x" * 107)


def test_a_port_in_use_is_said_and_what_to_do() -> None:
    (endpoint,) = link.free_endpoints(1)
    publisher = Publisher([endpoint], "")
    try:
        with pytest.raises(InputError, match=r"Address already in use.*--bind"):
            Publisher([endpoint], "")
    finally:
        publisher.close()


def test_what_was_said_of_a_silence_holds_until_the_device_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.adapters.silence.PROBE_S", 0.5)
    publisher = Publisher(["tcp://127.0.0.1:*"], "t")
    subscriber = link.Subscriber({"d": link.Address(publisher.endpoints[0], "t")})
    try:
        watch = SilenceWatch(subscriber, 0.5)
        until(lambda: watch.look() or watch.notices)
        assert "publishes nothing" in watch.notices[0]

        def heard() -> bool:
            publisher.send(b"x")
            subscriber.receive(0.01)
            watch.look()
            return not watch.notices

        until(heard)
        publisher.close()
        until(lambda: watch.look() or watch.notices)
        assert "the connection is gone" in watch.notices[0]
        subscriber.disconnect("d")
        watch.look()
        assert watch.notices == []
    finally:
        subscriber.close()


@pytest.mark.parametrize(
    ("topic", "said"), [("u", "under topic 'u': use --topic"), ("", "without a topic: use --topic ''")]
)
def test_another_reason_for_a_silence_is_told(topic: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.adapters.silence.PROBE_S", 0.5)
    (endpoint,) = link.free_endpoints(1)
    subscriber = link.Subscriber({"d": link.Address(endpoint, "t")})
    publisher = None
    try:
        watch = SilenceWatch(subscriber, 0.2)
        until(lambda: watch.look() or watch.notices)
        assert "no connection yet" in watch.notices[0]
        publisher = Publisher([endpoint], topic)  # the device is switched on, and has another topic
        payload = bytes.fromhex("0a030a0178")
        until(lambda: publisher.send(payload) or watch.look() or said in "".join(watch.notices))
    finally:
        subscriber.close()
        if publisher is not None:
            publisher.close()


def test_silence_is_explained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody there; somebody there under another topic, a longer one, in one part or two; somebody who says nothing."""
    monkeypatch.setattr("pipeline.adapters.silence.PROBE_S", 0.5)
    absent, other, mute, longer, parted = link.free_endpoints(5)
    payload = bytes.fromhex("0a030a0178")  # one calculation named "x", nothing in it
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        talkers = [stack.enter_context(context.socket(zmq.PUB)) for _ in range(4)]
        for talker, endpoint in zip(talkers, (other, mute, longer, parted), strict=True):
            talker.bind(endpoint)
        addresses = zip("abcde", (absent, other, mute, longer, parted), strict=True)
        subscriber = link.Subscriber({name: link.Address(endpoint, "t") for name, endpoint in addresses})
        try:
            watch = SilenceWatch(subscriber, 0.0)
            until(
                lambda: subscriber.watch() or [s.connected for s in subscriber.states.values()] == [False, *4 * [True]]
            )

            def speak() -> bool:
                talkers[0].send(b"power/" + payload)
                talkers[2].send(b"t-fast" + payload)
                talkers[3].send_multipart([b"power", payload])
                subscriber.receive(0.01)
                watch.look()
                return len(watch.notices) == 5

            until(speak)
            speak()
        finally:
            subscriber.close()
    said = {notice[0]: notice for notice in watch.notices}
    assert len(watch.notices) == 5
    assert "no connection yet" in said["a"]
    assert "under topic 'power/': use --topic" in said["b"]
    assert "publishes nothing" in said["c"]
    assert "under topic 't-fast': use --topic" in said["d"]
    assert "under topic 'power': use --topic" in said["e"]


@pytest.mark.parametrize(
    ("connections", "said"), [(0, "no connection yet"), (1, "is the device on"), (4, "above 1 MiB")]
)
def test_what_is_said_of_a_connection_that_is_gone(connections: int, said: str) -> None:
    subscriber = link.Subscriber({})
    try:
        watch = SilenceWatch(subscriber, 1.0)
        assert said in watch._why(link.LinkState("tcp://127.0.0.1:1", b"t", connections=connections))
    finally:
        subscriber.close()
