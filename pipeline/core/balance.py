"""The balance of a run, in messages: received = stored + spooled + in flight + dropped, sent = received + missing.

Must not know: where the figures were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.core.model import STORAGE_DROPS, Account, Tally, total


@dataclass(frozen=True, slots=True)
class Balance:
    """Counts of messages, over all devices and all incarnations of the ingests."""

    received: int
    stored: int
    spooled: int  # on disk, waiting for the database
    in_flight: int  # received, not dropped, neither committed nor spooled yet
    missing: int  # never received, by the devices' sequence numbers
    rows: int  # rows stored
    dropped: Mapping[str, int] = field(default_factory=dict)


def balance(
    live: Mapping[Account, Tally], accounts: Mapping[Account, Tally], spooled: Mapping[Account, Tally]
) -> Balance:
    """Join what the running ingests have counted with what the ledger and the spool hold.

    Args:
        live: the counts of the ingests that run now, by producer and epoch.
        accounts: what is committed, by producer and epoch.
        spooled: what waits on disk. For an ingest that has died these two are all there is: what it had received and
            not handed over shows as missing, when its successor sees where the stream stands.
    """
    handed_in = {key: accounts.get(key, Tally()) + spooled.get(key, Tally()) for key in {*accounts, *spooled}}
    committed, waiting = total(accounts.values()), total(spooled.values())
    counted = total({**handed_in, **live}.values())
    # What was lost in storing (refused, spool full or damaged) the ledger or the spool knows, not the live counts.
    lost = total(
        Tally(dropped={reason: count for reason, count in handed_in[key].dropped.items() if reason in STORAGE_DROPS})
        for key in live
        if key in handed_in
    )
    dropped = (counted + lost).dropped
    return Balance(  # keyword by keyword: seven counts that must not change places
        received=counted.received,
        stored=committed.delivered,
        spooled=waiting.delivered,
        in_flight=counted.received - sum(dropped.values()) - committed.delivered - waiting.delivered,
        missing=counted.missing,
        rows=committed.rows,
        dropped=dropped,
    )


STARTED_ANEW: Final = ("transactions", "batches", "busy_s", "spool_damaged", "fleet_refused_s")  # with each process


def joined(stores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the shards of the store say, as if they were one: counts add up, all have to be up, the slowest counts.

    All read the same ledger, each when it has to: an account only grows, so of several views the fullest is the newest.
    """
    whole: dict[str, Any] = {}
    for store in stores:
        for key, value in store.items():
            known = whole.get(key)
            if known is None:
                whole[key] = value
            elif key == "accounts":
                whole[key] = _fullest(known, value or {})
            elif key == "newest_us":
                whole[key] = min(known, value) if known and value else known or value
            elif isinstance(value, bool):
                whole[key] = known and value
            elif isinstance(value, (int, float)):
                whole[key] = known + value
            elif isinstance(value, dict):
                whole[key] = {**known, **value}
    return whole


def _fullest(one: Mapping[Account, Tally], other: Mapping[Account, Tally]) -> dict[Account, Tally]:
    return {
        key: max((view[key] for view in (one, other) if key in view), key=lambda tally: tally.received)
        for key in {*one, *other}
    }
