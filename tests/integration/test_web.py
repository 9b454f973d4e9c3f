"""The HTTP port: pages, gzip for those who take it, and a bearer token where one is set."""

from __future__ import annotations

import gzip
import socket
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipeline.adapters.web import Body, WebServer, check_port, get_json, url_of
from pipeline.core.errors import InputError, KarmanError
from tests.ports import free_port

JSON = {"Content_Type": "application/json"}
PAGE = b"karman_build_info 1.0\n"


def act(wanted: Any) -> Body:
    if wanted == {"recording": "sample2"}:
        return Body("application/json", b'{"recording": "sample2"}')
    raise (InputError if "recording" in wanted else KarmanError)("not that one")


def serve(token: str | None) -> str:
    port = free_port()
    WebServer(
        "127.0.0.1",
        port,
        {
            "/metrics": lambda: Body("text/plain", PAGE, gzip.compress(PAGE)),
            "/api/v1/status": lambda: Body("application/json", b'{"version": 1}'),
        },
        token,
        {"/api/v1/replay": act},
    )
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def free() -> str:
    return serve(None)


@pytest.fixture(scope="module")
def guarded() -> str:
    return serve("secret-word")


def get(url: str, posted: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, posted, {name.replace("_", "-"): value for name, value in headers.items()})
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


@pytest.mark.parametrize(
    "offered", [None, "Bearer", "Bearer secret-wor", "secret-word", "Basic c2VjcmV0LXdvcmQ=", "Bearer \xff\xfe"]
)
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


def test_no_proxy_is_given_the_token(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert get_json(f"{guarded}/api/v1/status", "secret-word") == {"version": 1}


def test_whoever_speaks_no_http_is_no_pipeline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get_json, url_of(*server.getsockname()))
        with server.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(b"-ERR unknown command\r\n")
        with pytest.raises(KarmanError, match="no pipeline answers"):
            asked.result(10)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("pdu", "http://pdu:9105/x"),
        ("10.0.0.7", "http://10.0.0.7:9105/x"),
        ("::1", "http://[::1]:9105/x"),
        ("[::1]", "http://[::1]:9105/x"),
    ],
)
def test_an_address_is_written_as_urls_want_it(host: str, url: str) -> None:
    assert url_of(host, 9105, "/x") == url


@pytest.mark.parametrize("host", ["127.0.0.1:9105", "localhost:9105", "http://localhost", "a host", ""])
def test_what_is_no_host_is_said(host: str) -> None:
    with pytest.raises(InputError, match="write --host HOST --port PORT"):
        url_of(host, 9105)
    with pytest.raises(InputError, match="write --host HOST --port PORT"):
        check_port(host, 9105)


def test_an_address_to_listen_on_has_no_brackets() -> None:
    with pytest.raises(InputError, match="write --host ::1"):
        check_port("[::1]", 9105)


def test_a_token_may_be_replaced_while_it_serves() -> None:
    port = free_port()
    server = WebServer("127.0.0.1", port, {"/metrics": lambda: Body("text/plain", PAGE)}, "old-word")
    url = url_of("127.0.0.1", port, "/metrics")
    assert get(url, Authorization="Bearer old-word")[0] == 200
    server.ask_for("new-word")
    assert get(url, Authorization="Bearer old-word")[0] == 401
    assert get(url, Authorization="Bearer new-word")[0] == 200


def test_what_is_posted_is_done_and_answered(free: str, guarded: str) -> None:
    url = f"{free}/api/v1/replay"
    assert get_json(url, posted={"recording": "sample2"}) == {"recording": "sample2"}
    with pytest.raises(InputError, match="not that one"):
        get_json(url, posted={"recording": "sample9"})
    with pytest.raises(KarmanError, match="503"):
        get_json(url, posted={})
    assert get(url, b"{no json", **JSON)[0] == 400
    assert get(url)[0] == 404
    assert get(f"{free}/metrics", b"{}", **JSON)[0] == 404
    body = b'{"recording": "sample2"}'
    assert get(f"{guarded}/api/v1/replay", body, **JSON)[0] == 401
    assert get(f"{guarded}/api/v1/replay", body, Authorization="Bearer secret-word", **JSON)[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({**JSON, "Origin": "http://elsewhere.example"}, 403),
        ({**JSON, "Origin": "null"}, 403),
        ({**JSON, "Host": "rebound.example"}, 403),
        ({**JSON, "Host": "rebound.example", "Origin": "http://rebound.example"}, 403),
    ],
)
def test_another_sites_page_can_post_nothing(free: str, headers: dict[str, str], status: int) -> None:
    assert get(f"{free}/api/v1/replay", b'{"recording": "sample2"}', **headers)[0] == status


def test_our_own_page_can_post(free: str) -> None:
    assert get(f"{free}/api/v1/replay", b'{"recording": "sample2"}', Origin=free, **JSON)[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("LocalHost", 200),
        ("[::1]:9105", 200),
        ("127.0.0.1.rebound.example", 403),
        ("rebound.example:9105", 403),
        ("0x7f.1", 403),
        ("127.0.0.1:99999999", 400),
        ("a b[", 400),
    ],
)
def test_a_server_on_loopback_answers_to_no_foreign_name(free: str, host: str, status: int) -> None:
    assert get(f"{free}/metrics", Host=host)[0] == status
