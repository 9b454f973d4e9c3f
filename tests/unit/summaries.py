"""Summaries as the aggregators answer them, and metrics as they are collected, in plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.core.aggregation import ChannelAggregator, Summary
from pipeline.core.metrics import Snapshot, collect
from pipeline.core.model import STREAMS, value_columns
from tests.rows import cycles

NOW_US = 1_800_000_000_000_000
WINDOW_US = 5_000_000

Series = tuple[str, frozenset[tuple[str, str]]]


def summary_of(rows: Iterable[Mapping[str, Any]], channel: str = "a", streams: Sequence[str] = STREAMS) -> Summary:
    """What an aggregator says after these rows, in which names of values have no channel."""
    columns = {name[2:]: name for name in value_columns(channel)}
    aggregator = ChannelAggregator(channel, streams, WINDOW_US)
    aggregator.push(cycles({columns.get(name, name): value for name, value in row.items()} for row in rows))
    return aggregator.summary()


def summary(channel: str, devices: Mapping[str, Sequence[float]], streams: Sequence[str] = STREAMS) -> Summary:
    """One message of each device, whose eight quantities are given; arrived 5 ms ago, measured 25 ms ago."""
    names = [name[2:] for name in value_columns(channel)]
    common = {"time": NOW_US - 25_000, "received": NOW_US - 5_000, "sequence": 0}
    rows = [
        {**common, "device": device, "stream": stream, "message": number, **dict(zip(names, values, strict=True))}
        for number, (device, values) in enumerate(devices.items())
        for stream in streams
    ]
    return summary_of(rows, channel, streams)


def series(name: str, /, **labels: str) -> Series:
    """What names a sample; a label without a value is none."""
    return name, frozenset((label, value) for label, value in labels.items() if value)


def samples(snapshot: Snapshot) -> dict[Series, float]:
    """All samples that are collected from a snapshot."""
    found = [
        (series(family.name, **dict(zip(part.labels.names, row, strict=True))), value)
        for family, parts in collect(snapshot)
        for part in parts
        for row, value in zip(part.labels.rows, part.values.tolist(), strict=True)
        if value == value
    ]
    assert len(dict(found)) == len(found), "a series is there twice"
    return dict(found)
