"""Ray's Jobs API where it does not answer as it should: each is one clear error, for `submit --keep` lives through those."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pipeline.adapters.jobs import Job, Jobs
from pipeline.core.errors import InputError, KarmanError


def answer(status: str, body: bytes, length: int | None = None) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def serving(reply: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says this to whoever asks, or nothing at all; its address, and what it was asked."""
    asked: list[bytes] = []
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            asked.append(peer.recv(65536))
            if reply is None:
                over.wait(10)
            else:
                peer.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        finally:
            over.set()
            thread.join(10)


def test_a_job_is_found_with_the_token() -> None:
    with serving(answer("200 OK", b'{"status": "FAILED", "message": "gone"}')) as (address, asked):
        assert Jobs(address, "secret").find("karman") == Job("FAILED", "gone")
    assert asked[0].startswith(b"GET /api/jobs/karman ")
    assert b"Authorization: Bearer secret" in asked[0]


def test_no_such_job_is_none() -> None:
    with serving(answer("404 Not Found", b"Job karman does not exist")) as (address, _):
        assert Jobs(address).find("karman") is None


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_wrong_token_names_the_setting(status: str) -> None:
    with serving(answer(status, b"Invalid authentication token")) as (address, _), pytest.raises(InputError) as caught:
        Jobs(address, "old").find("karman")
    assert "Invalid authentication token: is RAY_AUTH_TOKEN the cluster's?" in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (
            answer("500 Internal Server Error", b"Traceback\n  ...\nRuntimeError: no agent"),
            "(500): RuntimeError: no agent",
        ),
        (answer("503 Service Unavailable", b""), "(503): Service Unavailable"),
        (answer("500 Internal Server Error", b"half", length=99), "(500): "),
        (answer("200 OK", b"<html>"), "no Ray answers"),
        (answer("200 OK", b'{"status": "RUN', length=99), "no Ray answers"),
        (answer("200 OK", b"{}"), "is not Ray"),
        (answer("200 OK", b"[1]"), "is not Ray"),
        (b"SSH-2.0-OpenSSH\r\n", "no Ray answers"),
        (b"", "no Ray answers"),
    ],
    ids=["500", "503", "500 cut", "no JSON", "cut", "no status", "a list", "not HTTP", "closed"],
)
def test_any_other_answer_is_an_error_of_one_line(reply: bytes, says: str) -> None:
    with serving(reply) as (address, _), pytest.raises(KarmanError) as caught:
        Jobs(address).find("karman")
    assert says in str(caught.value)
    assert address in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_answer_in_time() -> None:
    with serving(None) as (address, _), pytest.raises(KarmanError, match="timed out"):
        Jobs(address, timeout_s=0.2).find("karman")


@pytest.mark.parametrize("act", [lambda jobs: jobs.submit("karman", "true"), lambda jobs: jobs.delete("karman")])
def test_nobody_listens(act: Callable[[Jobs], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(KarmanError, match="no Ray answers"):
        act(Jobs(address))


def test_a_submission_to_a_path_that_is_not_there_is_an_error() -> None:
    with serving(answer("404 Not Found", b"404: Not Found")) as (address, _), pytest.raises(KarmanError, match="404"):
        Jobs(address).submit("karman", "true")


def test_an_address_without_a_scheme() -> None:
    with pytest.raises(InputError, match="write http://HOST:8265"):
        Jobs("head:8265")
