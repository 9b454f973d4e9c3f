"""The live page's WebSocket at /api/v1/live: what a viewer asks for, and what is sent to it.

Must not know: where cycles come from.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import WSMsgType, web

from pipeline.adapters.web.feed import LONGEST_US, Feed, Viewer
from pipeline.adapters.web.guard import PROTOCOL

PATH: Final = "/api/v1/live"
VIEWERS: Final = 32  # each costs up to ten calls a second and 20 MB of queue; more people look at Grafana
LARGEST_MESSAGE: Final = 4096  # what a viewer may say: a device's name and a few numbers
HEARTBEAT_S: Final = 20.0  # one that does not answer so long, or does not read, is gone
LONGEST_SEND_S: Final = 20.0


class LiveSocket:
    """Serves viewers from a feed. A part of a `WebServer`."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __call__(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get(PATH, self._serve)
        app.cleanup_ctx.append(self._run)

    async def _run(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._feed.run())
        yield
        task.cancel()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if len(self._feed.viewers) >= VIEWERS:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"{VIEWERS} viewers look on already\n")
        socket = web.WebSocketResponse(
            protocols=(PROTOCOL,), heartbeat=HEARTBEAT_S, max_msg_size=LARGEST_MESSAGE, compress=False
        )
        await socket.prepare(request)
        viewer = Viewer()
        self._feed.join(viewer)
        tasks = [asyncio.create_task(self._send(socket, viewer))]
        try:
            self._feed.tell(viewer)
            async for message in socket:
                if message.type is not WSMsgType.TEXT or not self._wish(viewer, message.data, tasks):
                    await socket.close(code=1008, message=b"not understood")
        finally:
            self._feed.leave(viewer)
            for task in tasks:
                task.cancel()
        return socket

    def _wish(self, viewer: Viewer, text: str, tasks: list[asyncio.Task[Any]]) -> bool:
        """Do what a viewer asks for; False where it cannot be understood."""
        try:
            wish = orjson.loads(text)
            if not isinstance(wish, dict):
                return False
            if "fleet" in wish:
                viewer.fleet, viewer.fleet_known = bool(wish["fleet"]), ()
                self._feed.tell(viewer)
            if "watch" in wish:
                device, window_s = wish["watch"], wish.get("window_s", 10)
                if not (device is None or isinstance(device, str)) or not 0 < window_s <= LONGEST_US / 1e6:
                    return False
                for task in tasks[1:]:  # what it asked for before is not wanted any more
                    task.cancel()
                tasks[1:] = [asyncio.create_task(self._feed.watch(viewer, device, int(window_s * 1e6)))]
        except (ValueError, TypeError):
            return False
        return True

    @staticmethod
    async def _send(socket: web.WebSocketResponse, viewer: Viewer) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            while True:
                item = await viewer.next()
                sending = socket.send_str(item) if isinstance(item, str) else socket.send_bytes(item)
                await asyncio.wait_for(sending, LONGEST_SEND_S)
        await socket.close()
