"""A receiver that begins anew tells nothing until its senders are where its predecessor was, or for long enough."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.core.catching_up import CAUGHT_UP_US, LONGEST_S, CatchingUp
from tests.rows import START_US, cycles


def arrived(*ago_us: int) -> pa.RecordBatch:
    return cycles({"received": START_US - ago} for ago in ago_us)


def test_who_has_had_no_sender_is_there_at_once() -> None:
    assert CatchingUp((), 5.0).over(5.0)


def test_it_is_over_once_each_sender_has_sent_something_new() -> None:
    catching_up = CatchingUp(("a", "b"), 5.0)
    catching_up.heard("a", arrived(CAUGHT_UP_US + 1), START_US)
    catching_up.heard("b", arrived(CAUGHT_UP_US + 1, CAUGHT_UP_US - 1), START_US)
    catching_up.heard("c", arrived(0), START_US)
    assert not catching_up.over(5.0)
    catching_up.heard("a", arrived(CAUGHT_UP_US - 1, CAUGHT_UP_US + 1), START_US)
    assert catching_up.over(5.0)


@pytest.mark.parametrize("rows", [arrived(), arrived(CAUGHT_UP_US + 1)])
def test_a_sender_that_is_gone_is_waited_for_so_long(rows: pa.RecordBatch) -> None:
    catching_up = CatchingUp(("a",), 5.0)
    catching_up.heard("a", rows, START_US)
    assert not catching_up.over(4.9 + LONGEST_S)
    assert catching_up.over(5.0 + LONGEST_S)
