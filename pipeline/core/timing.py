"""Which time a row gets: the device's own, or its arrival where the device's cannot be used.

Must not know: clocks. Both times come in as arrays of microseconds since the epoch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.core.model import Flag

Microseconds = NDArray[np.int64]


def settle(
    device_us: Microseconds, present: NDArray[np.bool_], received_us: Microseconds, bound_us: int
) -> tuple[Microseconds, NDArray[np.int32]]:
    """Choose each row's time. Never silently: a row that does not carry its device's time is flagged.

    Args:
        device_us: the device's `utc_time`, shape (n,); anything where not `present`.
        present: whether the device sent one, shape (n,).
        received_us: arrival, shape (n,).
        bound_us: a device time further from arrival than this is implausible.

    Returns:
        (time_us, flags), each of shape (n,).
    """
    # Compared on both sides rather than by |difference|: a saturated 2**63 - 1 would overflow the subtraction.
    plausible = (device_us >= received_us - bound_us) & (device_us <= received_us + bound_us)
    usable = present & plausible
    flags = np.where(present, np.where(plausible, 0, Flag.TIME_IMPLAUSIBLE), Flag.TIME_ABSENT).astype(np.int32)
    return np.where(usable, device_us, received_us), flags
