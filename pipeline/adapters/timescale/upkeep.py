"""What a schema needs while time passes: partitions ahead and retention on plain PostgreSQL, policies on TimescaleDB.

Must not know: what is written, clocks (`now_us` comes in).
"""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from psycopg import sql

from pipeline.adapters.timescale.connection import translated
from pipeline.adapters.timescale.schema import Flavour
from pipeline.adapters.timescale.statements import RECOMPUTE_HOUR, RECOMPUTE_MINUTE
from pipeline.core.config import Storage

log = logging.getLogger(__name__)

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
# Lengths of a partition: short enough that dropping one frees space soon, long enough that there are only hundreds.
PARTITION_S: Final = {
    "cycle": HOUR_S,
    "spectrum": HOUR_S,
    "power_1s": DAY_S,
    "power_1m": 30 * DAY_S,
    "power_1h": 360 * DAY_S,
    "fleet_1s": DAY_S,
}
# What a partition is made with. A second is merged into some times before it is over: leave it room on its page. Rows
# that only come and go with their partition are never vacuumed: that would write each of their pages twice.
_PARTITION_OPTIONS: Final = {
    "power_1s": " WITH (fillfactor = 60)",
    "cycle": " WITH (autovacuum_vacuum_insert_threshold = -1)",
    "spectrum": " WITH (autovacuum_vacuum_insert_threshold = -1)",
}
# Of a partition's index by time; see `Summaries`. Beside its rows, a part costs 0.3 ms to sum up: so it is of 1 MiB.
_OWN_SUMMARIES: Final = "ALTER INDEX {0} SET (autosummarize = off, pages_per_range = 128); REINDEX INDEX {0}"
_BRIN: Final = (
    "pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam AND a.amname = 'brin'"
)
_BY_TIME: Final = f"SELECT c.relname FROM {_BRIN} WHERE i.indrelid = to_regclass(%s)"  # noqa: S608 - our own names alone
_GROWING: Final = (
    "SELECT i.indexrelid::regclass::text, pg_stat_get_tuples_inserted(i.indrelid)"  # noqa: S608
    f" FROM {_BRIN} JOIN pg_inherits h ON h.inhrelid = i.indrelid WHERE h.inhparent = ANY (%s::regclass[])"
)
MINUTES_TOGETHER: Final = 3  # rolled up in a transaction: a minute of a thousand devices takes a second or more
CYCLE_BYTES_PER_DEVICE_S: Final = 21_000  # 180 rows a second of 118 bytes: one hour of a device is 76 MB
_CHUNKS_S: Final = (900, HOUR_S, 6 * HOUR_S, DAY_S)
_OURS: Final = re.compile(r"_p(\d{10})$")  # how a partition's name ends: with the time from which on it holds rows
DROP_WAIT_MS: Final = 200  # for readers of a table; meanwhile others who begin to read it wait behind us
_TIDY_LOCK: Final = 0x74696479
_ROLL_UP_LOCK: Final = 0x726F6C6C


def chunk_s(devices: int, cache_bytes: int) -> int:
    """The chunk interval of `cycle`: what is being written should fit a quarter of the server's cache.

    Rounded down to 15 minutes, 1, 6 or 24 hours; shorter ones would make thousands of chunks, which cost planning.
    """
    fitting = 0.25 * cache_bytes / (max(1, devices) * CYCLE_BYTES_PER_DEVICE_S)
    return max((length for length in _CHUNKS_S if length <= fitting), default=_CHUNKS_S[0])


def index_cycles(connection: psycopg.Connection, settings: Storage, devices: int) -> None:
    """Index cycles by device for small pipelines, and take the index away from large ones.

    With it, half a minute of one phase comes at once however many devices there are; without it, every device's rows of
    that time are looked at. But it makes a COPY take twice as long, which a thousand devices cannot afford; there the
    columnstore, or the roll-ups, answer.

    Partitions and chunks get it that are made from then on: to build it for those that are there would keep storing
    waiting for as long as that takes. While somebody reads the table nothing is done; it is tried again.
    """
    wanted = devices <= settings.indexed_devices
    with translated():
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{DROP_WAIT_MS}ms'")
                alone = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_TIDY_LOCK]).fetchone() == (True,)
                found = connection.execute("SELECT to_regclass('cycle_device_time') IS NOT NULL").fetchone() == (True,)
                if not alone:
                    log.info("another writer sees to the index of cycles by device")
                elif wanted and not found:
                    connection.execute("CREATE INDEX cycle_device_time ON ONLY cycle (device_id, stream_id, time)")
                elif found and not wanted:
                    connection.execute("DROP INDEX cycle_device_time")
        except psycopg.errors.LockNotAvailable:
            log.info("the index of cycles by device is seen to later: somebody reads them")


def retention_s(settings: Storage) -> dict[str, float]:
    """How long each series is kept."""
    return {
        "cycle": settings.keep_cycles_s,
        "spectrum": settings.keep_spectra_s,
        "power_1s": settings.keep_1s_s,
        "power_1m": settings.keep_1m_s,
        "power_1h": settings.keep_1h_s,
        "fleet_1s": settings.keep_1s_s,
    }


def apply_policies(connection: psycopg.Connection, settings: Storage, devices: int) -> None:
    """Set chunk intervals, columnstore, aggregates and retention of a TimescaleDB as the settings say."""
    with translated(), connection.transaction():
        (cache_bytes,) = connection.execute(
            "SELECT pg_size_bytes(current_setting('effective_cache_size'))"
        ).fetchone() or (0,)
        chunk = timedelta(seconds=settings.chunk_s or chunk_s(devices, cache_bytes))
        # A chunk is converted once late rows and a drained spool have had time to arrive: into rowstore they are cheap.
        after = max(2 * chunk, timedelta(seconds=settings.columnstore_after_s))
        for table in ("cycle", "spectrum"):
            connection.execute("SELECT set_chunk_time_interval(%s::regclass, %s)", [table, chunk])
        seconds = max(after, timedelta(hours=12))
        for table, wait in (("cycle", after), ("spectrum", after), ("power_1s", seconds), ("fleet_1s", seconds)):
            connection.execute("CALL remove_columnstore_policy(%s::regclass, if_exists => true)", [table])
            # An explicit schedule: by default short chunks would be looked at only once a day.
            connection.execute(
                "CALL add_columnstore_policy(%s::regclass, after => %s::interval, schedule_interval => %s::interval)",
                [table, wait, max(chunk / 2, timedelta(minutes=10))],
            )
        # A spool may bring rows of long ago. Only what has changed is looked at again; but what is too old to be kept
        # below must not be: what stands above would be made anew of what is left of it.
        seconds_s, minutes_s = settings.keep_1s_s, min(settings.keep_1s_s, settings.keep_1m_s)
        for table, kept_s, end, schedule in (
            ("power_1m", seconds_s, timedelta(minutes=1), timedelta(seconds=30)),
            ("power_1h", minutes_s, timedelta(hours=1), timedelta(minutes=10)),
        ):
            start = max(timedelta(seconds=kept_s - min(DAY_S, kept_s / 2)), 3 * end)  # the least that it takes
            connection.execute("SELECT remove_continuous_aggregate_policy(%s::regclass, if_exists => true)", [table])
            connection.execute(
                "SELECT add_continuous_aggregate_policy(%s::regclass, start_offset => %s::interval,"
                " end_offset => %s::interval, schedule_interval => %s::interval)",
                [table, start, end, schedule],
            )
        for table, kept_s in retention_s(settings).items():
            connection.execute("SELECT remove_retention_policy(%s::regclass, if_exists => true)", [table])
            connection.execute(
                "SELECT add_retention_policy(%s::regclass, drop_after => %s::interval,"
                " schedule_interval => %s::interval)",
                [table, timedelta(seconds=kept_s), timedelta(hours=1)],
            )


class Partitions:
    """The partitions of a plain database: made when rows need them, dropped when all their rows are too old."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def ensure(self, connection: psycopg.Connection, table: str, first_us: int, last_us: int) -> None:
        """See that the table has partitions for the times from `first_us` to `last_us`. Outside any transaction.

        A table that is attached disturbs nobody who reads the others, and waits for none; to create it as a partition
        would wait for every open transaction that has read the whole.
        """
        length = PARTITION_S[table]
        for index in range(first_us // (length * 1_000_000), last_us // (length * 1_000_000) + 1):
            start = datetime.fromtimestamp(index * length, UTC)
            name = f"{table}_p{start:%Y%m%d%H}"
            if name in self._known:
                continue
            try:
                with connection.transaction():
                    if connection.execute("SELECT to_regclass(%s) IS NULL", [name]).fetchone() == (True,):
                        self._make(connection, table, name, start, start + timedelta(seconds=length))
            except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable):
                pass  # another writer was faster
            except psycopg.errors.UndefinedTable:
                return  # the COPY will say so, and its rows go to quarantine
            self._known.add(name)

    def _make(self, connection: psycopg.Connection, table: str, name: str, start: datetime, end: datetime) -> None:
        of = {"name": sql.Identifier(name), "table": sql.Identifier(table)}
        options = sql.SQL(_PARTITION_OPTIONS.get(table, ""))
        connection.execute(
            sql.SQL("CREATE TABLE {name} (LIKE {table} INCLUDING ALL){options}").format(options=options, **of)
        )
        for (index,) in connection.execute(_BY_TIME.encode(), [name]).fetchall():
            connection.execute(sql.SQL(_OWN_SUMMARIES).format(sql.Identifier(index)))
        bounds = {"start": sql.Literal(start), "end": sql.Literal(end)}
        attach = sql.SQL("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})")
        connection.execute(attach.format(**of, **bounds))

    def tidy(self, connection: psycopg.Connection, settings: Storage, now_us: int) -> list[str]:
        """Make the partitions of the next interval, drop those that are too old. Returns the names dropped.

        One is not dropped while somebody reads its table: everybody else would wait with us.
        """
        dropped = []
        for table, kept_s in retention_s(settings).items():
            ahead_us = now_us + PARTITION_S[table] * 1_000_000
            self.ensure(connection, table, now_us, ahead_us)
            oldest = datetime.fromtimestamp(now_us / 1e6 - kept_s - PARTITION_S[table], UTC)
            try:
                with connection.transaction():
                    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_TIDY_LOCK]).fetchone()
                    gone = self._too_old(connection, table, oldest) if row == (True,) else []
                    connection.execute(f"SET LOCAL lock_timeout = '{DROP_WAIT_MS}ms'")
                    for name in gone:
                        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
            except psycopg.errors.LockNotAvailable:
                log.info("old partitions of %s are dropped later: somebody reads it", table)
                continue
            self._known -= {*gone}
            dropped += gone
        return dropped

    def _too_old(self, connection: psycopg.Connection, table: str, oldest: datetime) -> list[str]:
        names = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass ORDER BY 1", [table]
        ).fetchall()
        begun = {name: _OURS.search(name) for (name,) in names}  # what has another name is the operator's own
        return [name for name, at in begun.items() if at and datetime.strptime(at[1] + "+0000", "%Y%m%d%H%z") < oldest]


class Summaries:
    """Sees that the indexes by time (BRIN) know what was stored: who asks for some seconds reads all that they do not.

    PostgreSQL would do that by itself, but for no more than 256 parts of all tables a minute, and it would log each of
    the others together with the whole statement that filled it: a hundred devices fill 126 MB a minute.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] | None = None  # stored in a partition or chunk, by its index

    def renew(self, connection: psycopg.Connection) -> list[str]:
        """Bring the indexes up to date whose tables have grown since the last time. Returns their names.

        The first time only counts. One whose table is busy is left until the next time. Outside any transaction.
        """
        rows: dict[str, int] = dict(connection.execute(_GROWING.encode(), [list(PARTITION_S)]).fetchall())
        connection.commit()
        renewed: list[str] = []
        if self._rows is None:  # who begins does not read what has long been there
            self._rows = rows
            return renewed
        self._rows = known = {name: self._rows.get(name, 0) for name in rows}
        for name in [name for name, count in rows.items() if count > known[name]]:
            try:
                with connection.transaction():
                    connection.execute("SET LOCAL lock_timeout = '100ms'")
                    connection.execute("SELECT brin_summarize_new_values(%s::regclass)", [name])
            except psycopg.Error as error:  # busy, or dropped meanwhile
                if connection.broken or isinstance(error, psycopg.errors.QueryCanceled):
                    raise
                log.info("%s is left until the next time: %s", name, error)
            else:
                known[name] = rows[name]
                renewed.append(name)
        return renewed


def roll_up(
    connection: psycopg.Connection, flavour: Flavour, partitions: Partitions, over_us: int | None = None
) -> int:
    """Compute anew the minutes and hours whose seconds have changed, on plain PostgreSQL. Returns how many minutes.

    Taking a minute off the list and computing it are one transaction, which waits for those that have stored seconds of
    it; a second that comes meanwhile waits until it is over, and puts its minute on the list again.

    Args:
        over_us: only minutes that were over by then. One that goes on would be computed again and again.
    """
    if flavour is not Flavour.PLAIN:
        return 0
    newest = None if over_us is None else datetime.fromtimestamp(over_us / 1e6, UTC) - timedelta(minutes=1)
    rolled_up = 0
    with translated():
        while taken := _roll_up_some(connection, partitions, newest):
            rolled_up += taken
    return rolled_up


def _roll_up_some(connection: psycopg.Connection, partitions: Partitions, newest: datetime | None) -> int:
    """The oldest few, in a transaction: who stores seconds of one of them waits for it, and so does who else rolls up.

    An hour that two computed at once would lack the minutes of one of them.
    """
    due = "SELECT minute FROM rollup_due WHERE minute <= coalesce(%s, minute) ORDER BY minute LIMIT %s"
    with connection.transaction():
        minutes = [minute for (minute,) in connection.execute(due, [newest, MINUTES_TOGETHER])]
    for table in ("power_1m", "power_1h"):
        for minute in minutes:
            at_us = int(minute.timestamp()) * 1_000_000
            partitions.ensure(connection, table, at_us, at_us)
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ROLL_UP_LOCK])
        ours = "SELECT minute FROM rollup_due WHERE minute = ANY(%s) ORDER BY minute FOR UPDATE"
        # Those that no other writer has taken meanwhile.
        taken = [minute for (minute,) in connection.execute(ours, [minutes])]
        connection.execute("DELETE FROM rollup_due WHERE minute = ANY(%s)", [taken])
        for minute in taken:
            connection.execute(RECOMPUTE_MINUTE.encode(), {"start": minute})
        for hour in sorted({minute.astimezone(UTC).replace(minute=0) for minute in taken}):
            connection.execute(RECOMPUTE_HOUR.encode(), {"start": hour})
    return len(minutes)


def prune_gaps(connection: psycopg.Connection, settings: Storage, now_us: int) -> None:
    """Forget gaps and quarantined rows that are older than the one-second roll-ups."""
    oldest = datetime.fromtimestamp(now_us / 1e6 - settings.keep_1s_s, UTC)
    with connection.transaction():
        connection.execute("DELETE FROM gap WHERE noticed < %s", [oldest])
        connection.execute("DELETE FROM quarantine WHERE noticed < %s", [oldest])


def tidy(
    connection: psycopg.Connection,
    flavour: Flavour,
    partitions: Partitions,
    settings: Storage,
    devices: int,
    now_us: int,
) -> None:
    """What is due now and then. On TimescaleDB its own jobs do most of it."""
    index_cycles(connection, settings, devices)
    with translated():
        if flavour is Flavour.PLAIN:
            partitions.tidy(connection, settings, now_us)
        prune_gaps(connection, settings, now_us)
