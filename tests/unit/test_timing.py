"""Which time a row gets, at the bounds and at the ends of 64 bits."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.model import Flag
from pipeline.core.timing import settle

NOW, BOUND = 1_800_000_000_000_000, 300_000_000
ABSENT, IMPLAUSIBLE = int(Flag.TIME_ABSENT), int(Flag.TIME_IMPLAUSIBLE)


@pytest.mark.parametrize(
    ("device_us", "present", "time_us", "flag"),
    [
        (NOW, True, NOW, 0),
        (NOW + BOUND, True, NOW + BOUND, 0),
        (NOW - BOUND, True, NOW - BOUND, 0),
        (NOW + BOUND + 1, True, NOW, IMPLAUSIBLE),
        (NOW - BOUND - 1, True, NOW, IMPLAUSIBLE),
        (0, True, NOW, IMPLAUSIBLE),
        (2**63 - 1, True, NOW, IMPLAUSIBLE),
        (-(2**63), True, NOW, IMPLAUSIBLE),
        (NOW + 1, False, NOW, ABSENT),
        (2**63 - 1, False, NOW, ABSENT),
    ],
)
def test_a_row_has_its_devices_time_or_a_flag(device_us: int, present: bool, time_us: int, flag: int) -> None:
    # Beside other rows, for what is decided of one must not depend on them.
    times, flags = settle(np.array([NOW, device_us, 0]), np.array([True, present, False]), np.full(3, NOW), BOUND)
    assert (times.tolist(), flags.tolist()) == ([NOW, time_us, NOW], [0, flag, ABSENT])
    assert [times.dtype.name, flags.dtype.name] == ["int64", "int32"]


def test_no_rows() -> None:
    times, flags = settle(np.empty(0, np.int64), np.empty(0, bool), np.empty(0, np.int64), BOUND)
    assert (len(times), len(flags)) == (0, 0)


def test_flags_are_stored_and_keep_their_bits() -> None:
    assert [int(flag) for flag in (Flag.TIME_ABSENT, Flag.TIME_IMPLAUSIBLE, Flag.PROVENANCE_DIFFERS)] == [1, 2, 4]
