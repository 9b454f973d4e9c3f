"""A TimescaleDB's jobs on our series, run from here where its own scheduler fails at them.

They pack, roll up and drop chunks; where they fail nobody is told, the dashboards' minutes stay empty and the disk
fills. It happens with a PostgreSQL that is newer than the TimescaleDB (2.28.3 ends no job on PostgreSQL 15.20), and
where the server has too few background workers.

Must not know: what the jobs do.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Final

import psycopg

from pipeline.adapters.timescale.beside import Beside
from pipeline.adapters.timescale.upkeep import PARTITION_S

log = logging.getLogger(__name__)

LOOK_S: Final = 10.0  # the most frequent job, the minutes, is due every 30 s
LATE_S: Final = 600.0  # so long after its time a job was not started at all: there is no worker for it
_LOCK: Final = 0x6A6F6273  # one of all pipelines on a database looks
_FAILING: Final = """
SELECT job_id, extract(epoch FROM schedule_interval)::float8, coalesce((
    SELECT err_message FROM timescaledb_information.job_errors AS errors
    WHERE errors.job_id = s.job_id ORDER BY finish_time DESC LIMIT 1
), 'it is not started')
FROM timescaledb_information.job_stats s JOIN timescaledb_information.jobs j USING (job_id)
WHERE j.hypertable_name = ANY(%(series)s) AND job_status = 'Scheduled'
    AND (last_run_status = 'Failed' OR coalesce(s.next_start, %(begun)s) < now() - make_interval(secs => %(late)s))
"""


def failing(connection: psycopg.Connection, begun: datetime | None = None) -> list[tuple[int, float, str]]:
    """The jobs at which the scheduler fails: number, seconds between runs, what it says.

    `begun`: since when those have been there of which it does not even know when to start them, if that is known.
    """
    return connection.execute(_FAILING, {"series": list(PARTITION_S), "late": LATE_S, "begun": begun}).fetchall()


class JobKeeper:
    """Looks after the jobs in a thread and on a connection of its own: packing a chunk takes as long as it takes."""

    def __init__(self, dsn: str) -> None:
        self.failing = 0  # jobs at which the scheduler fails
        self._begun = datetime.now(UTC)
        self._due_s: dict[int, float] = {}
        self._beside = Beside(dsn, "jobs", LOOK_S, self._look)

    def close(self) -> None:
        """Look no more; a job that is being run is broken off."""
        self._beside.close()

    def _look(self, connection: psycopg.Connection) -> None:
        if connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone() != (True,):
            return
        found = failing(connection, self._begun)
        if found and not self.failing:
            log.warning("the database fails at %d of its jobs (%s): they are run from here", len(found), found[0][2])
        self.failing = len(found)
        for job, every_s, _ in found:
            if self._due_s.get(job, 0.0) <= time.monotonic() and not self._beside.closing:
                self._due_s[job] = time.monotonic() + every_s
                connection.execute("CALL run_job(%s)", [job])
