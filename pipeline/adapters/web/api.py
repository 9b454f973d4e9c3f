"""The JSON API: devices, their figures, their cycles. docs/live-page.md describes it.

Must not know: where cycles come from.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from pipeline.adapters.web.feed import LONGEST_US, Feed
from pipeline.adapters.web.server import as_json
from pipeline.core.cycles import as_document
from pipeline.core.errors import KarmanError

_SPAN: Final = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(ms|s|m)?")
_UNIT_US: Final = {"ms": 1e3, "s": 1e6, "m": 60e6, None: 1e6}


class Api:
    """Answers from a feed. A part of a `WebServer`."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __call__(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/api/v1/devices", self._devices)
        app.router.add_get("/api/v1/devices/{device:.+}/now", self._now)
        app.router.add_get("/api/v1/devices/{device:.+}/cycles", self._cycles)

    async def _devices(self, _: web.Request) -> web.Response:
        figures = self._feed.source.figures()
        return _json({**self._feed.source.about(), "devices": figures.rows() if figures else []})

    async def _now(self, request: web.Request) -> web.Response:
        return _json({**self._feed.source.about(), **self._figures(request)})

    async def _cycles(self, request: web.Request) -> web.Response:
        said = self._figures(request)
        span_us = _span_us(request.query.get("last", "10s"))
        try:
            cycles = await self._feed.cycles(said["device"], span_us)
        except KarmanError as error:
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from error
        document = {"device": said["device"], **as_document(cycles, self._feed.source.streams)}
        body = await asyncio.to_thread(as_json, document)  # five minutes are 5 MB
        return web.Response(body=body, content_type="application/json")

    def _figures(self, request: web.Request) -> Mapping[str, Any]:
        figures = self._feed.source.figures()
        if figures is None:
            raise web.HTTPServiceUnavailable(text="the pipeline is starting: ask again in a second\n")
        said = figures.of(request.match_info["device"])
        if said is None:
            raise web.HTTPNotFound(text="there is no device of that name: /api/v1/devices lists them\n")
        return said


def _json(value: Mapping[str, Any]) -> web.Response:
    return web.Response(body=as_json(value), content_type="application/json")


def _span_us(text: str) -> int:
    found = _SPAN.fullmatch(text)
    span_us = float(found[1]) * _UNIT_US[found[2]] if found else 0.0
    if not 0 < span_us <= LONGEST_US:
        raise web.HTTPBadRequest(text="'last' is a time such as 10s, 500ms or 5m, at most 5m\n")
    return int(span_us)
