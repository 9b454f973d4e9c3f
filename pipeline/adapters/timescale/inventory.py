"""Where devices stand, noted beside their names, so that queries can choose by rack and feed.

Must not know: rows, which devices there are.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Final

import psycopg

from pipeline.adapters.timescale.connection import connect, translated
from pipeline.core.config import Device
from pipeline.core.errors import KarmanError

log = logging.getLogger(__name__)

LOOK_S: Final = 10.0  # a rack that a device was moved to is wanted when one next looks at it, not at once

_LABELS: Final = ("row", "hall", "site", "node")  # among the labels; what others have put there stays
_DESCRIBE: Final = """
INSERT INTO device AS known (name, rack, feed, labels)
SELECT name, nullif(rack, ''), nullif(feed, ''), labels::jsonb
FROM unnest(%(names)s::text[], %(racks)s::text[], %(feeds)s::text[], %(labels)s::text[])
    WITH ORDINALITY told (name, rack, feed, labels, place)
-- The first device that is configured is the first in the table; later on by name as others do, who could wait for us.
ORDER BY CASE WHEN NOT EXISTS (SELECT FROM device) THEN place END, name
ON CONFLICT (name) DO UPDATE
SET rack = EXCLUDED.rack, feed = EXCLUDED.feed, labels = known.labels - %(own)s::text[] || EXCLUDED.labels
WHERE (known.rack, known.feed, known.labels)
    IS DISTINCT FROM (EXCLUDED.rack, EXCLUDED.feed, known.labels - %(own)s::text[] || EXCLUDED.labels)
"""


def describe(connection: psycopg.Connection, devices: Sequence[Device]) -> int:
    """Note rack, feed, row, hall, site and node of configured devices. Returns of how many they were others before.

    Raises:
        StorageError: the database does not take it.
    """
    if not devices:
        return 0
    told = {
        "names": [device.name for device in devices],
        "racks": [device.rack for device in devices],
        "feeds": [device.feed for device in devices],
        "labels": [
            json.dumps({key: getattr(device, key) for key in _LABELS if getattr(device, key)}) for device in devices
        ],
        "own": list(_LABELS),
    }
    with translated(), connection.transaction():
        return connection.execute(_DESCRIBE.encode(), told).rowcount


# Which device the view `bibimbap` shows: the one that somebody has set, else the first of all. When that is configured
# no more, the first that is; `bibimbap_default` tells our choice from theirs.
_SHOW: Final = """
WITH chosen AS (
    SELECT (SELECT value FROM setting WHERE name = 'bibimbap_device') AS device,
           (SELECT value FROM setting WHERE name = 'bibimbap_default') AS ours
)
INSERT INTO setting (name, value)
SELECT name, %(first)s FROM chosen, unnest(ARRAY['bibimbap_device', 'bibimbap_default']) name
WHERE device IS NOT DISTINCT FROM ours
  AND coalesce(device, (SELECT d.name FROM device d ORDER BY id LIMIT 1)) <> ALL (%(names)s::text[])
ON CONFLICT (name) DO UPDATE SET value = EXCLUDED.value
"""


def show_one(connection: psycopg.Connection, devices: Sequence[Device]) -> None:
    """See that the view `bibimbap` shows a device that is configured, unless somebody has chosen another.

    Raises:
        StorageError: the database does not take it.
    """
    if devices:
        with translated(), connection.transaction():
            names = [device.name for device in devices]
            connection.execute(_SHOW.encode(), {"first": names[0], "names": names})


class Inventory:
    """Keeps what is noted as it is configured, in a thread of its own: at the start, after a change, after an outage.

    Args:
        devices: the devices as configured now.
    """

    def __init__(self, dsn: str, devices: Callable[[], Sequence[Device]], look_s: float = LOOK_S) -> None:
        self._dsn = dsn
        self._devices = devices
        self._look_s = look_s
        self._noted: Sequence[Device] = ()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inventory", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            try:
                devices = self._devices()
                if devices != self._noted:
                    with translated(), connect(self._dsn) as connection:
                        describe(connection, devices)
                        show_one(connection, devices)
                    self._noted = devices
            except KarmanError as error:  # the deposit says it where the database is away
                log.info("where the devices stand was not noted: %s", error)
            except Exception:  # of whoever was asked for the devices
                log.exception("where the devices stand is noted later")
            closing = self._closing.wait(self._look_s)
