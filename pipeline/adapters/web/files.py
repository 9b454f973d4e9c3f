"""The live page's own files, from `pipeline/page`, read once and served from memory.

Must not know: what is in them.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from aiohttp import web

from pipeline.adapters.web.server import Body

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Files:
    """Serves every file of the page; `paths` says where."""

    def __init__(self) -> None:
        self._bodies: Mapping[str, tuple[str, Body]] = {
            path: (f'"{hashlib.sha256(data).hexdigest()[:16]}"', Body(kind, data, gzip.compress(data, 6, mtime=0)))
            for path, kind, data in _read(resources.files("pipeline").joinpath("page"), "/")
        }
        self.paths = frozenset(self._bodies)

    def __call__(self, app: web.Application) -> None:
        """Add the routes."""
        for path in self._bodies:
            app.router.add_get(path, self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        tag, body = self._bodies[request.path]
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers={"ETag": tag})
        response = body.response(request)
        response.headers.update({"ETag": tag, "Cache-Control": "no-cache"})  # a new version shows at once
        return response


def _read(folder: Traversable, path: str) -> Iterator[tuple[str, str, bytes]]:
    for entry in folder.iterdir():
        suffix = entry.name[entry.name.rfind(".") :]
        if entry.is_dir():
            yield from _read(entry, f"{path}{entry.name}/")
        elif suffix in TYPES:
            where = path if entry.name == "index.html" else f"{path}{entry.name}"
            yield where, TYPES[suffix], entry.read_bytes()
