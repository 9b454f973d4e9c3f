"""Keeps minutes, hours and the indexes by time up with what is stored, while storing goes on."""

from __future__ import annotations

import time
from typing import Final

import psycopg
from psycopg import sql

from pipeline.adapters.timescale.beside import Beside, unhurried
from pipeline.adapters.timescale.connection import translated
from pipeline.adapters.timescale.schema import Flavour
from pipeline.adapters.timescale.upkeep import Partitions, Summaries, roll_up
from pipeline.core.config import Storage

SETTLED_US: Final = 10_000_000  # a minute is rolled up when it has been over so long: then nearly all of it is stored
FINISH_MS: Final = 30_000  # at the end, for each level: others wait for the pipeline's last words
SUMMARIZE_S: Final = 60.0  # who asks for the last seconds reads the last minute: 80 MB of 60 devices


class SeriesKeeper:
    """Looks after the series of one database, in a thread and on a connection of its own."""

    def __init__(self, dsn: str, flavour: Flavour, settings: Storage) -> None:
        self._dsn = dsn
        self._flavour = flavour
        self._partitions = Partitions()
        self._summaries = Summaries()
        self._summarize_at_s = 0.0
        self._beside = Beside(dsn, "roll-ups", settings.roll_up_s, self._look)

    def finish(self) -> None:
        """At the end: roll up the minute that is not over, too.

        Raises:
            KarmanError: it cannot be done now; the next pipeline does it.
        """
        with translated(), unhurried(self._dsn) as connection:
            connection.execute(sql.SQL("SET statement_timeout = {}").format(FINISH_MS))
            connection.patience_s = FINISH_MS / 1000 + 5.0
            roll_up(connection, self._flavour, self._partitions)

    def close(self) -> None:
        """Look no more."""
        self._beside.close()

    def _look(self, connection: psycopg.Connection) -> None:
        roll_up(connection, self._flavour, self._partitions, time.time_ns() // 1000 - SETTLED_US)
        if time.monotonic() >= self._summarize_at_s:
            self._summarize_at_s = time.monotonic() + SUMMARIZE_S
            self._summaries.renew(connection)
