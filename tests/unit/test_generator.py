"""The load generator's messages are what a device would send."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.adapters import recordings, wire
from pipeline.bench.generator import Templates, varints
from pipeline.core.model import STREAMS, value_columns

NOW_US = 1_800_000_000_000_000


def test_varints_of_five_bytes_hold_what_is_written() -> None:
    numbers = np.array([0, 1, 127, 128, 2**28, 2**35 - 1])
    for number, encoded in zip(numbers.tolist(), varints(numbers).tolist(), strict=True):
        assert sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(encoded)) == number
        assert [byte >> 7 for byte in encoded] == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("both", [True, False])
def test_time_and_sequence_are_right_in_every_message(both: bool) -> None:
    recording = recordings.load("sample1")
    number = np.array([0, 1, 599, 600, 123_456])
    time_us = NOW_US + np.array([0, 16_667, 999_999, 1_000_000, 60_000_001])
    payloads = [frame.removeprefix(b"t") for frame in Templates(recording, both, b"t").stamped(number, time_us)]
    decoder = wire.Decoder(["d"], [b""], 300_000_000, 256)
    decoded = decoder.decode(payloads, np.zeros(5, np.int32), np.full(5, NOW_US), 0)
    rows = decoded.cycles
    assert decoded.dropped == ()
    assert rows.column("stream").to_pylist() == [*STREAMS] * 5
    assert rows.column("sequence").to_pylist() == np.repeat(number, 3).tolist()
    assert rows.column("time").view("int64").to_pylist() == np.repeat(time_us, 3).tolist()
    assert set(rows.column("flags").to_pylist()) == {0}
    cycles = recording.cycles
    kept = np.concatenate([np.flatnonzero(cycles.column("frame").to_numpy() == frame) for frame in number % 600])
    for name, b_name in zip(value_columns("a"), value_columns("b"), strict=True):
        wanted = cycles.column(name).take(kept).to_pylist()
        assert rows.column(name).to_pylist() == wanted
        assert rows.column(b_name).to_pylist() == (wanted if both else [None] * 15)
