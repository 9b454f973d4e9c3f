"""A small HTTP server in a thread of its own, so that a slow client never delays the stream.

Must not know: what the pages say.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from pipeline.adapters.web.guard import Guard
from pipeline.core.errors import InputError, KarmanError

BIND_PATIENCE_S: Final = 10.0  # after a restart the old process may hold the port for a moment


@dataclass(frozen=True, slots=True)
class Body:
    """What a page answers. `packed`: the same as gzip, for those who take it."""

    content_type: str
    plain: bytes
    packed: bytes | None = None

    def response(self, request: web.Request) -> web.Response:
        """For this client."""
        headers = {"Content-Type": self.content_type}
        if self.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(
                body=self.packed, headers={**headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
            )
        return web.Response(body=self.plain, headers=headers)


Page = Callable[[], Body]
Action = Callable[[Any], Body]  # takes what was posted, as JSON; an InputError is answered as 400, a KarmanError as 503
Part = Callable[[web.Application], None]  # adds its routes and tasks


class WebServer:
    """Serves pages until the process ends.

    Args:
        pages: the function that makes each path's page; called in a thread beside the server's.
        token: what clients must send as a bearer token; None lets everybody in.
        actions: what may be posted to. Without a token only from this machine, and never by another site's page.
        parts: what else is served.
        public: paths that need no token.
    """

    def __init__(
        self,
        host: str,
        port: int,
        pages: Mapping[str, Page],
        token: str | None = None,
        actions: Mapping[str, Action] | None = None,
        parts: Collection[Part] = (),
        public: Collection[str] = (),
    ) -> None:
        self._address = (host, port)
        self._guard = Guard(host, token, public)
        self._pages = dict(pages)
        self._actions = dict(actions or {})
        self._parts = parts
        self._bound = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        self._bound.wait(BIND_PATIENCE_S + 5)
        if self._error is not None:
            raise KarmanError(f"cannot listen on {host}:{port}: {self._error.strerror}") from self._error

    def ask_for(self, token: str | None) -> None:
        """From now on this is the token; None lets everybody in."""
        self._guard.token = token

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._guard.middleware()])
        for part in self._parts:
            part(app)
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

    async def _answer(self, request: web.Request) -> web.Response:
        page = self._pages.get(request.path)
        if page is None:
            raise web.HTTPNotFound(text=f"there is: {' '.join(sorted(self._pages))}\n")
        body = await asyncio.to_thread(page)
        return body.response(request)

    async def _act(self, request: web.Request) -> web.Response:
        action = self._actions.get(request.path)
        if action is None:
            raise web.HTTPNotFound(text="nothing can be posted here\n")
        try:
            body = await asyncio.to_thread(action, orjson.loads(await request.read()))
        except (InputError, orjson.JSONDecodeError) as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        except KarmanError as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from error
        return body.response(request)


def as_json(value: Any) -> bytes:
    """JSON; NaN becomes null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
