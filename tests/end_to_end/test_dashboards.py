"""Every query of every dashboard has data: on a Prometheus that scrapes a fleet, and on the databases that it fills."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import conninfo, sql

from pipeline.adapters import embedded
from pipeline.adapters.timescale import schema
from tests import grafana
from tests.grafana import Variable

BOARDS = {path.stem: grafana.load(path) for path in grafana.DASHBOARDS}
# A point on the screen is some cycles, a second, a minute, an hour: each asks other tables.
INTERVALS_MS = (100, 1000, 60_000, 3_600_000)
COPIED = ("device", "stream", "gap", "cycle", "spectrum", "power_1s", "fleet_1s")
# The simulated devices send no spectra; this is what one would leave behind.
SPECTRA = """
INSERT INTO spectrum SELECT time, received, device_id, stream_id, sequence, 0, '{0, 9, 0.5}', '{0, 0, 0}' FROM cycle
ORDER BY time DESC LIMIT 60
"""
Choice = dict[str, dict[str, Variable]]


def label_values(server: Any, query: str) -> list[str]:
    """What Grafana's `label_values(series, label)` asks for."""
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    assert found, query
    return sorted(server.ask(f"label/{found[2]}/values", **{"match[]": found[1]}))


def known(series: Sequence[Any]) -> bool:
    """Whether there is a number among the samples."""
    return any(point[1] != "NaN" for one in series for point in one.get("values", [one.get("value")]))


def unanswered(server: Any, choice: Choice) -> list[str]:
    """The PromQL queries without data."""
    missing = []
    for uid, variables in choice.items():
        for panel in grafana.panels(BOARDS[uid]):
            for target in panel["targets"]:
                if target["datasource"]["uid"] != grafana.PROMETHEUS:
                    continue
                query = grafana.promql(target["expr"], variables)
                now = time.time()
                data = (
                    server.ask("query", query=query)
                    if target["instant"]
                    else server.ask("query_range", query=query, start=now - 30, end=now, step=1)
                )
                if not (data and known(data["result"])):
                    missing.append(f"{uid}: {panel['title']}: {query}")
    return missing


@contextmanager
def reader(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection with the rights that a dashboard's data source needs, and no more."""
    name, password = f"viewer_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE karman_reader").format(sql.Identifier(name), password)
        )
        try:
            with psycopg.connect(conninfo.make_conninfo(dsn, user=name, password=password), autocommit=True) as viewer:
                yield viewer
        finally:
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def without_rows(dsn: str, from_metrics: Choice, since: datetime, until: datetime) -> list[str]:
    """The SQL queries without rows: panels at every interval, and annotations."""
    missing = []
    with reader(dsn) as connection:

        def rows(statement: str, variables: dict[str, Variable], interval_ms: int = 1000) -> list[Any]:
            return connection.execute(grafana.sql(statement, variables, since, until, interval_ms).encode()).fetchall()

        def options(_source: str, query: str) -> list[str]:
            return [row[0] for row in connection.execute(query.encode())]

        for uid, board in BOARDS.items():
            variables = from_metrics.get(uid) or grafana.resolve(board, options)
            if uid == "karman-per-cycle" and not told_of_gaps(connection, variables, since, until):
                missing.append(f"{uid}: nothing breaks the lines where cycles are missing")
            for panel in grafana.panels(board):
                targets = [t for t in panel["targets"] if t["datasource"]["uid"] == grafana.DATABASE]
                counts = {
                    (target["refId"], interval): len(rows(target["rawSql"], variables, interval))
                    for target in targets
                    for interval in INTERVALS_MS
                }
                missing += [
                    f"{uid}: {panel['title']}: nothing at {interval} ms"
                    for interval in INTERVALS_MS
                    if targets and not any(counts[t["refId"], interval] for t in targets)
                ]
                missing += [
                    f"{uid}: {panel['title']}: {target['refId']}"
                    for target in targets
                    if not any(counts[target["refId"], interval] for interval in INTERVALS_MS)
                ]
            for annotation in grafana.annotations(board):
                if "rawSql" in annotation["target"] and not rows(annotation["target"]["rawSql"], variables):
                    missing.append(f"{uid}: {annotation['name']}")
    return missing


def copy_to_timescale(source: psycopg.Connection[Any], dsn: str) -> None:
    """The same rows in a TimescaleDB, with its aggregates computed."""
    schema.migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as target:
        for table in COPIED:
            name = sql.Identifier(table)
            with (
                source.cursor().copy(sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(name)) as out,
                target.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(name)) as into,
            ):
                for data in out:
                    into.write(data)
        for aggregate in ("power_1m", "power_1h"):
            target.execute("CALL refresh_continuous_aggregate(%s, NULL, NULL)", [aggregate])


@pytest.fixture
def timescale() -> Iterator[str | None]:
    """A new database on the TimescaleDB that is given; None without one."""
    server = os.environ.get("KARMAN_TEST_TIMESCALE_DSN")
    if not server:
        yield None
        return
    name = f"karman_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield conninfo.make_conninfo(server, dbname=name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def told_of_gaps(
    connection: psycopg.Connection[Any], choice: dict[str, Variable], since: datetime, until: datetime
) -> bool:
    """Whether the lines of the cycles break somewhere, of any device."""
    panel = next(grafana.panels(BOARDS["karman-per-cycle"]))
    statement = panel["targets"][0]["rawSql"]
    devices = [name for (name,) in connection.execute("SELECT name FROM device")]
    return any(
        value is None
        for device in devices
        for *_, value in connection.execute(
            grafana.sql(statement, choice | {"device": Variable(device)}, since, until, 100).encode()
        )
    )


@pytest.mark.prometheus
@pytest.mark.timeout(300)
def test_every_query_has_data(
    start: Callable[..., Any],
    publish: Callable[[int], list[str]],
    port: int,
    tmp_path: Path,
    prometheus: Callable[..., Any],
    until_true: Callable[..., Any],
    timescale: str | None,
) -> None:
    # One run for all of it: the fleet of the compose file, of which an ingest dies, so that there are gaps and restarts.
    fleet = yaml.safe_load((grafana.FOLDER / "compose" / "fleet.yaml").read_text())
    for device, endpoint in zip(fleet["devices"], publish(len(fleet["devices"])), strict=True):
        device["endpoint"] = endpoint
    file = tmp_path / "fleet.yaml"
    one_ingest = {"devices_per_actor": len(fleet["devices"])}  # so that each device gets its gap
    ours = {"http": {"port": port}, "database": {}, "spool_dir": str(tmp_path / "spool"), **one_ingest}
    file.write_text(yaml.safe_dump(fleet | ours))
    with embedded.temporary() as dsn:
        run = start("run", "-c", str(file), at=port, KARMAN_DSN=dsn)
        run.ready()
        with prometheus(run.port) as server:
            until_true(lambda: server("karman_completeness_ratio"))
            run.actor("IngestActor").kill()
            until_true(lambda: server("karman_actor_restarts_total > 0"), 30)

            def ask(source: str, query: str) -> list[str]:
                assert source == grafana.PROMETHEUS
                return label_values(server, query)

            of_metrics = {
                uid: board
                for uid, board in BOARDS.items()
                if all(v.get("datasource", {}).get("uid") != grafana.DATABASE for v in board["templating"]["list"])
            }
            opened = {uid: grafana.resolve(board, ask) for uid, board in of_metrics.items()}
            assert opened["karman-summary"]["device"].value == ["r42-a", "r42-b", "r43-a", "r43-b"]
            one = {uid: grafana.resolve(board, ask, every=False) for uid, board in of_metrics.items()}
            assert one["karman-summary"]["device"].value == ["r42-a"]
            for choice in (opened, one):
                deadline = time.monotonic() + 40  # a rate needs two scrapes, an increase some more
                while missing := unanswered(server, choice):
                    assert time.monotonic() < deadline, missing
            for board in BOARDS.values():
                for annotation in grafana.annotations(board):
                    if "expr" in annotation["target"]:
                        query = grafana.promql(annotation["target"]["expr"], opened["karman-summary"])
                        assert server.ask("query", query=query) is not None, query
            assert server("changes(karman_actor_restarts_total[1m]) > 0")
            with psycopg.connect(dsn, autocommit=True) as owner:
                racks = "SELECT array_agg(DISTINCT rack ORDER BY rack) FROM device"
                until_true(lambda: owner.execute(racks).fetchone() == (["r42", "r43"],))
        assert run.end() == 0

        until = datetime.now(UTC)
        since = until - timedelta(hours=2)
        with psycopg.connect(dsn) as owner:
            owner.execute(SPECTRA)
            owner.commit()
            assert owner.execute("SELECT count(*) FROM rollup_due").fetchone() == (0,)  # the end left nothing
            for database in (dsn, timescale):
                if database is None:
                    continue
                if database == timescale:
                    copy_to_timescale(owner, timescale)
                assert without_rows(database, opened, since, until) == []
