"""Encrypted links, over real sockets: who has the right keys receives, all else is refused, counted and told."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.adapters import curve, link
from pipeline.adapters.publisher import Publisher
from pipeline.adapters.silence import SilenceWatch
from pipeline.core.errors import InputError

NOT_Z85 = b'curve\n  public-key = "%s"\n  secret-key = "%s"\n' % (
    b"#" * 40,
    b"#" * 40,
)  # its letters, more than 32 bytes
DEVICE, OURS, STRANGER = curve.new_pair(), curve.new_pair(), curve.new_pair()


def key_of(keys: curve.Keys) -> str:
    return keys.public.decode()


@contextlib.contextmanager
def publishing(keys: curve.Keys | None = None, admitted: Path | None = None, at: str = "") -> Iterator[Publisher]:
    publisher = Publisher([at or link.free_endpoints(1)[0]], "t", keys, admitted)
    try:
        yield publisher
    finally:
        publisher.close()


def received(
    subscriber: link.Subscriber,
    publishers: list[Publisher],
    enough: Callable[[Counter[int]], bool],
    seconds: float,
) -> Counter[int]:
    """How many messages came of each device, once it is enough, or after so long."""
    counts: Counter[int] = Counter()
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s and not enough(counts):
        for publisher in publishers:
            publisher.send(b"x")
        for device, _, payloads in subscriber.receive(0.05):
            counts[device] += len(payloads)
        subscriber.watch()
    return counts


def test_who_has_the_right_keys_receives_and_all_else_is_refused_and_counted(tmp_path: Path) -> None:
    public, _, _ = curve.make_files(tmp_path / "made", "stranger")
    (tmp_path / "admitted").mkdir()
    shutil.copy(public, tmp_path / "admitted")
    with contextlib.ExitStack() as stack:
        publishers = [
            stack.enter_context(publishing(keys, admitted))
            for keys, admitted in (
                (DEVICE, None), (None, None), (DEVICE, None), (None, None), (DEVICE, None), (DEVICE, tmp_path / "admitted")
            )
        ]  # fmt: skip
        server_keys = (key_of(DEVICE), "", key_of(STRANGER), key_of(DEVICE), "", key_of(DEVICE))
        names = ("encrypted", "plain", "wrong key", "it does not encrypt", "only it encrypts", "we are not admitted")
        addresses = {
            name: link.Address(publisher.endpoints[0], "t", key)
            for name, publisher, key in zip(names, publishers, server_keys, strict=True)
        }
        subscriber = link.Subscriber(addresses, keys=OURS)
        stack.callback(subscriber.close)

        def refused() -> set[str]:
            return {name for name, state in subscriber.states.items() if state.handshakes_failed and state.failure}

        counts = received(subscriber, publishers, lambda c: min(c[0], c[1]) > 20 and len(refused()) == 4, 20)
        assert set(counts) == {0, 1}
        assert refused() == set(names[2:])
        assert [state.connected for state in subscriber.states.values()] == [True, True, *4 * [False]]
        for name, word in (
            ("wrong key", "breaks off"),
            ("it does not encrypt", "breaks off"),
            ("only it encrypts", "needs a server_key"),
            ("we are not admitted", "does not admit"),
        ):
            assert word in subscriber.states[name].failure

        watch = SilenceWatch(subscriber, 0.0)
        watch.look()
        deadline_s = time.monotonic() + 20
        while len(watch.notices) < 6 and time.monotonic() < deadline_s:
            time.sleep(0.1)
        told = [notice for notice in watch.notices if "the handshake has failed" in notice]
        assert {notice.partition(":")[0] for notice in told} == set(names[2:])
        assert not any(OURS.secret.decode() in notice for notice in watch.notices)


def test_who_is_admitted_receives(tmp_path: Path) -> None:
    public, secret, _ = curve.make_files(tmp_path / "made", "ours")
    (tmp_path / "admitted").mkdir()
    shutil.copy(public, tmp_path / "admitted")
    with publishing(DEVICE, tmp_path / "admitted") as publisher:
        address = link.Address(publisher.endpoints[0], "t", key_of(DEVICE))
        with contextlib.closing(link.Subscriber({"d": address}, keys=curve.read_pair(secret))) as subscriber:
            assert received(subscriber, [publisher], lambda counts: counts[0] > 5, 20)[0] > 5


def test_a_device_that_is_set_up_anew_is_heard_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "TRY_AGAIN_S", 0.3)
    (endpoint,) = link.free_endpoints(1)
    with contextlib.closing(link.Subscriber({"d": link.Address(endpoint, "t", key_of(DEVICE))})) as subscriber:
        with publishing(at=endpoint) as plain:
            failed = received(subscriber, [plain], lambda _: subscriber.states["d"].handshakes_failed > 1, 20)
            assert not failed
        assert subscriber.states["d"].handshakes_failed > 1
        with publishing(DEVICE, at=endpoint) as publisher:
            assert received(subscriber, [publisher], lambda counts: counts[0] > 5, 20)[0] > 5
        assert subscriber.states["d"].failure == ""


def test_made_files_are_read_and_only_their_owner_may(tmp_path: Path) -> None:
    public, secret, keys = curve.make_files(tmp_path, "pdu-1")
    assert curve.read_pair(secret) == keys
    assert secret.stat().st_mode & 0o777 == 0o600
    assert keys.secret.decode() not in public.read_text()
    assert keys.secret.decode() not in repr(keys)
    with pytest.raises(InputError, match="is there already"):
        curve.make_files(tmp_path, "pdu-1")
    with pytest.raises(InputError, match="cannot be a file's name"):
        curve.make_files(tmp_path, "../pdu")
    secret.chmod(0o640)  # a mounted secret of Kubernetes, for its group
    assert curve.read_pair(secret) == keys
    secret.chmod(0o644)
    with pytest.raises(InputError, match="anybody may read"):
        curve.read_pair(secret)
    with pytest.raises(InputError, match="a public key only"):
        curve.read_pair(public)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"\xff\xfe", b'curve\n  public-key = "x"\n  secret-key = "y"\n', NOT_Z85]
)
def test_what_is_no_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.key_secret"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no key file"):
        curve.read_pair(path)
    with pytest.raises(InputError, match="No such file"):
        curve.read_pair(tmp_path / "absent")
    path.rename(tmp_path / "x.key")
    with pytest.raises(InputError, match="holds no public key"):
        curve.check_admitted(tmp_path)


def test_a_public_key_is_40_letters_that_say_32_bytes() -> None:
    assert curve.check_key(key_of(DEVICE)) == key_of(DEVICE)
    for wrong in ("", "short", "#" * 40, "ä" * 40, key_of(DEVICE) + "0"):
        with pytest.raises(InputError, match="is no public key"):
            curve.check_key(wrong)
