"""An aggregator that dies anywhere, and with it an ingest: every row's energy counts once, and the windows fill again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.aggregation import KEY_COLUMNS, ChannelAggregator, Checkpoint
from pipeline.core.catching_up import LONGEST_S
from pipeline.core.channel_intake import ChannelIntake
from pipeline.core.checkpoint import Counted, from_bytes, to_bytes
from pipeline.core.delivery import FENCED
from pipeline.core.energy import GAP, IMPORTED, INTEGRATED
from pipeline.core.envelope import rows_to_bytes
from pipeline.core.model import QUANTITIES, STREAMS, value_columns
from pipeline.core.retention import as_retained
from tests.rows import PERIOD_US, START_US, cycles

MESSAGES = 24
WINDOW_US = 8 * PERIOD_US
NOW_US = START_US + MESSAGES * PERIOD_US
DEVICES = ("pdu1", "pdu2")
POWER_W = 100.0 + np.arange(MESSAGES)
SECONDS = np.array([1 / 60, *[PERIOD_US / 1e6] * (MESSAGES - 1)])  # of each message; nothing tells of the first
REAL_POWER = [quantity.name for quantity in QUANTITIES].index("real_power")
thorough = settings(max_examples=200, deadline=None)


ALL = cycles(
    {
        "time": START_US + number * PERIOD_US,
        "received": START_US + number * PERIOD_US,
        "device": device,
        "stream": stream,
        "sequence": number,
        "message": 2 * number + (device == "pdu2"),
        "a_real_power_w": POWER_W[number],
    }
    for number in range(MESSAGES)
    for device in DEVICES
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

    summary = intake.summary(1e9)
    assert summary is not None
    assert sorted(summary.stream_keys) == sorted((device, stream) for device in DEVICES for stream in STREAMS)
    np.testing.assert_allclose(summary.energy[:, IMPORTED], np.dot(POWER_W, SECONDS), rtol=1e-9)
    np.testing.assert_allclose(summary.energy[:, INTEGRATED], SECONDS.sum(), rtol=1e-9)
    assert (summary.energy[:, GAP] == 0).all()


@thorough
@given(st.integers(0, MESSAGES - 10), st.integers(1, 8))
def test_a_successor_fills_the_windows_of_one_that_lost_them(heard: int, size: int) -> None:
    intake = begun()
    for number, start in enumerate(range(heard, MESSAGES, size)):
        batch = as_retained(rows(start, min(start + size, MESSAGES)))
        intake.push("ingest-0", 2, number, 0, rows_to_bytes(batch), NOW_US)
    summary = intake.summary(1e9)
    assert summary is not None
    assert len(summary.stream_keys) == len(DEVICES) * len(STREAMS)
    assert (summary.streams.window.trough[:, REAL_POWER] == POWER_W[-8]).all()  # the window holds eight messages
    np.testing.assert_allclose(summary.streams.mean[:, REAL_POWER], POWER_W[-8:].mean())


def test_what_an_ingest_alone_has_retained_fills_windows_that_the_checkpoint_has_counted() -> None:
    before = begun()
    before.push("ingest-0", 1, 0, 0, rows_to_bytes(rows(0, MESSAGES)), NOW_US)
    counted = before.counted()
    intake = begun(before.aggregator.checkpoint(), counted)
    intake.push("ingest-0", 2, 0, 0, rows_to_bytes(as_retained(rows(MESSAGES - 4, MESSAGES))), NOW_US)
    summary = intake.summary(1e9)
    assert summary is not None
    assert (summary.streams.window.trough[:, REAL_POWER] == POWER_W[-4]).all()
    np.testing.assert_allclose(summary.energy[:, IMPORTED], np.dot(POWER_W, SECONDS), rtol=1e-9)


def test_what_a_living_aggregator_has_had_already_of_an_ingest_is_not_in_its_windows_twice() -> None:
    intake = begun()
    intake.push("ingest-0", 1, 0, 0, rows_to_bytes(rows(0, MESSAGES)), NOW_US)
    intake.push("ingest-0", 2, 0, 0, rows_to_bytes(as_retained(rows(MESSAGES - 1, MESSAGES))), NOW_US)
    summary = intake.summary(1e9)
    assert summary is not None
    np.testing.assert_allclose(summary.streams.mean[:, REAL_POWER], POWER_W[-8:].mean())


def test_a_row_that_comes_late_counts_also_where_it_comes_of_a_successor() -> None:
    intake = begun()
    intake.push("ingest-0", 1, 0, 0, rows_to_bytes(rows(4, MESSAGES)), NOW_US)
    intake.push("ingest-0", 2, 0, 0, rows_to_bytes(rows(2, 4)), NOW_US)
    summary = intake.summary(1e9)
    assert summary is not None
    np.testing.assert_allclose(summary.energy[:, INTEGRATED], 3 / 60 + (MESSAGES - 5) * PERIOD_US / 1e6, rtol=1e-9)


def test_an_ingest_that_was_replaced_is_told_so() -> None:
    intake = begun()
    intake.push("ingest-0", 2, 0, 0, rows_to_bytes(rows(0, 1)), NOW_US)
    assert intake.push("ingest-0", 1, 0, 0, rows_to_bytes(rows(1, 2)), NOW_US) == FENCED


def test_it_tells_nothing_until_the_senders_of_its_predecessor_have_caught_up() -> None:
    intake = begun(counted={"ingest-0": (1, 3)})
    assert intake.summary(LONGEST_S - 0.1) is None
    intake.push("ingest-0", 1, 3, 3, rows_to_bytes(rows(0, 1)), NOW_US + 10_000_000)
    assert intake.summary(LONGEST_S - 0.1) is None
    intake.push("ingest-0", 1, 4, 3, rows_to_bytes(rows(MESSAGES - 1, MESSAGES)), NOW_US)
    assert intake.summary(0.0) is not None


def test_the_delay_of_a_row_is_what_has_passed_since_its_time() -> None:
    intake = begun()
    intake.push("ingest-0", 1, 0, 0, rows_to_bytes(rows(0, 1)), START_US + 40_000)
    intake.push("ingest-0", 1, 0, 0, rows_to_bytes(rows(0, 1)), START_US + 90_000)  # sent again: counted already
    assert intake.delays.counts.sum() == 6
    assert intake.delays.quantile_ms(1.0) == pytest.approx(40, rel=0.05)
