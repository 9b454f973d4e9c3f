"""The ledger's sums: what was received, stored and dropped, and which entries may be forgotten.

Must not know: rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import psycopg

from pipeline.adapters.timescale.connection import translated
from pipeline.core.envelope import tally_of
from pipeline.core.model import Account, Tally
from pipeline.core.progress import furthest

_ACCOUNTS: Final = """
SELECT producer, epoch, received, stored, row_count, missing, dropped FROM account WHERE epoch >= %(since)s
UNION ALL
SELECT producer, epoch, sum(received)::bigint, sum(stored)::bigint, sum(row_count)::bigint, sum(missing)::bigint, '{}'
FROM ledger WHERE epoch >= %(since)s GROUP BY producer, epoch
UNION ALL
SELECT producer, epoch, 0, 0, 0, 0, jsonb_build_object(key, sum(value::bigint))
FROM ledger, jsonb_each_text(dropped) WHERE epoch >= %(since)s GROUP BY producer, epoch, key
"""

# The last batch of each producer; the producers are found by skipping from one to the next in the ledger's index.
_NEWEST_TOTALS: Final = """
WITH RECURSIVE known (producer) AS (
    SELECT min(producer) FROM ledger
    UNION ALL
    SELECT (SELECT min(producer) FROM ledger WHERE producer > known.producer) FROM known WHERE producer IS NOT NULL
)
SELECT newest.totals FROM known CROSS JOIN LATERAL (
    SELECT totals FROM ledger WHERE producer = known.producer AND epoch >= %(since)s
    ORDER BY epoch DESC, number DESC LIMIT 1
) newest WHERE newest.totals IS NOT NULL
"""

_PRUNE: Final = """
WITH gone AS (
    DELETE FROM ledger WHERE producer = %(producer)s AND epoch = %(epoch)s AND number < %(oldest)s RETURNING *
), reasons AS (
    SELECT key, sum(value::bigint) AS count FROM gone, jsonb_each_text(dropped) GROUP BY key
)
INSERT INTO account AS a (producer, epoch, received, stored, missing, row_count, dropped)
SELECT %(producer)s, %(epoch)s, sum(received), sum(stored), sum(missing), sum(row_count),
       (SELECT coalesce(jsonb_object_agg(key, count), '{}') FROM reasons)
FROM gone HAVING count(*) > 0
ON CONFLICT (producer, epoch) DO UPDATE SET
    received = a.received + EXCLUDED.received, stored = a.stored + EXCLUDED.stored,
    missing = a.missing + EXCLUDED.missing, row_count = a.row_count + EXCLUDED.row_count,
    dropped = (
        SELECT coalesce(jsonb_object_agg(key, count), '{}')
        FROM (
            SELECT key, sum(value::bigint) AS count
            FROM (SELECT * FROM jsonb_each_text(a.dropped) UNION ALL SELECT * FROM jsonb_each_text(EXCLUDED.dropped)) e
            GROUP BY key
        ) summed
    )
"""

_OVER: Final = """
SELECT DISTINCT epoch FROM ledger WHERE producer = %(producer)s
AND epoch < (SELECT max(epoch) FROM ledger WHERE producer = %(producer)s AND epoch <= %(latest)s)
"""
OVER_AFTER_US: Final = 3_600_000_000
_ALL: Final = 2**63 - 1


def accounts(connection: psycopg.Connection, since_epoch: int) -> dict[Account, Tally]:
    """What was received, stored and dropped by each producer and epoch since `since_epoch`."""
    found: dict[Account, Tally] = {}
    with translated(), connection.transaction():
        for producer, epoch, received, stored, rows, missing, dropped in connection.execute(
            _ACCOUNTS, {"since": since_epoch}
        ):
            tally = Tally(received, stored, rows, missing, dropped=dropped)
            found[producer, epoch] = found.get((producer, epoch), Tally()) + tally
    return found


def tidy(connection: psycopg.Connection, oldest: Mapping[Account, int], now_us: int) -> list[Account]:
    """Prune what cannot be sent again: of each epoch what is below `oldest`, and epochs that are over.

    Over is one if a later one of its producer began an hour ago and more: whoever had it is gone, or knows of that.

    Returns:
        Those of `oldest` that are over.
    """
    for account, number in oldest.items():
        prune(connection, *account, number)
    over = set()
    for producer in {producer for producer, _ in oldest}:
        with translated(), connection.transaction():
            found = connection.execute(_OVER, {"producer": producer, "latest": now_us - OVER_AFTER_US}).fetchall()
        for (epoch,) in found:
            prune(connection, producer, epoch, _ALL)
            over.add((producer, epoch))
    return [account for account in oldest if account in over]


def prune(connection: psycopg.Connection, producer: str, epoch: int, oldest: int) -> None:
    """Move the ledger entries below `oldest`, which cannot be sent again, into the sums of `account`."""
    with translated(), connection.transaction():
        connection.execute(_PRUNE, {"producer": producer, "epoch": epoch, "oldest": oldest})


def totals(connection: psycopg.Connection, since_epoch: int, devices: Sequence[str]) -> dict[str, Tally]:
    """What had been counted of each device with the last batch that tells, of the epochs since `since_epoch`."""
    found: dict[str, Tally] = {}
    with translated(), connection.transaction():
        for (told,) in connection.execute(_NEWEST_TOTALS, {"since": since_epoch}):
            furthest(found, {device: tally_of(told[device]) for device in devices if device in told})
    return found


def last_epoch(connection: psycopg.Connection, producer: str) -> int:
    """The newest epoch of a producer, -1 if it has stored nothing."""
    with translated(), connection.transaction():
        row = connection.execute(
            "SELECT greatest((SELECT max(epoch) FROM ledger WHERE producer = %(p)s),"
            " (SELECT max(epoch) FROM account WHERE producer = %(p)s), -1)",
            {"p": producer},
        ).fetchone()
    return int(row[0]) if row else -1
