"""Connecting, and the translation of psycopg's errors into ours.

Must not know: what is stored.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import psycopg
from psycopg import conninfo

from pipeline.core.errors import InputError, RefusedError, StorageError

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 10_000  # a COPY of a second of a fleet takes well under one: longer means it is stuck
_OPTIONS: Final = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout=30s -c timezone=UTC"
)

PATIENCE_S: Final = STATEMENT_TIMEOUT_MS / 1000 + 5.0  # for an answer: before, the server gives up by itself
_LOOK_S: Final = 0.1  # psycopg's own, between two looks for signals

# What the rows are to blame for: data exceptions, broken constraints, missing tables and columns. All else (no
# connection, no disk, no right to write, a lock, a time-out) may be over by itself.
_REFUSED_CLASSES: Final = ("22", "23", "42")
_NOT_REFUSED: Final = ("42501",)  # insufficient privilege: an operator can grant it


class Connection(psycopg.Connection[Any]):
    """A connection whose server has to answer.

    One that is frozen, or whose storage is, goes on to acknowledge what TCP brings, and waits with us for ever.
    """

    patience_s: float | None = PATIENCE_S  # None for statements that take as long as they take

    def wait(self, gen: Any, interval: float = _LOOK_S, timeout: float | None = None) -> Any:
        """As psycopg's, which every statement goes through.

        Raises:
            OperationalError: no answer came; the connection is closed.
        """
        began_s = time.monotonic()
        patience_s = self.patience_s if timeout is None else timeout
        try:
            return super().wait(gen, interval, patience_s)
        except psycopg.OperationalError as error:
            if timeout is None and patience_s is not None and time.monotonic() - began_s >= patience_s:
                self.pgconn.finish()
                raise psycopg.OperationalError(f"the server does not answer for {patience_s:g} s") from error
            raise


def describe(dsn: str) -> str:
    """The DSN without its password, for people."""
    try:
        parts = conninfo.conninfo_to_dict(dsn)
    except psycopg.Error:
        return "the given DSN"
    if _misread(parts):
        return "the given DSN"
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def _misread(parts: Mapping[str, Any]) -> bool:
    """Whether a part of the password, or of the user, was taken for something else."""
    places = "".join(str(parts.get(name, "")) for name in ("host", "dbname"))
    return "@" in places or not re.fullmatch(r"[\d,]*", str(parts.get("port", "")))


def connect(dsn: str) -> Connection:
    """A connection with the pipeline's time-outs.

    Raises:
        InputError: the DSN is not one.
        StorageError: nobody answers, or the login is refused.
    """
    try:
        parts = conninfo.conninfo_to_dict(dsn)
        complete = conninfo.make_conninfo(
            dsn,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="karman",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=10_000,
            options=f"{parts.get('options', '')} {_OPTIONS}",
        )
        misread = _misread(parts)
    except psycopg.ProgrammingError:
        # Not its message: it repeats the DSN, and with it the password.
        raise InputError("the DSN cannot be read: write postgresql://USER@HOST:PORT/DATABASE") from None
    if misread:
        raise InputError("the DSN cannot be read: write a / in the password as %2F, an @ as %40, a : as %3A")
    try:
        return Connection.connect(complete)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        refused = "FATAL" in str(error)  # somebody answered, and does not want us: waiting does not help
        raise StorageError(f"cannot connect to the database at {describe(dsn)}: {reason}", answered=refused) from error


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into `RefusedError` or `StorageError`."""
    try:
        yield
    except psycopg.Error as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if is_refusal(error):
            raise RefusedError(f"the database refused: {reason}") from error
        raise StorageError(f"the database failed: {reason}") from error


def is_refusal(error: psycopg.Error) -> bool:
    """Whether the same rows would be refused again."""
    state = error.sqlstate or ""
    return state.startswith(_REFUSED_CLASSES) and state not in _NOT_REFUSED
