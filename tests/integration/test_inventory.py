"""Where devices stand: noted once, kept beside what others note, changed when the configuration changes."""

from __future__ import annotations

import time

import psycopg

from pipeline.adapters.timescale import inventory
from pipeline.core.config import Device

A = Device("r1-a", "tcp://h:1", rack="r1", feed="A", row="row-a", hall="hall-1", site="dc1")
BARE = Device("bench", "tcp://h:2")


def known(connection: psycopg.Connection) -> dict[str, tuple[object, ...]]:
    rows = connection.execute("SELECT name, rack, feed, labels FROM device ORDER BY name").fetchall()
    return {name: tuple(rest) for name, *rest in rows}


def test_what_is_configured_is_noted_and_changes(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO device (name, labels) VALUES (%s, %s)", ["r1-a", '{"owner": "ml", "row": "old"}']
        )
        places = {"row": "row-a", "hall": "hall-1", "site": "dc1"}
        assert inventory.describe(connection, [A, BARE]) == 2
        assert known(connection) == {
            "bench": (None, None, {}),
            "r1-a": ("r1", "A", {"owner": "ml", **places}),
        }
        assert inventory.describe(connection, [A, BARE]) == 0, "nothing is written when nothing has changed"

        moved = Device("r1-a", "tcp://h:1", rack="r2", node="gpu-7")
        assert inventory.describe(connection, [moved]) == 1
        assert known(connection)["r1-a"] == ("r2", None, {"owner": "ml", "node": "gpu-7"})
        assert inventory.describe(connection, []) == 0


def test_the_first_that_is_configured_is_the_first_of_all(database: str) -> None:
    """Which the view `bibimbap` shows where nothing else is said."""
    with psycopg.connect(database) as connection:
        inventory.describe(connection, [A, BARE])
        inventory.describe(connection, [BARE, Device("a-new-one", "tcp://h:3"), A])
        names = connection.execute("SELECT name FROM device ORDER BY id").fetchall()
    assert [name for (name,) in names] == ["r1-a", "bench", "a-new-one"]


def test_the_view_goes_on_with_a_device_that_is_configured(database: str) -> None:
    """From a replay to devices of one's own, say; unless somebody has chosen."""
    replayed, other = Device("replay-1", "tcp://h:9"), Device("z", "tcp://h:4")
    shown = (
        "SELECT DISTINCT d.name FROM device d WHERE d.name = (SELECT value FROM setting WHERE name = 'bibimbap_device')"
    )
    with psycopg.connect(database, autocommit=True) as connection:

        def follows(*devices: Device) -> list[tuple[str]]:
            inventory.describe(connection, devices)
            inventory.show_one(connection, devices)
            return connection.execute(shown).fetchall()

        assert follows(replayed, BARE) == [], "the first of all, where nothing is set"
        assert follows(BARE, replayed) == [], "as long as it is configured"
        assert follows(BARE, other) == [("bench",)]
        assert follows(A, BARE) == [("bench",)], "as long as that is configured"
        assert follows(A, other) == [("r1-a",)]
        connection.execute("UPDATE setting SET value = 'z' WHERE name = 'bibimbap_device'")
        assert follows(A, BARE) == [("z",)], "somebody has chosen it"


def test_it_is_kept_as_configured(database: str) -> None:
    configured = [(A,)]
    away = [ConnectionError("nobody knows")]

    def devices() -> tuple[Device, ...]:
        if away:
            raise away.pop()
        return configured[-1]

    kept = inventory.Inventory(database, devices, look_s=0.01)
    try:
        with psycopg.connect(database, autocommit=True) as connection:

            def becomes(rack: str) -> bool:
                deadline = time.monotonic() + 10
                while known(connection).get("r1-a", (None,))[0] != rack and time.monotonic() < deadline:
                    time.sleep(0.01)
                return known(connection)["r1-a"][0] == rack

            assert becomes("r1")
            configured.append((Device("r1-a", "tcp://h:1", rack="r9"),))
            assert becomes("r9")
    finally:
        kept.close()


def test_a_database_that_is_away_is_asked_again() -> None:
    asked = []

    def devices() -> tuple[Device, ...]:
        asked.append(None)
        return (A,)

    kept = inventory.Inventory("postgresql://nobody@127.0.0.1:1/none", devices, look_s=0.01)
    try:
        deadline = time.monotonic() + 10
        while len(asked) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        kept.close()
    assert len(asked) >= 3
