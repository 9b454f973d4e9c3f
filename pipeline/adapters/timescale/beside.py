"""A thread with a connection of its own, for what must not keep storing waiting.

Must not know: what is done there.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg

from pipeline.adapters.timescale.connection import Connection, connect, translated
from pipeline.core.errors import KarmanError

CLOSE_S: Final = 10.0  # a server that is frozen breaks nothing off; the thread ends with its process
log = logging.getLogger(__name__)


def unhurried(dsn: str) -> Connection:
    """A connection whose statements take as long as they take, each a transaction of its own."""
    connection = connect(dsn)
    connection.autocommit = True
    connection.execute("SET statement_timeout = 0")
    connection.patience_s = None
    return connection


class Beside:
    """Calls `look(connection)` every so often. Where the database is away, it is called again when it is back.

    Args:
        name: what is looked after, for the log.
    """

    def __init__(self, dsn: str, name: str, every_s: float, look: Callable[[psycopg.Connection], None]) -> None:
        self._dsn = dsn
        self._name = name
        self._every_s = every_s
        self._look = look
        self._connection: psycopg.Connection | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def closing(self) -> bool:
        """Whether it is to end."""
        return self._closing.is_set()

    def close(self) -> None:
        """Look no more; what is being done is broken off."""
        self._closing.set()
        deadline_s = time.monotonic() + CLOSE_S
        while self._thread.is_alive() and time.monotonic() < deadline_s:  # again: there may be a next statement
            connection = self._connection
            if connection is not None:
                with contextlib.suppress(psycopg.Error):
                    connection.cancel_safe(timeout=1.0)
            self._thread.join(0.2)

    def _run(self) -> None:
        while not self._closing.wait(self._every_s):
            try:
                with translated():
                    if self._connection is None:
                        self._connection = unhurried(self._dsn)
                    self._look(self._connection)
            except KarmanError as error:  # the deposit says it where the database is away
                log.info("the %s were not looked after: %s", self._name, error)
                self._disconnect()
            except Exception:
                log.exception("the %s go on", self._name)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
