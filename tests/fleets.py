"""Fleets of made-up devices and their cycles, from plain arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.config import Breaker, Device, Fleet
from pipeline.core.fleet.checkpoint import Kept, from_bytes, to_bytes
from pipeline.core.fleet.combiner import Combiner
from pipeline.core.fleet.membership import Membership, Place
from pipeline.core.fleet.part import Part
from pipeline.core.fleet.ratings import Ratings
from pipeline.core.fleet.shard import FleetShard
from pipeline.core.fleet.summary import Figures, FleetSummary
from pipeline.core.model import STREAMS, TIMESTAMP

START_S: Final = 1_800_000_000
START_US: Final = START_S * 1_000_000
HZ: Final = 60.0


def devices(racks: int, each: int = 2, **told: Any) -> tuple[Device, ...]:
    """Racks `r0` ..., ten in a row, with so many devices each, on feeds A and B in turn."""
    return tuple(
        Device(
            f"r{rack}-{n}",
            f"tcp://r{rack}:{n + 1}",
            rack=f"r{rack}",
            feed="AB"[n % 2],
            row=f"row{rack // 10}",
            hall="hall",
            site="site",
            **told,
        )
        for rack in range(racks)
        for n in range(each)
    )


@dataclass(frozen=True)
class Cycles:
    """Rows as arrays of one shape (rows,); `device` and `stream` are indices."""

    names: tuple[str, ...]
    device: NDArray[np.int64]
    stream: NDArray[np.int64]
    time_us: NDArray[np.int64]
    received_us: NDArray[np.int64]
    power_w: NDArray[np.float32]
    current_a: NDArray[np.float32]
    flags: NDArray[np.int32]

    def at(self, index: Any) -> Cycles:
        return Cycles(self.names, *(getattr(self, name)[index] for name in list(self.__dataclass_fields__)[1:]))

    def batch(self, streams: Sequence[str] = STREAMS) -> pa.RecordBatch:
        """As an aggregator gets them; NaN is null."""
        columns = {
            "time": pa.array(self.time_us).view(TIMESTAMP),
            "received": pa.array(self.received_us).view(TIMESTAMP),
            "device": pa.DictionaryArray.from_arrays(pa.array(self.device.astype(np.int32)), pa.array(self.names)),
            "stream": pa.DictionaryArray.from_arrays(pa.array(self.stream.astype(np.int32)), pa.array(list(streams))),
            "flags": pa.array(self.flags),
            "a_real_power_w": pa.array(self.power_w, from_pandas=True),
            "a_rms_current_a": pa.array(self.current_a, from_pandas=True),
        }
        return pa.RecordBatch.from_pydict(columns)


def cycles(
    fleet: Sequence[Device],
    power_w: NDArray[np.floating[Any]],
    begin_us: NDArray[np.int64] | int = START_US,
    delay_us: NDArray[np.int64] | int = 3_000,
    clock_us: NDArray[np.int64] | int = 0,
    hz: float = HZ,
    volts: float = 277.0,
) -> Cycles:
    """Cycles of a fleet, in order of time.

    Args:
        power_w: of each device, cycle and stream: shape (devices, cycles, streams).
        begin_us: true start of the first cycle of each device.
        delay_us: from a cycle's true start to its arrival.
        clock_us: how far each device's clock is ahead.
    """
    count, length, streams = power_w.shape
    device, cycle, stream = (a.ravel() for a in np.meshgrid(range(count), range(length), range(streams), indexing="ij"))
    begin, delay, clock = (np.broadcast_to(np.asarray(told), count) for told in (begin_us, delay_us, clock_us))
    true_us = begin[device] + np.rint(cycle * 1e6 / hz).astype(np.int64)
    power = power_w.astype(np.float32).reshape(-1)
    made = Cycles(
        tuple(d.name for d in fleet),
        device,
        stream,
        true_us + clock[device],
        true_us + delay[device],
        power,
        (power / volts).astype(np.float32),
        np.zeros(len(device), np.int32),
    )
    return made.at(np.lexsort((stream, device, made.received_us)))


class Run:
    """A fleet of one shard, fed by arrival and asked so often."""

    def __init__(
        self,
        fleet: Sequence[Device],
        settings: Fleet | None = None,
        breakers: Sequence[Breaker] = (),
        before: Kept | None = None,
    ) -> None:
        settings, before = settings or Fleet(), before or Kept()
        self.shard = FleetShard(fleet, STREAMS, HZ, settings, before.shard)
        membership = Membership(fleet, STREAMS, HZ)
        ratings = Ratings.of(membership.places, fleet, breakers)
        closed = before.totals.closed if before.totals else None
        self.combiner = Combiner(membership, (0,), settings.shard_wait_s, 0.0, closed)
        self.summary = FleetSummary(membership.places, self.shard.slots, ratings, settings.percentile_s, before.totals)
        self.figures: list[Figures] = []

    def feed(self, given: Cycles, every_s: float = 0.25, rest_s: float = 5.0) -> list[Figures]:
        """Push what arrived, then advance, so often; at the end wait until all is told. Answers all figures so far."""
        first, last = int(given.received_us.min()), int(given.received_us.max())
        step = int(every_s * 1e6)
        for now_us in range(first + step, last + step + int(rest_s * 1e6), step):
            came = (given.received_us >= now_us - step) & (given.received_us < now_us)
            if came.any():
                self.shard.push(given.at(came).batch())
            for part in parts(self.shard, now_us):
                self.combiner.push(0, part, 0.0)
            self.figures += map(self.summary.push, self.combiner.advance(0.0))
        return self.figures

    def carry(self, fleet: Sequence[Device]) -> None:
        """From now on for these devices."""
        membership = Membership(fleet, STREAMS, HZ)
        self.shard.carry(fleet, Fleet())
        self.combiner.carry(membership, (0,), Fleet().shard_wait_s, 0.0)
        self.summary.carry(membership.places, Ratings.of(membership.places, fleet, ()))

    def kept(self) -> Kept:
        """What is kept of it, as bytes and back."""
        return from_bytes(to_bytes(Kept(self.summary.totals(), self.shard.state(), {})))

    def row(self, level: str, name: str, phase: str = "all") -> int:
        return self.shard.membership.places.index(Place(level, name, phase))


def parts(shard: FleetShard, now_us: int) -> list[Part]:
    """What a shard tells, as bytes and back."""
    names = shard.membership.devices
    made = [Part(sums, names, shard.delays_us(), shard.excluded.copy()) for sums in shard.advance(now_us)]
    return [Part.from_bytes(part.to_bytes()) for part in made]


def by_second(figures: Iterable[Figures]) -> dict[int, Figures]:
    """By seconds since `START_S`."""
    return {each.second - START_S: each for each in figures}
