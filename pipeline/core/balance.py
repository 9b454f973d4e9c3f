"""The balance of a run, in messages: received = stored + in flight + dropped, and sent = received + missing.

Must not know: where the figures were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.core.model import Account, Tally, total


@dataclass(frozen=True, slots=True)
class Balance:
    """Counts of messages, over all devices and all incarnations of the ingests."""

    received: int
    stored: int
    in_flight: int  # received, not dropped, not committed yet
    missing: int  # never received, by the devices' sequence numbers
    rows: int  # rows stored
    dropped: Mapping[str, int] = field(default_factory=dict)


def balance(live: Mapping[Account, Tally], accounts: Mapping[Account, Tally]) -> Balance:
    """Join what the running ingests have counted with what the ledger holds.

    Args:
        live: the counts of the ingests that run now, by producer and epoch.
        accounts: what is committed, by producer and epoch. For an ingest that has died this is all there is: what it
            had received and not handed over shows as missing, when its successor sees where the stream stands.
    """
    counted = total({**accounts, **live}.values())
    committed = total(accounts.values())
    return Balance(  # keyword by keyword: seven counts that must not change places
        received=counted.received,
        stored=committed.delivered,
        in_flight=counted.delivered - committed.delivered,
        missing=counted.missing,
        rows=committed.rows,
        dropped=counted.dropped,
    )
