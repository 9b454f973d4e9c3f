"""The HTTP port: pages, gzip for those who take it, and a bearer token where one is set."""

from __future__ import annotations

import gzip
import socket
import urllib.error
import urllib.request

import pytest

from pipeline.adapters.web import Body, WebServer, get_json
from pipeline.core.errors import InputError, KarmanError

PAGE = b"karman_build_info 1.0\n"


def serve(token: str | None) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    WebServer(
        "127.0.0.1",
        port,
        {
            "/metrics": lambda: Body("text/plain", PAGE, gzip.compress(PAGE)),
            "/api/v1/status": lambda: Body("application/json", b'{"version": 1}'),
        },
        token,
    )
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def free() -> str:
    return serve(None)


@pytest.fixture(scope="module")
def guarded() -> str:
    return serve("secret-word")


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def test_a_page_comes_packed_for_those_who_take_it(free: str) -> None:
    assert get(f"{free}/metrics")[::2] == (200, PAGE)
    status, headers, body = get(f"{free}/metrics", Accept_Encoding="gzip, deflate")
    assert (status, headers["Content-Encoding"], gzip.decompress(body)) == (200, "gzip", PAGE)
    assert get(f"{free}/api/v1/status", Accept_Encoding="gzip")[2] == b'{"version": 1}'
    status, _, body = get(f"{free}/nothing")
    assert (status, b"/metrics" in body) == (404, True)


@pytest.mark.parametrize("offered", [None, "Bearer", "Bearer secret-wor", "secret-word", "Basic c2VjcmV0LXdvcmQ="])
def test_without_the_token_nothing_is_answered(guarded: str, offered: str | None) -> None:
    for path in ("/metrics", "/api/v1/status", "/nothing"):
        status, headers, body = get(f"{guarded}{path}", **({"Authorization": offered} if offered else {}))
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert b"karman" not in body


def test_with_the_token_everything_is(guarded: str) -> None:
    assert get(f"{guarded}/metrics", Authorization="Bearer secret-word")[::2] == (200, PAGE)
    assert get_json(f"{guarded}/api/v1/status", "secret-word") == {"version": 1}
    with pytest.raises(InputError, match="--token-file"):
        get_json(f"{guarded}/api/v1/status")
    with pytest.raises(KarmanError, match="404"):
        get_json(f"{guarded}/nothing", "secret-word")
