"""A TCP proxy in front of PostgreSQL that cuts connections when it is told to, also at the very COMMIT."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable

from psycopg import conninfo


class Proxy:
    """Forwards to a server given by DSN, over its unix socket or TCP.

    `cut` is asked at each COMMIT: None lets it pass; "before" cuts instead of forwarding it, "after" forwards it and
    cuts before the answer. `data_cut` is asked at each larger block, which is COPY data. `open` False refuses all.
    While `frozen` it takes what comes, and nobody answers.
    """

    def __init__(self, dsn: str) -> None:
        parts = conninfo.conninfo_to_dict(dsn)
        self._host, self._port = str(parts["host"]), int(parts.get("port") or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.open = True
        self.frozen = False
        self.cut: Callable[[], str | None] = lambda: None
        self.data_cut: Callable[[], bool] = lambda: False
        self.cuts = 0
        self._random = random.Random(3)  # its own: hypothesis watches the shared one
        self._mute: set[socket.socket] = set()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.dsn = conninfo.make_conninfo(dsn, host="127.0.0.1", port=self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.open = False
        self._listener.close()
        self.sever()

    def sever(self) -> None:
        """Cut every connection now."""
        for pair in self._pairs:
            for side in pair:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self.open:
                client.close()
                continue
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            self._pairs.append((client, server))
            threading.Thread(target=self._upstream, args=(client, server), daemon=True).start()
            threading.Thread(target=self._downstream, args=(client, server), daemon=True).start()

    def _connect(self) -> socket.socket:
        if self._host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._host}/.s.PGSQL.{self._port}")
            return server
        return socket.create_connection((self._host, self._port))

    def _upstream(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                while self.frozen:
                    time.sleep(0.01)
                if b"COMMIT" in data:
                    how = self.cut()
                    self.cuts += how is not None
                    if how == "after":
                        self._mute.add(server)
                    elif how:
                        break
                elif len(data) > 4000 and self.data_cut():
                    self.cuts += 1
                    server.sendall(data[: self._random.randrange(len(data))])
                    break
                server.sendall(data)
        self._drop(client, server)

    def _downstream(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if server in self._mute:  # the server has answered COMMIT: it is done, and the client will not know
                    break
                client.sendall(data)
        self._drop(client, server)

    def _drop(self, *sides: socket.socket) -> None:
        for side in sides:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
