"""A channel's aggregator: what adds up over phases, what a mean is, what a successor goes on from."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.aggregation import TIMELESS_S, TOTALS, ChannelAggregator, Summary, of_channel
from pipeline.core.energy import GAP, IMPORTED, INTEGRATED
from pipeline.core.model import QUANTITIES, STREAMS, Flag, value_columns
from pipeline.core.retention import as_retained, is_retained
from tests.rows import PERIOD_US, START_US, cycles, parts

WINDOW_US = 1_000_000
ALL = (*STREAMS, "neutral")
Row = dict[str, Any]


def aggregator() -> ChannelAggregator:
    return ChannelAggregator("a", STREAMS, WINDOW_US)


def message(
    ordinal: int, values: Sequence[float | None] = (1.0, 2.0, 3.0), streams: Sequence[str] = STREAMS, **row: Any
) -> list[Row]:
    """The rows of one message, each quantity of a stream of one value; `ordinal` periods after the start."""
    time_us = START_US + ordinal * PERIOD_US
    common = {"time": time_us, "received": time_us, "sequence": ordinal, "message": ordinal, **row}
    return [
        {**common, "stream": stream, **dict.fromkeys(value_columns("a"), value)}
        for stream, value in zip(streams, values, strict=True)
    ]


def pushed(*batches: pa.RecordBatch) -> Summary:
    one = aggregator()
    for batch in batches:
        one.push(batch)
    return one.summary()


def total_of(summary: Summary, device: str = "pdu1") -> list[float]:
    return [float(value) for value in summary.totals.mean[summary.total_devices.index(device)]]


def traffic(seed: int) -> list[Row]:
    """Messages of three devices, interleaved and out of order; some lack a stream, have it twice, or lack a value."""
    rng = random.Random(seed)
    messages = []
    for ordinal in range(200):
        streams = rng.choice([STREAMS] * 6 + [STREAMS[:2], (STREAMS[0], *STREAMS[:2]), ALL])
        values = [rng.choice([rng.gauss(0, 100)] * 9 + [None, float("nan")]) for _ in streams]
        time_us = START_US + (ordinal - rng.choice([0, 0, 20])) * PERIOD_US + ordinal
        rows = message(ordinal, values, streams, device=f"pdu{ordinal % 3}", time=time_us)
        for row in rows:
            row["a_apparent_power_va"] = rng.choice([rng.uniform(0, 100)] * 9 + [None])
        messages.append(rows)
    messages.sort(key=lambda rows: rows[0]["message"] + rng.choice([0, 0, 30]))
    return [row for rows in messages for row in rows]


def batches(rows: Sequence[Row], seed: int) -> list[pa.RecordBatch]:
    """The rows in some twenty batches, as messages come whole."""
    starts = [index for index in range(1, len(rows)) if rows[index]["message"] != rows[index - 1]["message"]]
    return parts(cycles(rows), random.Random(seed).sample(starts, 20))


def expected_totals(rows: Iterable[Row], device: str) -> list[list[float]]:
    """Sums over the phases of each message that is in the window of its device: one row a message."""
    messages: dict[int, list[Row]] = {}
    rows = list(rows)
    newest_us = max(row["time"] for row in rows if row["device"] == device)
    for row in rows:
        if row["device"] == device and row["stream"] in STREAMS:
            messages.setdefault(row["message"], []).append(row)
    whole = [rows for rows in messages.values() if sorted(row["stream"] for row in rows) == sorted(STREAMS)]
    columns = [f"a_{quantity.column}" for name in TOTALS for quantity in QUANTITIES if quantity.name == name]
    return [
        [sum(float(np.nan if row[column] is None else row[column]) for row in rows) for column in columns]
        for rows in whole
        if rows[0]["time"] > newest_us - WINDOW_US
    ]


@pytest.mark.parametrize("seed", range(10))
def test_totals_add_the_phases_of_whole_messages_only(seed: int) -> None:
    rows = traffic(seed)
    summary = pushed(*batches(rows, seed))
    assert sorted(summary.total_devices) == ["pdu0", "pdu1", "pdu2"]
    for index, device in enumerate(summary.total_devices):
        wanted = np.array(expected_totals(rows, device), np.float64)
        np.testing.assert_allclose(summary.totals.mean[index], np.nanmean(wanted, axis=0), atol=1e-3)
        np.testing.assert_allclose(summary.totals.window.peak[index], np.nanmax(wanted, axis=0), atol=1e-3)
        np.testing.assert_allclose(summary.totals.window.trough[index], np.nanmin(wanted, axis=0), atol=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_a_summary_does_not_depend_on_how_messages_were_batched(seed: int) -> None:
    rows = traffic(seed)
    first = cycles(row for number in range(3) for row in message(number, [0.0] * 4, ALL, device=f"pdu{number}"))
    same(pushed(first, cycles(rows)), pushed(first, *batches(rows, seed)))


def same(one: Any, other: Any) -> None:
    for field in fields(one):
        mine, its = getattr(one, field.name), getattr(other, field.name)
        if is_dataclass(mine):
            same(mine, its)
        elif isinstance(mine, np.ndarray):
            np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-6, err_msg=field.name)
        else:
            assert mine == its


def seconds(first: int, last: int, value: float, streams: Sequence[str] = STREAMS, **row: Any) -> list[pa.RecordBatch]:
    """Twenty messages a batch, from and until a second."""
    numbers = [range(start, start + 20) for start in range(60 * first, 60 * last, 20)]
    return [
        cycles([each for number in some for each in message(number, [value] * len(streams), streams, **row)])
        for some in numbers
    ]


def test_a_phase_that_has_gone_shows_nothing_once_its_window_is_over() -> None:
    one = aggregator()
    for batch in seconds(0, 2, 20.0):
        one.push(batch)
    for batch in seconds(2, 4, 50.0, STREAMS[:2]):
        one.push(batch)
    summary = one.summary()
    gone = summary.stream_keys.index(("pdu1", STREAMS[2]))
    for figures in (summary.streams.mean, summary.streams.window.latest, summary.streams.window.peak):
        assert np.isnan(figures[gone]).all()
        assert np.isfinite(np.delete(figures, gone, axis=0)).all()
    assert np.isnan(summary.totals.mean).all()
    assert summary.streams.held_max[gone].max() == 20.0  # held for longer than a window
    for batch in seconds(4, 200, 50.0, STREAMS[:2]):
        one.push(batch)
    summary = one.summary()
    assert np.isnan(summary.streams.held_max[gone]).all()
    assert np.isnan(summary.totals.held_max).all()


@pytest.mark.parametrize("ahead", [1, 60 * 60], ids=["a single time ahead", "a clock that is set back"])
def test_a_time_that_is_ahead_does_not_freeze_the_figures(ahead: int) -> None:
    one = aggregator()
    before = [message(number, [20.0] * 3, time=START_US + number * PERIOD_US + 240_000_000) for number in range(ahead)]
    one.push(cycles([row for rows in before for row in rows]))
    for batch in seconds(ahead // 60 + 1, ahead // 60 + 4, 70.0):
        one.push(batch)
    summary = one.summary()
    assert summary.streams.window.trough[:, 0].tolist() == [70.0] * 3
    assert summary.streams.window.latest[:, 0].tolist() == [70.0] * 3
    assert summary.totals.window.trough[0, 0] == 210.0
    assert summary.streams.held_max[:, 0].tolist() == [70.0] * 3
    assert summary.streams.held_min[:, 0].tolist() == [20.0] * 3  # what was held until then still is


def test_a_device_that_was_never_heard_takes_nothing_from_the_others() -> None:
    """A decoder's dictionary names all devices of its ingest, whether they send or not."""
    rows = cycles(message(1, [2.0] * 3))
    place = rows.schema.get_field_index("device")
    device = pa.DictionaryArray.from_arrays(pa.array([0] * 3, pa.int32()), pa.array(["pdu1", "silent"]))
    summary = pushed(rows.set_column(place, rows.schema.field("device"), device))
    assert summary.streams.mean[:, 0].tolist() == [2.0] * 3
    assert summary.totals.mean[summary.total_devices.index("pdu1"), 0] == 6.0
    assert np.isnan(summary.totals.mean[summary.total_devices.index("silent")]).all()


def test_a_stream_that_stays_ahead_takes_nothing_from_the_others() -> None:
    """One message of a stream that is rarely sent has a time stamp of five minutes later."""
    one = aggregator()
    one.push(cycles(message(1, [9.0], ["neutral"], time=START_US + 300_000_000)))
    for batch in seconds(0, 3, 1.0):
        one.push(batch)
    summary = one.summary()
    row = {key[1]: row for row, key in enumerate(summary.stream_keys)}
    assert summary.streams.mean[[row[stream] for stream in STREAMS], 0].tolist() == [1.0] * 3
    assert summary.totals.mean[0, 0] == 3.0
    assert summary.streams.held_max[row[STREAMS[0]], 0] == 1.0
    assert np.isnan(summary.streams.mean[row["neutral"]]).all()


def test_rows_that_come_late_do_not_count_as_a_clock_that_is_set_back() -> None:
    one = aggregator()
    for batch in seconds(0, 9, 1.0):
        one.push(batch)
    one.push(cycles(message(60, [5.0] * 3)))  # eight seconds late
    summary = one.summary()
    assert (summary.streams.window.newest_us == START_US + (9 * 60 - 1) * PERIOD_US).all()
    assert summary.streams.window.peak[:, 0].tolist() == [1.0] * 3


def test_one_absurd_cycle_does_not_hide_the_energy_of_all_others() -> None:
    one = aggregator()
    for batch in seconds(0, 1, 900.0):
        one.push(batch)
    before = one.summary().energy[:, IMPORTED].copy()
    one.push(cycles(message(60, [1e30] * 3)))
    for batch in seconds(1, 2, 900.0):
        one.push(batch.slice(3) if batch.column("sequence")[0].as_py() == 60 else batch)
    energy = one.summary().energy
    np.testing.assert_allclose(energy[:, IMPORTED] - before, 900.0, rtol=0.02)
    np.testing.assert_allclose(energy[:, GAP], 1 / 60, rtol=0.02)


def test_rows_that_only_share_a_time_do_not_add_up() -> None:
    summary = pushed(cycles([*message(1)[:1], *message(2, time=START_US)[1:]]))
    assert np.isnan(summary.totals.mean).all()
    assert np.isnan(summary.total_power_factor).all()


def test_a_phase_without_a_value_makes_that_quantity_unknown_and_no_other() -> None:
    rows = message(1)
    rows[1]["a_reactive_power_var"] = None
    summary = pushed(cycles(rows))
    np.testing.assert_array_equal(total_of(summary), [6.0, np.nan, 6.0])
    np.testing.assert_array_equal(summary.total_power_factor, [1.0])


def test_means_of_rms_values_and_of_the_power_factor_are_those_of_energy() -> None:
    rows = message(0, [3.0], STREAMS[:1]) + message(1, [4.0], STREAMS[:1])
    for row, real_w, apparent_va in zip(rows, (10.0, 0.0), (10.0, 30.0), strict=True):
        row |= {"a_real_power_w": real_w, "a_apparent_power_va": apparent_va, "a_power_factor": 0.77}
    by_name = dict(zip((quantity.name for quantity in QUANTITIES), pushed(cycles(rows)).streams.mean[0], strict=True))
    assert by_name["rms_voltage"] == by_name["rms_current"] == pytest.approx(12.5**0.5)
    assert by_name["dc_offset_voltage"] == pytest.approx(3.5)
    assert by_name["power_factor"] == pytest.approx(0.25)
    idle = message(0)
    for row in idle:
        row["a_apparent_power_va"] = 0.0
    summary = pushed(cycles(idle))
    assert np.isnan(summary.streams.mean[:, -1]).all()
    assert np.isnan(summary.total_power_factor).all()


def test_only_its_own_channel_is_read() -> None:
    rows = cycles([{**row, "b_real_power_w": 99.0} for row in message(1)])
    other = ChannelAggregator("b", STREAMS, WINDOW_US)
    other.push(rows)
    np.testing.assert_array_equal(total_of(other.summary()), [297.0, np.nan, np.nan])
    assert total_of(pushed(rows)) == [6.0, 6.0, 6.0]


def test_totals_have_a_row_for_each_of_their_devices() -> None:
    partial = message(1, (1.0, 2.0), STREAMS[:2], device="lacks a phase")
    for rows in (partial, [*message(0), *partial]):
        summary = pushed(cycles(rows))
        assert len(summary.totals.mean) == len(summary.total_devices) == len(summary.total_power_factor)
        assert len(summary.totals.held_max) == len(summary.total_devices)


def test_a_successor_goes_on_with_the_energy_and_fills_its_windows_again() -> None:
    first = aggregator()
    first.push(cycles([row for ordinal in range(3) for row in message(ordinal)]))
    before = first.checkpoint()
    first.push(cycles(message(3)))
    successor = ChannelAggregator("a", STREAMS, WINDOW_US, checkpoint=before)
    assert successor.checkpoint().keys == before.keys
    for ordinal in range(4):
        successor.push(cycles(message(ordinal)), counted=ordinal < 3)
    same(first.summary(), successor.summary())
    energy = successor.summary().energy
    np.testing.assert_allclose(energy[:, INTEGRATED], 1 / 60 + 3 * PERIOD_US / 1e6)
    np.testing.assert_allclose(energy[:, IMPORTED], energy[:, INTEGRATED] * [1, 2, 3])


def test_a_device_without_times_counts_a_period_of_its_own_mains_also_with_a_successor() -> None:
    hz = {"eu": 50.0, "us": 60.0}.__getitem__
    first = ChannelAggregator("a", STREAMS, WINDOW_US, nominal_hz=hz)
    rows = [row for device in ("us", "eu") for n in range(30) for row in message(n, device=device, flags=1)]
    first.push(cycles(rows))
    second = ChannelAggregator("a", STREAMS, WINDOW_US, nominal_hz=hz, checkpoint=first.checkpoint())
    second.push(cycles([row | {"sequence": row["sequence"] + 30} for row in rows]))
    summary = second.summary()
    seconds = dict(zip(summary.stream_keys, summary.energy[:, INTEGRATED], strict=True))
    for stream in STREAMS:
        assert seconds["eu", stream] == pytest.approx(60 / 50)
        assert seconds["us", stream] == pytest.approx(60 / 60)


def test_a_device_that_loses_its_clock_has_no_delay() -> None:
    aggregator = ChannelAggregator("a", STREAMS, WINDOW_US)
    aggregator.push(cycles([*message(0), *message(0, device="other")]))
    assert set(aggregator.summary().delay_us) == {"pdu1", "other"}
    last = round(TIMELESS_S * 1e6 / PERIOD_US)
    aggregator.push(cycles(message(last - 1, flags=1)))
    assert set(aggregator.summary().delay_us) == {"pdu1", "other"}
    aggregator.push(cycles(message(last + 1, flags=1)))
    assert set(aggregator.summary().delay_us) == {"other"}
    aggregator.push(cycles(message(last + 2)))
    assert set(aggregator.summary().delay_us) == {"pdu1", "other"}


def test_a_device_whose_mains_are_corrected_counts_periods_of_the_new_ones() -> None:
    hz = {"pdu1": 60.0}
    aggregator = ChannelAggregator("a", STREAMS, WINDOW_US, nominal_hz=lambda device: hz[device])
    aggregator.push(cycles([row for n in range(60) for row in message(n, flags=1)]))
    hz["pdu1"] = 50.0
    aggregator.rate_anew()
    aggregator.push(cycles([row for n in range(60, 110) for row in message(n, flags=1)]))
    assert aggregator.summary().energy[:, INTEGRATED] == pytest.approx(np.full(len(STREAMS), 2.0))


def test_a_successor_has_a_row_for_each_stream_before_any_arrives() -> None:
    first = aggregator()
    first.push(cycles(message(0)))
    summary = ChannelAggregator("a", STREAMS, WINDOW_US, checkpoint=first.checkpoint()).summary()
    assert len(summary.stream_keys) == 3
    assert [len(table) for table in (summary.streams.mean, summary.streams.held_max, summary.energy)] == [3, 3, 3]
    assert summary.streams.window.newest_us.tolist() == [0, 0, 0]


def test_delay_is_that_of_the_newest_message_with_a_time_of_its_own() -> None:
    timed = message(0, received=START_US + 40_000)
    untimed = message(1, received=START_US + 50_000, time=START_US + 50_000, flags=int(Flag.TIME_ABSENT))
    never = message(2, device="pdu2", flags=int(Flag.TIME_IMPLAUSIBLE))
    summary = pushed(cycles(timed), cycles([*untimed, *never]))
    assert summary.received_us == {"pdu1": START_US + 50_000, "pdu2": START_US + 2 * PERIOD_US}
    assert summary.delay_us == {"pdu1": 40_000}


def test_a_channel_has_the_rows_of_which_it_has_a_value() -> None:
    both = [{**row, "b_real_power_w": 5.0} for row in message(1, device="both")]
    one, nothing = message(0, device="one"), message(2, (None, None, None), device="nothing")
    rows = as_retained(cycles([*one, *both, *nothing]))
    of_a, of_b = of_channel(rows, "a"), of_channel(rows, "b")
    assert of_a.column("device").to_pylist() == ["one"] * 3 + ["both"] * 3
    assert of_b.column("device").to_pylist() == ["both"] * 3
    assert is_retained(of_a)
    assert is_retained(of_b)
    assert of_b.column("b_real_power_w").to_pylist() == [5.0] * 3
    assert of_channel(cycles(both), "a").num_rows == 3
    assert of_channel(cycles(one), "b").num_rows == 0
    assert of_channel(cycles([]), "b").num_rows == 0
