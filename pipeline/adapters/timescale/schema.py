"""The schema, by migrations: SQL files applied once each, in order, each in a transaction with its ledger entry.

A file named NNNN_what.sql is for every database; NNNN_what.plain.sql and NNNN_what.timescale.sql are two flavours of
one migration. A database keeps the flavour of its first migration, so that its tables stay of one kind.

Must not know: what is written into the tables.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import Final

import psycopg

from pipeline.adapters.timescale.connection import connect, describe, translated
from pipeline.core.errors import InputError

_LOCK: Final = 0x6B61726D  # "karm": pipelines that start together migrate one after the other
_OLDEST_TIMESCALE: Final = (2, 28)
_FOLDER: Final = "sql"
READER: Final = "karman_reader"
VIEWS: Final = 3  # the migration that makes `bibimbap`


class Flavour(StrEnum):
    """The kinds of database that the tables are made for."""

    PLAIN = "plain"  # PostgreSQL; also an Apache-licensed TimescaleDB, which lacks what we would use
    TIMESCALE = "timescale"


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration as it applies to a flavour."""

    version: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """What tells whether a database had this very text: a migration never changes once it is released."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations(flavour: Flavour) -> list[Migration]:
    """All migrations of a flavour, in order."""
    found = []
    for file in resources.files(__package__).joinpath(_FOLDER).iterdir():
        stem, *kind = file.name.removesuffix(".sql").split(".")
        if not kind or kind == [flavour.value]:
            found.append(Migration(int(stem[:4]), stem, file.read_text("utf-8")))
    return sorted(found, key=lambda migration: migration.version)


def detect(connection: psycopg.Connection, create: bool = True) -> Flavour:
    """What this database can be: Timescale if Community TimescaleDB of at least 2.28 is, or can be, there.

    Args:
        create: the extension, where it is not there yet.
    """
    row = connection.execute(
        "SELECT coalesce(installed_version, default_version), installed_version IS NOT NULL"
        " FROM pg_available_extensions WHERE name = 'timescaledb'"
    ).fetchone()
    if row is None:
        return Flavour.PLAIN
    version, installed = row
    if tuple(map(int, version.split("-")[0].split(".")[:2])) < _OLDEST_TIMESCALE:
        return Flavour.PLAIN
    if not installed:
        # A setting of its loader: without that, to create the extension would end the connection.
        loaded = connection.execute("SELECT current_setting('timescaledb.max_background_workers', true)").fetchone()
        if loaded in (None, (None,)):
            return Flavour.PLAIN
        if not create:
            return Flavour.TIMESCALE
        try:
            with connection.transaction():
                connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        except psycopg.Error:  # we may not: it is not there for us
            return Flavour.PLAIN
    licence = connection.execute("SELECT current_setting('timescaledb.license', true)").fetchone()
    return Flavour.TIMESCALE if licence == ("timescale",) else Flavour.PLAIN


def flavour_of(connection: psycopg.Connection) -> Flavour:
    """The flavour that a migrated database has."""
    row = connection.execute("SELECT value FROM setting WHERE name = 'flavour'").fetchone()
    return Flavour(row[0]) if row else Flavour.PLAIN


def applied(dsn: str) -> tuple[Flavour, set[int]]:
    """The flavour of a database, or the one it would get, and the versions that it has had."""
    with translated(), connect(dsn) as connection:
        had: set[int] = set()
        if connection.execute("SELECT to_regclass('schema_migration')").fetchone() != (None,):
            had = {version for (version,) in connection.execute("SELECT version FROM schema_migration")}
        return flavour_of(connection) if had else detect(connection, create=False), had


def migrate(dsn: str) -> list[str]:
    """Apply the migrations that the database has not had. Returns their names.

    Raises:
        InputError: the database was migrated by a version of this program whose tables are others, or holds a table
            where a view is to be.
        StorageError: it cannot be reached.
    """
    done = []
    with translated(), connect(dsn) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        connection.execute("SET statement_timeout = 0")
        connection.patience_s = None
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration (version integer PRIMARY KEY, name text NOT NULL,"
            " digest text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"
        )
        connection.commit()
        had = _had(connection)
        flavour = flavour_of(connection) if had else detect(connection)
        connection.commit()
        ours = migrations(flavour)
        if had and max(had) > ours[-1].version:
            raise InputError(
                f"the tables of {describe(dsn)} are of a newer version of karman (migration {max(had)}): use that one"
            )
        if VIEWS not in had and _holds_the_original(connection):
            raise InputError(
                f"{describe(dsn)} holds the table bibimbap of the system that this one replaces, where a view of that"
                " name is to be: ALTER TABLE bibimbap RENAME TO bibimbap_original keeps its rows, or use another"
                " database"
            )
        for migration in ours:
            if migration.version in had:
                if had[migration.version] != migration.digest:
                    raise InputError(
                        f"the tables of {describe(dsn)} were made by another version of karman (migration"
                        f" {migration.name} differs): use another database, or that version"
                    )
                continue
            with connection.transaction():
                connection.execute(migration.text.encode())
                if migration.version == 1:
                    connection.execute("INSERT INTO setting (name, value) VALUES ('flavour', %s)", [flavour.value])
                connection.execute(
                    "INSERT INTO schema_migration (version, name, digest) VALUES (%s, %s, %s)",
                    [migration.version, migration.name, migration.digest],
                )
            done.append(migration.name)
    return done


def has_reader(dsn: str) -> bool:
    """Whether the role for readers is there and may read; who may not create roles or grant cannot see to it."""
    may = "SELECT has_table_privilege(rolname, 'cycle', 'SELECT') FROM pg_roles WHERE rolname = %s"
    with translated(), connect(dsn) as connection:
        return connection.execute(may, [READER]).fetchone() == (True,)


def _holds_the_original(connection: psycopg.Connection) -> bool:
    """Whether the table is there that the system before kept its cycles in."""
    row = connection.execute(
        "SELECT 1 FROM pg_class WHERE relname = 'bibimbap' AND relkind IN ('r', 'p')"
        " AND relnamespace = current_schema()::regnamespace"
    ).fetchone()
    connection.commit()
    return row is not None


def _had(connection: psycopg.Connection) -> dict[int, str]:
    """The digest of each migration that the database has had; empty where it was noted without one."""
    return dict(connection.execute("SELECT version, to_jsonb(m) ->> 'digest' FROM schema_migration m").fetchall())
