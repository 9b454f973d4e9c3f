"""Rows as columns by cycle, and as blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from pipeline.core.cycles import Cycles, as_document, by_cycle, from_block, to_block
from pipeline.core.model import QUANTITIES, STREAMS
from tests.rows import PERIOD_US, START_US, cycles

POWER = [quantity.column for quantity in QUANTITIES].index("real_power_w")


def message(number: int, *powers: float | None, **values: Any) -> list[dict[str, Any]]:
    common = {"time": START_US + number * PERIOD_US, "sequence": number, "message": number, **values}
    return [
        {**common, "stream": stream, "a_real_power_w": power}
        for stream, power in zip(STREAMS, powers, strict=False)
        if power is not None
    ]


def power(found: Cycles, stream: int = 0, channel: int = 0) -> list[float | None]:
    return [None if np.isnan(value) else value for value in found.values[stream, channel, POWER].tolist()]


def test_a_cycle_is_a_message_and_what_it_lacks_is_unknown() -> None:
    found = by_cycle(cycles([*message(0, 1, 2, 3), *message(1, 4, None, 6)]), STREAMS)
    assert found.time_us.tolist() == [START_US, START_US + PERIOD_US]
    assert found.sequence.tolist() == [0, 1]
    assert [power(found, stream) for stream in range(3)] == [[1, 4], [2, None], [3, 6]]
    assert found.total(STREAMS, "real_power_w").tolist()[0][0] == 6
    assert np.isnan(found.total(STREAMS, "real_power_w")[0, 1])


def test_cycles_come_in_the_order_of_time() -> None:
    late = [*message(2, 3, 3, 3), *[{**row, "message": 9} for row in message(1, 2, 2, 2)]]
    found = by_cycle(cycles(late), STREAMS)
    assert found.sequence.tolist() == [1, 2]
    assert power(found) == [2, 3]


def test_rows_that_share_only_a_time_are_two_cycles() -> None:
    rows = cycles([*message(0, 1, 2, 3), *message(1, 4, 5, 6, time=START_US)])
    assert len(by_cycle(rows, STREAMS)) == 2


def test_a_channel_of_which_nothing_is_known_is_left_out_and_other_streams_follow() -> None:
    rows = [*message(0, 1, 2, 3), {"stream": "extra", "message": 0, "b_rms_current_a": 7.0}]
    found = by_cycle(cycles(rows), STREAMS)
    assert (found.streams, found.channels) == ((*STREAMS, "extra"), ("a", "b"))
    assert by_cycle(cycles(message(0, 1, 2, 3)), STREAMS).channels == ("a",)
    assert by_cycle(cycles([]), STREAMS).channels == ()


def test_a_total_needs_streams_that_are_there() -> None:
    found = by_cycle(cycles(message(0, 1, 2, 3)), STREAMS)
    assert np.isnan(found.total((*STREAMS, "fourth"), "real_power_w")).all()


def test_between_then_and_at() -> None:
    found = by_cycle(cycles(row for number in range(4) for row in message(number, number, 0, 0)), STREAMS)
    middle = found.between(START_US + PERIOD_US, START_US + 3 * PERIOD_US)
    assert power(middle) == [1, 2]
    assert power(found.at(slice(0, 1)).then(middle)) == [0, 1, 2]
    assert power(Cycles.empty(STREAMS).then(found)) == [0, 1, 2, 3]
    assert len(Cycles.empty(STREAMS).then(Cycles.empty(STREAMS))) == 0


def test_parts_of_which_only_one_knows_a_channel() -> None:
    one = by_cycle(cycles(message(0, 1, 2, 3)), STREAMS)
    other = by_cycle(cycles(message(1, 4, 5, 6, b_real_power_w=9.0)), STREAMS)
    both = one.then(other)
    assert both.channels == ("a", "b")
    assert (power(both), power(both, channel=1)) == ([1, 4], [None, 9])


def test_a_block_comes_back_as_it_went() -> None:
    rows = cycles([*message(0, 1.5, None, 3, sequence=None), *message(1, 4, 5, 6, b_rms_voltage_v=0.1)])
    found = by_cycle(rows, STREAMS)
    block = to_block(found, device='a "quoted" / naïve name')
    header, back = from_block(block)
    assert header["device"] == 'a "quoted" / naïve name'
    assert header["rows"] == 2
    assert (back.streams, back.channels) == (found.streams, found.channels)
    assert back.sequence.tolist() == [-1, 1]
    assert back.time_us.tolist() == found.time_us.tolist()
    assert back.values.tobytes() == found.values.tobytes()
    assert (8 + int.from_bytes(block[4:8], "little")) % 8 == 0  # a browser reads the columns where they lie


def test_what_is_no_block_is_refused() -> None:
    with pytest.raises(ValueError, match="not a block"):
        from_block(b"PNG\x00....")


def test_a_document_has_null_where_nothing_is_known() -> None:
    found = by_cycle(cycles([*message(0, 1, 2, 3), *message(1, 4, None, 6, sequence=None)]), STREAMS)
    document = orjson.loads(orjson.dumps(as_document(found, STREAMS), option=orjson.OPT_SERIALIZE_NUMPY))
    assert document["sequence"] == [0, None]
    assert document["streams"][STREAMS[1]]["a"]["real_power_w"] == [2, None]
    assert document["streams"][STREAMS[0]]["a"]["rms_voltage_v"] == [None, None]
    assert document["three_phase"]["a"]["real_power_w"] == [6, None]
