"""One-second roll-ups against a loop over the rows, whatever batches the rows came in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from math import fsum, isfinite
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.core.model import QUANTITIES, STREAMS, VALUE_COLUMNS
from pipeline.core.rollup import SECOND_US, one_second
from tests.rows import START_US, cycles, parts

thorough = settings(max_examples=100, deadline=None)

Row = dict[str, Any]
Group = tuple[int, str, str, str]  # (start of the second, device, stream, channel)
Series = tuple[Group, str]  # with the quantity's column
Figures = tuple[int, float, float, float, float]  # count, sum, sum of squares, least, greatest


@st.composite
def random_rows(draw: st.DrawFn) -> list[Row]:
    """Rows of any order in a few seconds, near and far, with any float, and with nulls one by one or by channel."""
    count = draw(st.integers(0, 12))
    values = draw(hnp.arrays(np.float32, (count, len(VALUE_COLUMNS)), elements=st.floats(width=32)))
    known = draw(hnp.arrays(bool, values.shape)) | draw(st.booleans())
    present = draw(hnp.arrays(bool, (count, 2))).repeat(len(QUANTITIES), axis=1)
    second = st.sampled_from([0, 0, 1, 1 << 16])
    time_us = st.tuples(second, st.integers(0, SECOND_US - 1)).map(
        lambda time: START_US + time[0] * SECOND_US + time[1]
    )
    return [
        {
            "time": draw(time_us),
            "device": draw(st.sampled_from(["pdu1", "pdu2"])),
            "stream": draw(st.sampled_from(STREAMS[:2])),
            **{name: float(values[row, index]) for index, name in enumerate(VALUE_COLUMNS) if shown[row, index]},
        }
        for shown in [known & present]
        for row in range(count)
    ]


def values_of(rows: Iterable[Row]) -> dict[Series, list[float]]:
    """The known values of each second."""
    values: dict[Series, list[float]] = defaultdict(list)
    for row in rows:
        second_us = row["time"] // SECOND_US * SECOND_US
        for name in VALUE_COLUMNS:
            if isfinite(row.get(name, np.nan)):
                values[(second_us, row["device"], row["stream"], name[0]), name[2:]].append(row[name])
    return values


def rolled_up(batches: Iterable[pa.RecordBatch]) -> tuple[dict[Series, list[Figures]], Counter[Group]]:
    """The figures of each second with known values, one for each batch that has any, and the rows that it counts."""
    figures: dict[Series, list[Figures]] = defaultdict(list)
    rows: Counter[Group] = Counter()
    for batch in batches:
        for rollup in one_second(batch):
            time_us = rollup.column("time").view(pa.int64()).to_pylist()
            names = [rollup.column(name).to_pylist() for name in ("device", "stream", "channel")]
            groups = list(zip(time_us, *names, strict=True))
            assert len(set(groups)) == len(groups)
            for group, row in zip(groups, rollup.to_pylist(), strict=True):
                rows[group] += row["row_count"]
                for quantity in QUANTITIES:
                    own = tuple(row[f"{quantity.column}_{name}"] for name in ("count", "sum", "sumsq", "min", "max"))
                    if own[0]:
                        figures[group, quantity.column].append(own)
                    else:
                        assert own == (0, 0.0, 0.0, None, None)
    return figures, rows


def close(numbers: Sequence[float]) -> Any:
    return pytest.approx(fsum(numbers), rel=1e-12, abs=1e-12 * fsum(map(abs, numbers)))


@thorough
@given(random_rows(), st.lists(st.integers(0, 12), max_size=4))
def test_roll_ups_of_any_batches_add_up_to_the_values(rows: list[Row], cuts: list[int]) -> None:
    for batches in ([cycles(rows)], parts(cycles(rows), cuts)):
        figures, _ = rolled_up(batches)
        wanted = values_of(rows)
        assert figures.keys() == wanted.keys()
        for series, values in wanted.items():
            counts, sums, squares, least, greatest = zip(*figures[series], strict=True)
            assert (sum(counts), min(least), max(greatest)) == (len(values), min(values), max(values))
            assert fsum(sums) == close(values)
            assert fsum(squares) == close([value * value for value in values])


def test_rows_that_lack_a_channel_count_alike_in_any_batches() -> None:
    row = {"a_real_power_w": 1.0}
    rows = cycles([row | {"b_real_power_w": 2.0}, row, row | {"b_real_power_w": float("nan")}])
    figures, whole = rolled_up([rows])
    _, cut = rolled_up(parts(rows, [1, 2]))
    assert {group[-1] for group, _ in figures} == {"a", "b"}
    assert cut == whole


def test_a_second_in_which_a_channel_was_not_sent_has_no_row_of_it() -> None:
    row = {"a_real_power_w": 1.0}
    rows = cycles([row | {"b_real_power_w": 2.0}, row | {"time": START_US + SECOND_US}])
    of_channel = {rollup.column("channel")[0].as_py(): rollup.num_rows for rollup in one_second(rows)}
    assert of_channel == {"a": 2, "b": 1}
