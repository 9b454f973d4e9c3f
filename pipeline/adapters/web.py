"""HTTP: a small server in a thread of its own, so that a slow client never delays the stream. The importer of aiohttp.

Must not know: what the pages say.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web

from pipeline.core.errors import InputError, KarmanError

BIND_PATIENCE_S: Final = 10.0  # after a restart the old process may hold the port for a moment


@dataclass(frozen=True, slots=True)
class Body:
    """What a page answers. `packed`: the same as gzip, for those who take it."""

    content_type: str
    plain: bytes
    packed: bytes | None = None


Page = Callable[[], Body]
Action = Callable[[Any], Body]  # takes what was posted, as JSON; an InputError is answered as 400, a KarmanError as 503


class WebServer:
    """Serves pages until the process ends.

    Args:
        pages: the function that makes each path's page; called in a thread beside the server's.
        token: what clients must send as a bearer token; None lets everybody in.
        actions: what may be posted to. Without a token only from this machine, and never by another site's page.
    """

    def __init__(
        self,
        host: str,
        port: int,
        pages: Mapping[str, Page],
        token: str | None = None,
        actions: Mapping[str, Action] | None = None,
    ) -> None:
        self._address = (host, port)
        self._token = token
        self._pages = dict(pages)
        self._actions = dict(actions or {})
        self._bound = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        self._bound.wait(BIND_PATIENCE_S + 5)
        if self._error is not None:
            raise KarmanError(f"cannot listen on {host}:{port}: {self._error.strerror}") from self._error

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        app.router.add_post("/{path:.*}", self._act)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        deadline_s = time.monotonic() + BIND_PATIENCE_S
        while True:
            try:
                await web.TCPSite(runner, *self._address, reuse_address=True).start()
                break
            except OSError as error:
                if time.monotonic() > deadline_s:
                    self._error = error
                    self._bound.set()
                    return
                await asyncio.sleep(0.2)
        self._bound.set()
        await asyncio.Event().wait()

    async def _act(self, request: web.Request) -> web.Response:
        self._check_token(request)
        action = self._actions.get(request.path)
        if action is None:
            raise web.HTTPNotFound(text="nothing can be posted here\n")
        self._check_origin(request)
        try:
            body = await asyncio.to_thread(action, orjson.loads(await request.read()))
        except (InputError, orjson.JSONDecodeError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        except KarmanError as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from error
        return web.Response(body=body.plain, headers={"Content-Type": body.content_type})

    def _check_token(self, request: web.Request) -> None:
        if self._token is not None:
            offered = request.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(offered, f"Bearer {self._token}".encode()):
                raise web.HTTPUnauthorized(text="a bearer token is asked for\n", headers={"WWW-Authenticate": "Bearer"})

    def _check_origin(self, request: web.Request) -> None:
        """Refuse what a page of another site makes a browser send, also under a name that it lets point to us."""
        if request.content_type != "application/json":  # a plain form of any site could be sent unasked
            raise web.HTTPUnsupportedMediaType(text="post JSON, as application/json\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise web.HTTPForbidden(text="another site's page may not do this\n")
        if self._token is None and not (_is_loopback(request.remote) and _names_this_machine(request.url.host)):
            raise web.HTTPForbidden(text="only this machine may do this, unless a token is set: --token-file\n")

    async def _answer(self, request: web.Request) -> web.Response:
        self._check_token(request)
        page = self._pages.get(request.path)
        if page is None:
            raise web.HTTPNotFound(text=f"there is: {' '.join(sorted(self._pages))}\n")
        body = await asyncio.to_thread(page)
        headers = {"Content-Type": body.content_type, "X-Content-Type-Options": "nosniff"}
        if body.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(
                body=body.packed, headers={**headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            )
        return web.Response(body=body.plain, headers=headers)


def _is_loopback(address: str | None) -> bool:
    return address is not None and ipaddress.ip_address(address).is_loopback


def _names_this_machine(host: str | None) -> bool:
    """Whether a host is localhost or an address: a name could be anybody's, made to point here."""
    if host is None or host == "localhost":
        return host is not None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def as_json(value: Any) -> bytes:
    """JSON; NaN becomes null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def check_port(host: str, port: int) -> None:
    """See that a port can be listened on.

    Raises:
        InputError: it cannot.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a port number"
        raise InputError(f"cannot listen on {host}:{port} ({reason}): choose another port with --port") from error


def get_json(url: str, token: str | None = None, timeout_s: float = 3.0, posted: Any = None) -> Any:
    """Read a JSON document, or post one and read the answer.

    Raises:
        InputError: it asks for a token, or does not take what was posted.
        KarmanError: nobody answers there, or not with JSON.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if posted is not None:
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, None if posted is None else as_json(posted), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - the caller's own http:// URL
            return orjson.loads(response.read())
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            raise InputError(f"{url} asks for a token: give it with --token-file") from error
        if posted is not None and error.code in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN):
            raise InputError(error.read().decode(errors="replace").strip()) from error
        raise KarmanError(f"{url} answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise KarmanError(f"no pipeline answers at {url} ({reason}): is it running, and on this port?") from error
