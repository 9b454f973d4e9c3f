"""What a deposit has committed, and how long that took.

Must not know: the database.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.core.delays import Delays
from pipeline.core.model import Batch


@dataclass(slots=True)
class Committed:
    """What has been committed since this process began."""

    until_received: Delays = field(default_factory=Delays)  # from a row's time to its arrival
    until_committed: Delays = field(default_factory=Delays)
    transactions: int = 0
    batches: int = 0
    busy_s: float = 0.0
    newest_us: int = 0  # the newest arrival among the rows

    def add(self, batches: Sequence[Batch], seconds: float) -> None:
        """A transaction with these batches was committed and took so long."""
        self.transactions += 1
        self.batches += len(batches)
        self.busy_s += seconds
        cycles = [batch.cycles for batch in batches if batch.cycles.num_rows]
        if cycles:
            received_us, time_us = (
                np.concatenate([rows.column(name).view(pa.int64()).to_numpy() for rows in cycles])
                for name in ("received", "time")
            )
            self.newest_us = max(self.newest_us, int(received_us.max()))
            self.until_received.add(received_us - time_us)
            self.until_committed.add(time.time_ns() // 1000 - time_us)
