"""The balance of a run, against a model that follows every message."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from pipeline.core.balance import Balance, balance
from pipeline.core.model import STORAGE_DROPS, Account, Drop, Tally, total


@dataclass
class World:
    """Producers that receive, hand over in batches and die; a store that commits, spools and loses."""

    rng: random.Random
    live: dict[Account, Tally] = field(default_factory=dict)
    accounts: dict[Account, Tally] = field(default_factory=dict)
    spooled: dict[Account, Tally] = field(default_factory=dict)
    fate: Counter[str] = field(default_factory=Counter)

    def producer(self, account: Account, alive: bool) -> None:
        for _ in range(self.rng.randrange(8)):
            refused_at_once, delivered, missing = (self.rng.randrange(5) for _ in range(3))
            tally = Tally(refused_at_once + delivered, delivered, 3 * delivered, missing)
            tally += Tally(dropped={Drop.MALFORMED: refused_at_once})
            if alive:
                self.add(self.live, account, tally)
            end = self.rng.choice(["stored", "stored", "spooled", "in flight", *sorted(STORAGE_DROPS)])
            if end == "in flight" and not alive:
                continue  # died with it; its successor's gaps tell
            self.fate.update({end: delivered, Drop.MALFORMED: refused_at_once, "missing": missing})
            self.fate["received"] += tally.received
            if end in STORAGE_DROPS:
                tally += Tally(delivered=-delivered, rows=-tally.rows, dropped={end: delivered})
            if end != "in flight":
                self.add(self.spooled if end == "spooled" else self.accounts, account, tally)

    @staticmethod
    def add(book: dict[Account, Tally], account: Account, tally: Tally) -> None:
        book[account] = book.get(account, Tally()) + tally


@pytest.mark.parametrize("seed", range(40))
def test_every_message_is_somewhere(seed: int) -> None:
    world = World(random.Random(seed))
    for producer in ("ingest-0", "ingest-1"):
        world.producer((producer, 1000), alive=False)
        world.producer((producer, 2000), alive=True)
    counts, fate = balance(world.live, world.accounts, world.spooled), world.fate
    dropped = {reason: fate[reason] for reason in (Drop.MALFORMED, *STORAGE_DROPS) if fate[reason]}
    assert {reason: count for reason, count in counts.dropped.items() if count} == dropped
    assert counts == Balance(
        received=fate["received"],
        stored=fate["stored"],
        spooled=fate["spooled"],
        in_flight=fate["in flight"],
        missing=fate["missing"],
        rows=3 * fate["stored"],
        dropped=counts.dropped,
    )
    assert counts.received == counts.stored + counts.spooled + counts.in_flight + sum(counts.dropped.values())


def test_what_a_full_spool_has_stripped_is_dropped_before_the_ledger_knows_it() -> None:
    account = ("ingest-0", 1000)
    stripped = Tally(10, 0, 0, dropped={Drop.SPOOL_FULL: 10})
    counts = balance({account: Tally(15, 15, 45)}, {}, {account: stripped + Tally(5, 5, 15)})
    assert counts == Balance(15, 0, 5, 0, 0, 0, {Drop.SPOOL_FULL: 10})


def test_nothing() -> None:
    assert balance({}, {}, {}) == Balance(0, 0, 0, 0, 0, 0, {})


def test_tallies_add_up_and_take_off() -> None:
    one, other = Tally(9, 5, 15, 1, 2, 3, {"malformed": 4}), Tally(3, 2, 6, 0, 0, 0, {"duplicate": 1})
    assert total([one, other]) == Tally(12, 7, 21, 1, 2, 3, {"duplicate": 1, "malformed": 4})
    assert one + other - other == Tally(9, 5, 15, 1, 2, 3, {"duplicate": 0, "malformed": 4})
    assert total([]) == Tally()
