"""Summaries as the aggregators answer them, for the status document and the metrics page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from pipeline.core.aggregation import ChannelAggregator, Summary
from pipeline.core.model import STREAMS, TIMESTAMP, value_columns

NOW_US = 1_800_000_000_000_000


def summary(channel: str, devices: Mapping[str, Sequence[float]], streams: Sequence[str] = STREAMS) -> Summary:
    """One message of each device, whose eight quantities are given; arrived 5 ms ago, measured 25 ms ago."""
    aggregator = ChannelAggregator(channel, streams, 5_000_000)
    for number, (device, values) in enumerate(devices.items()):
        count = len(streams)
        rows = {
            "time": pa.array([NOW_US - 25_000] * count, pa.int64()).view(TIMESTAMP),
            "received": pa.array([NOW_US - 5_000] * count, pa.int64()).view(TIMESTAMP),
            "device": pa.array([device] * count).dictionary_encode(),
            "stream": pa.array(streams).dictionary_encode(),
            "message": pa.array([number] * count, pa.int64()),
        }
        rows |= {
            name: pa.array([value] * count, pa.float32(), from_pandas=True)
            for name, value in zip(value_columns(channel), np.asarray(values, np.float32), strict=True)
        }
        aggregator.push(pa.RecordBatch.from_pydict(rows))
    return aggregator.summary()
