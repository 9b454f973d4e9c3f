"""HTTP: a small server in a thread of its own, so that a slow client never delays the stream. The importer of aiohttp.

Must not know: what the pages say.
"""

from __future__ import annotations

import asyncio
import hmac
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


class WebServer:
    """Serves pages until the process ends.

    Args:
        pages: the function that makes each path's page; called in a thread beside the server's.
        token: what clients must send as a bearer token; None lets everybody in.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, Page], token: str | None = None) -> None:
        self._address = (host, port)
        self._token = token
        self._pages = dict(pages)
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

    async def _answer(self, request: web.Request) -> web.Response:
        if self._token is not None:
            offered = request.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(offered, f"Bearer {self._token}".encode()):
                raise web.HTTPUnauthorized(text="a bearer token is asked for\n", headers={"WWW-Authenticate": "Bearer"})
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


def get_json(url: str, token: str | None = None, timeout_s: float = 3.0) -> Any:
    """Read a JSON document.

    Raises:
        KarmanError: nobody answers there, or not with JSON.
    """
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - the caller's own http:// URL
            return orjson.loads(response.read())
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            raise InputError(f"{url} asks for a token: give it with --token-file") from error
        raise KarmanError(f"{url} answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise KarmanError(f"no pipeline answers at {url} ({reason}): is it running, and on this port?") from error
