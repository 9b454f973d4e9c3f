"""The four scenarios, and their recordings: every frame of a simulated meter at the inlet of a simulated server.

All four serve the same requests (these depend on the seed alone), so that what differs between them is the cap. A
shorter duration gives exactly the beginning of a longer one, and the same seed always the same frames.

Must not know: files, CSV.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from pipeline.core.model import STREAMS, value_columns
from pipeline.simulation.mains import SAMPLE_RATE_HZ, Mains
from pipeline.simulation.meter import CycleMeter, Cycles
from pipeline.simulation.powercap import IDLE_W, PowerCap
from pipeline.simulation.requests import Arrivals
from pipeline.simulation.server import Server
from pipeline.simulation.workload import GPUS, STEP_S, Workload

DEFAULT_SEED: Final = 17  # of the shipped recordings: busy stretches, lulls and bursts, 703 W per GPU while it serves
START_MS: Final = 1_735_689_600_000  # 2025-01-01T00:00:00Z; a recording has to begin at some time
UNCAPPED_W: Final = float("inf")
_CYCLE_W: Final = (900.0, 600.0, 300.0)
_HOLD_S: Final = 10.0
_DRAIN_S: Final = 13.0  # no new requests: the end meets the beginning when a recording loops

SCHEMA: Final = pa.schema(
    [
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("time_ms", pa.int64(), nullable=False),  # start of the cycle since the epoch
        pa.field("stream", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        *(pa.field(column, pa.float64()) for column in value_columns("a")),
    ]
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens to the server. `caps`: (moment in s, limit in W per GPU), by moment."""

    name: str
    content: str
    duration_s: float
    caps: tuple[tuple[float, float], ...] = ()


def _cycling(from_s: float, rounds: int) -> tuple[tuple[float, float], ...]:
    limits = _CYCLE_W * rounds
    return tuple((from_s + _HOLD_S * index, limit_w) for index, limit_w in enumerate(limits))


SCENARIOS: Final = (
    Scenario("sample1-b200-no-powercap", "serving without a power cap", 198.0),
    Scenario("sample2-b200-static-powercap", "the same requests under 300 W per GPU", 198.0, ((0.0, 300.0),)),
    Scenario(
        "sample3-b200-dynamic-powercap",
        "caps of 900, 600 and 300 W per GPU in turn, 10 s each",
        270.0,
        _cycling(0.0, 9),
    ),
    Scenario(
        "sample4-b200-partial-dynamic-powercap",
        "no cap but in the middle, where 900, 600 and 300 W per GPU take turns twice",
        240.0,
        (*_cycling(90.0, 2), (150.0, UNCAPPED_W)),
    ),
)


def simulate(scenario: Scenario, seed: int = DEFAULT_SEED, duration_s: float | None = None) -> pa.Table:
    """All frames of a scenario, `SCHEMA`: three rows a frame, one per stream, in that order.

    Args:
        scenario: one of `SCENARIOS`.
        seed: of all random draws, 0 or more.
        duration_s: the frames that end by then; by default the scenario's own duration, which is also the longest.
    """
    return pa.Table.from_batches(blocks(scenario, seed, duration_s), SCHEMA)


def blocks(scenario: Scenario, seed: int = DEFAULT_SEED, duration_s: float | None = None) -> Iterator[pa.RecordBatch]:
    """The same, a batch for each simulated second, so that a caller can show how far it is.

    Raises:
        ValueError: a negative seed, or a duration that is not above zero or beyond the scenario's.
    """
    end_s = scenario.duration_s if duration_s is None else duration_s
    if not 0.0 < end_s <= scenario.duration_s:
        raise ValueError(f"{scenario.name} lasts {scenario.duration_s:g} s; asked were {end_s:g} s")
    if seed < 0:
        raise ValueError(f"a seed is 0 or more, not {seed}")
    return _blocks(scenario, seed, end_s)


def gpu_workload(scenario: Scenario, seed: int = DEFAULT_SEED) -> Workload:
    """The GPUs of a scenario. Requests and GPUs draw from the seed alone: they are the same in every scenario."""
    cap = PowerCap(scenario.caps, np.random.default_rng([seed, 1]), STEP_S)
    arrivals = Arrivals(np.random.default_rng([seed, 2]), scenario.duration_s - _DRAIN_S)
    return Workload(arrivals, cap, np.random.default_rng([seed, 3]))


def _blocks(scenario: Scenario, seed: int, end_s: float) -> Iterator[pa.RecordBatch]:
    workload = gpu_workload(scenario, seed)
    server = Server(STEP_S, GPUS * IDLE_W)
    mains = Mains(np.random.default_rng([seed, 4, SCENARIOS.index(scenario)]), server.ac_w)
    meter = CycleMeter()
    frames = 0
    for _ in range(int(np.ceil(end_s))):
        waveforms = mains.push(server.push(workload.next_second().sum(axis=0)))
        cycles = meter.push(waveforms.voltage_v, waveforms.current_a)
        if cycles is not None:
            batch = _batch(cycles, frames, end_s)
            frames += batch.num_rows // len(STREAMS)
            yield batch


def _batch(cycles: Cycles, first: int, end_s: float) -> pa.RecordBatch:
    """Cycles as rows: frame after frame, the three streams within each."""
    count = int(np.count_nonzero(cycles.end <= end_s * SAMPLE_RATE_HZ))
    frame = np.repeat(first + np.arange(count), len(STREAMS))
    time_ms = START_MS + np.rint(cycles.start[:count] * (1000.0 / SAMPLE_RATE_HZ)).astype(np.int64)
    values = [
        getattr(cycles.figures, column.removeprefix("a_"))[:, :count].T.reshape(-1) for column in value_columns("a")
    ]
    return pa.RecordBatch.from_arrays(
        [
            pa.array(frame),
            pa.array(np.repeat(time_ms, len(STREAMS))),
            pa.array(list(STREAMS) * count, pa.string()),
            pa.array(frame),
            *(pa.array(column) for column in values),
        ],
        schema=SCHEMA,
    )
