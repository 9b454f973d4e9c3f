"""The command line's side of the port: whether it is free, and what a pipeline answers there.

Must not know: what the answers say.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any, Final

import orjson

from pipeline.adapters import direct
from pipeline.adapters.web.server import as_json
from pipeline.core.errors import InputError, KarmanError

_HOST: Final = re.compile(r"[^\s/:@?#\[\]]+")


def check_port(host: str, port: int) -> None:
    """See that a port can be listened on.

    Raises:
        InputError: it cannot.
    """
    if check_host(host) != host:
        raise InputError(f"'{host}' is no address to listen on: write --host {check_host(host)}")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a port number"
        raise InputError(f"cannot listen on {host}:{port} ({reason}): choose another port with --port") from error


def check_host(host: str) -> str:
    """A host's name or address, without the brackets of a URL.

    Raises:
        InputError: it is something else, for example with a port.
    """
    bare = host.removeprefix("[").removesuffix("]")
    try:
        if ":" in bare:
            ipaddress.IPv6Address(bare)
        elif not _HOST.fullmatch(bare):
            raise ValueError(bare)
    except ValueError:
        raise InputError(f"'{host}' is no host: write --host HOST --port PORT") from None
    return bare


def url_of(host: str, port: int, path: str = "/") -> str:
    """Where a path of the port is; an IPv6 address is bracketed.

    Raises:
        InputError: that is no host.
    """
    host = check_host(host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"


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
        with direct.opener.open(request, timeout=timeout_s) as response:
            return orjson.loads(response.read())
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            raise InputError(f"{url} asks for a token: give it with --token-file") from error
        if posted is not None and error.code in (HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN):
            raise InputError(error.read().decode(errors="replace").strip()) from error
        raise KarmanError(f"{url} answers {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise KarmanError(f"no pipeline answers at {url} ({reason}): is it running, and on this port?") from error
