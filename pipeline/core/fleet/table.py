"""The rows of the table `fleet_1s`, and as they travel to it: Arrow, of a second or of many.

Must not know: SQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from pipeline.core.fleet.membership import Place
from pipeline.core.fleet.summary import Figures
from pipeline.core.model import TIMESTAMP

_WHOLE: Final = ("members", "members_present")
_MEASURED: Final = (
    "coverage_ratio",
    "real_power_w",
    "real_power_max_w",
    "real_power_min_w",
    "current_a",
    "energy_j",
    "coincidence_ratio",
    "redundancy_headroom_a",
)
SCHEMA: Final = pa.schema(
    [
        pa.field("time", TIMESTAMP, nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in Place._fields),
        *(pa.field(name, pa.int32(), nullable=False) for name in _WHOLE),
        *(pa.field(name, pa.float64()) for name in _MEASURED),  # null is unknown
    ]
)


def rows(places: Sequence[Place], figures: Figures) -> pa.RecordBatch:
    """A row for each place."""
    columns = [
        pa.array(np.full(len(places), figures.second * 1_000_000)).view(TIMESTAMP),
        *(pa.array([getattr(place, name) for place in places], pa.string()) for name in Place._fields),
        pa.array(figures.members.astype(np.int32)),
        pa.array(figures.present.astype(np.int32)),
        *(
            pa.array(values, from_pandas=True)
            for values in (
                figures.coverage,
                figures.power_w,
                figures.peak_w[:, 0],
                figures.trough_w[:, 0],
                figures.current_a,
                figures.energy_j,
                figures.coincidence[:, 0],
                figures.redundancy_a,
            )
        ),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
