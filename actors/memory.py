"""What an actor's process does with memory that it has freed: it keeps it.

Every batch needs the same megabytes for a moment. By default they go back to the system each time, and are asked for
again page by page: in an ingest of 250 devices a quarter of the time that a batch takes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
from typing import Final

# mallopt(3): parameter -> bytes.
_SETTINGS: Final = {
    -3: 32 << 20,  # M_MMAP_THRESHOLD: the most that it takes; what is larger gets a mapping of its own
    -1: 64 << 20,  # M_TRIM_THRESHOLD: freed memory beyond that goes back
}


def keep_freed() -> None:
    """Let this process keep what it frees, up to 64 MiB; where the C library is not glibc, all stays as it is.

    What was imported until now is no garbage: Ray collects every few seconds, and need not look at it each time.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, size in _SETTINGS.items():
            mallopt(parameter, size)
    gc.freeze()
