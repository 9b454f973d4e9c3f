"""Who is let in, and what a browser may do with an answer.

- A bearer token, where one is set, for everything but the page's own files, which hold no data. A browser cannot set a
  header on a WebSocket, so there the token comes as a subprotocol: never in a URL, which logs and histories keep.
- A server on loopback answers only to names of loopback: a foreign page whose name resolves to 127.0.0.1 would
  otherwise be "same origin".
- What changes something, and the socket, are refused to pages of another origin.

Must not know: what the pages say.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
from collections.abc import Collection
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

PROTOCOL: Final = "karman.v1"  # the WebSocket subprotocol
TOKEN_PROTOCOL: Final = "bearer."  # noqa: S105 - followed by the token in base64url without padding
HEADERS: Final = {
    # Everything from here, nothing inline: what a device's name contains can never run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """The middleware of the whole port.

    Args:
        host: the address that is listened on.
        token: what clients must send; None lets everybody in.
        public: paths that need no token.
    """

    def __init__(self, host: str, token: str | None, public: Collection[str] = ()) -> None:
        self._loopback_only = _is_loopback(host)
        self.token = token
        self._public = frozenset(public)

    def middleware(self) -> Middleware:
        """For `web.Application(middlewares=[...])`."""

        @web.middleware
        async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
            try:
                self._check(request)
                response = await handler(request)
            except web.HTTPException as refusal:
                refusal.headers.update(HEADERS)
                raise
            if not response.prepared:
                response.headers.update(HEADERS)
            return response

        return check

    def _check(self, request: web.Request) -> None:
        try:
            host = request.url.host
        except ValueError as error:
            raise web.HTTPBadRequest(text="the Host header names no host\n") from error
        if self._loopback_only and not _names_this_machine(host):
            raise web.HTTPForbidden(text="this server listens on loopback: ask for 127.0.0.1 or localhost\n")
        if self.token is not None and request.path not in self._public:
            offered = [request.headers.get("Authorization", ""), f"Bearer {_from_protocol(request)}"]
            wanted = f"Bearer {self.token}".encode()
            # A header may hold any bytes: what is no UTF-8 is no token either.
            if not any(hmac.compare_digest(word.encode("utf-8", "surrogateescape"), wanted) for word in offered):
                raise web.HTTPUnauthorized(text="a bearer token is asked for\n", headers={"WWW-Authenticate": "Bearer"})
        posted = request.method not in ("GET", "HEAD")
        if posted and request.content_type != "application/json":  # a plain form of any site could be sent unasked
            raise web.HTTPUnsupportedMediaType(text="post JSON, as application/json\n")
        origin = request.headers.get("Origin")
        acting = posted or "Upgrade" in request.headers
        if acting and origin is not None and origin.partition("://")[2] != request.host:
            raise web.HTTPForbidden(text="another site's page may not do this\n")
        if posted and self.token is None and not (_is_loopback(request.remote) and _names_this_machine(host)):
            raise web.HTTPForbidden(text="only this machine may do this, unless a token is set: --token-file\n")


def _from_protocol(request: web.Request) -> str:
    for offered in request.headers.get("Sec-WebSocket-Protocol", "").split(","):
        word = offered.strip()
        if word.startswith(TOKEN_PROTOCOL):
            encoded = word.removeprefix(TOKEN_PROTOCOL)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except ValueError:
                return ""
    return ""


def _is_loopback(address: str | None) -> bool:
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _names_this_machine(host: str | None) -> bool:
    """Whether a host is localhost or an address: a name could be anybody's, made to point here."""
    if host is None or host == "localhost":
        return host is not None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
