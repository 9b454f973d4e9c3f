"""A real database for each test that asks: a plain PostgreSQL of our own, and a TimescaleDB where one is given."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import conninfo, sql

from pipeline.adapters import embedded
from pipeline.adapters.timescale import schema


@pytest.fixture(scope="session")
def plain_server() -> Iterator[str]:
    with embedded.temporary() as dsn:
        yield dsn


@pytest.fixture(params=["plain", pytest.param("timescaledb", marks=pytest.mark.timescaledb)])
def server(request: pytest.FixtureRequest) -> str:
    if request.param == "plain":
        return str(request.getfixturevalue("plain_server"))
    dsn = os.environ.get("KARMAN_TEST_TIMESCALE_DSN")
    if not dsn:
        pytest.skip("KARMAN_TEST_TIMESCALE_DSN names no TimescaleDB server")
    return dsn


@pytest.fixture
def empty_database(server: str) -> Iterator[str]:
    """The DSN of a new database."""
    name = f"karman_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield conninfo.make_conninfo(server, dbname=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(empty_database: str) -> str:
    """The DSN of a new database with the pipeline's schema."""
    schema.migrate(empty_database)
    return empty_database
