"""An aggregator that dies anywhere, and with it an ingest: every row's energy counts once, and the windows fill again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.aggregation import KEY_COLUMNS, ChannelAggregator, Checkpoint
from pipeline.core.channel_intake import ChannelIntake
from pipeline.core.checkpoint import Counted, from_bytes, to_bytes
from pipeline.core.envelope import rows_to_bytes
from pipeline.core.model import STREAMS, value_columns
from pipeline.core.retention import as_retained
from tests.rows import PERIOD_US, START_US, cycles

MESSAGES = 24
WINDOW_US = 8 * PERIOD_US
NOW_US = START_US + MESSAGES * PERIOD_US
thorough = settings(max_examples=200, deadline=None)


ALL = cycles(
    {
        "time": START_US + number * PERIOD_US,
        "received": START_US + number * PERIOD_US,
        "device": device,
        "stream": stream,
        "sequence": number,
        "message": 2 * number + (device == "pdu2"),
        "a_real_power_w": float(100 + number),
    }
    for number in range(MESSAGES)
    for device in ("pdu1", "pdu2")
    for stream in STREAMS
).select([*KEY_COLUMNS, *value_columns("a")])


def rows(first: int, last: int) -> pa.RecordBatch:
    """Messages of two devices, as they are pushed."""
    width = 2 * len(STREAMS)
    return ALL.slice(first * width, (last - first) * width)


def begun(checkpoint: Checkpoint | None = None, counted: Counted | None = None) -> ChannelIntake:
    aggregator = ChannelAggregator("a", STREAMS, WINDOW_US, checkpoint=checkpoint)
    return ChannelIntake(aggregator, counted or {}, 0.0)


def send(
    intake: ChannelIntake, epoch: int, batches: dict[int, pa.RecordBatch], data: st.DataObject, upto: int | None = None
) -> None:
    """As an edge does it: in order from the oldest kept; a call may be lost, and the one behind it come through."""
    oldest = number = min(batches, default=0)
    while number in batches and number != upto:
        ahead = number + 1
        if ahead in batches and data.draw(st.booleans(), "the call before is lost"):
            assert intake.push("ingest-0", epoch, ahead, oldest, rows_to_bytes(batches[ahead]), NOW_US) == number
        answer = intake.push("ingest-0", epoch, number, oldest, rows_to_bytes(batches[number]), NOW_US)
        assert answer == number + 1
        number = answer


def cut(first: int, every: int, number: int = 0) -> dict[int, pa.RecordBatch]:
    return {
        number + place: rows(start, min(start + every, MESSAGES))
        for place, start in enumerate(range(first, MESSAGES, every))
    }


@thorough
@given(st.data())
def test_energy_counts_once_whoever_dies(data: st.DataObject) -> None:
    every = data.draw(st.integers(1, 6), "messages in a batch")
    batches = cut(0, every)
    kept = data.draw(st.integers(0, len(batches)), "batches that the checkpoint knows")
    died = data.draw(st.integers(kept, len(batches)), "batches taken when the aggregator died")
    ingest_dies = data.draw(st.booleans(), "the ingest dies")
    aggregator_dies = data.draw(st.booleans(), "the aggregator dies")

    intake, state = begun(), None
    send(intake, 1, batches, data, upto=kept)
    if kept:
        state = to_bytes(intake.aggregator.checkpoint(), intake.counted(), 7)
    send(intake, 1, {n: batch for n, batch in batches.items() if n >= kept}, data, upto=died)

    if aggregator_dies:
        found = from_bytes(state, 7) if state is not None else None
        intake = begun(*found) if found else begun()
    known = kept if aggregator_dies else died
    if ingest_dies:
        # The successor has heard for longer than a checkpoint is old.
        heard = data.draw(st.integers(0, min(known * every, MESSAGES)), "from where on the successor has heard")
        takes_over = data.draw(st.integers(min(died * every, MESSAGES), MESSAGES), "heard when it takes over")
        size = data.draw(st.integers(1, 8), "retained messages in a batch")
        retained = [as_retained(rows(start, min(start + size, takes_over))) for start in range(heard, takes_over, size)]
        send(intake, 2, {**dict(enumerate(retained)), **cut(takes_over, every, len(retained))}, data)
    else:
        oldest = data.draw(st.integers(0, known), "oldest batch that is retained") if aggregator_dies else died
        send(intake, 1, {n: batch for n, batch in batches.items() if n >= oldest}, data)

    undisturbed = begun()
    send(undisturbed, 1, {0: rows(0, MESSAGES)}, data)
    wanted, summary = undisturbed.summary(1e9), intake.summary(1e9)
    assert wanted is not None
    assert summary is not None
    assert (wanted.energy[:, 0] > 0).all()
    assert summary.stream_keys == wanted.stream_keys
    np.testing.assert_allclose(summary.energy, wanted.energy, rtol=1e-9)


@thorough
@given(st.integers(0, MESSAGES - 10), st.integers(1, 8))
def test_a_successor_fills_the_windows_of_one_that_lost_them(heard: int, size: int) -> None:
    intake = begun()
    for number, start in enumerate(range(heard, MESSAGES, size)):
        batch = as_retained(rows(start, min(start + size, MESSAGES)))
        intake.push("ingest-0", 2, number, 0, rows_to_bytes(batch), NOW_US)
    undisturbed = begun()
    undisturbed.push("ingest-0", 1, 0, 0, rows_to_bytes(rows(0, MESSAGES)), NOW_US)
    wanted, summary = undisturbed.summary(1e9), intake.summary(1e9)
    assert wanted is not None
    assert summary is not None
    np.testing.assert_array_equal(summary.streams.window.trough, wanted.streams.window.trough)
    np.testing.assert_allclose(summary.streams.mean, wanted.streams.mean, rtol=1e-6)
