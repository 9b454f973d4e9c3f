"""Who belongs where: from configured devices to index arrays, so that adding up is a gather and a sum.

A *series* is a device's stream that is some phase's. A *member* is a device in one phase, or in `all`, its phases
together. A *place* is a rack, row, hall, site or feed in one phase or `all`; it has the members that stand there.

Must not know: time, power.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.config import LEVELS, PHASES, Device, PipelineConfig
from pipeline.core.keys import Key

ALL: Final = "all"  # the phases together
MOST_TABLES: Final = 256  # a few for each ingest
WHOLE: Final = "fleet"  # the site of devices that have none, where no device has any place


class Place(NamedTuple):
    """What is summed up: `phase` is A, B, C or `all`."""

    level: str
    name: str
    phase: str


@dataclass(frozen=True, slots=True)
class Groups:
    """A partition of rows that may overlap: group g has `rows[starts[g]:starts[g + 1]]`, at least one."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]]) -> Groups:
        """From lists of row numbers."""
        sizes = [len(group) for group in groups]
        return cls(
            np.array([row for group in groups for row in group], np.int64),
            np.cumsum([0, *sizes[:-1]]).astype(np.int64) if sizes else np.empty(0, np.int64),
        )

    def sum(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sum of each group's rows, shape (groups, ...)."""
        if len(self.starts) == 0:
            return np.empty((0, *values.shape[1:]), values.dtype)
        return np.add.reduceat(values.take(self.rows, axis=0), self.starts, axis=0)

    def least(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """The least of each group's rows."""
        if len(self.starts) == 0:
            return np.empty((0, *values.shape[1:]), values.dtype)
        return np.minimum.reduceat(values.take(self.rows, axis=0), self.starts, axis=0)


def standing(devices: Sequence[Device]) -> tuple[Device, ...]:
    """The devices of a whole fleet; where none of them has any place, all are in one site."""
    if any(getattr(device, level) for device in devices for level in LEVELS):
        return tuple(devices)
    return tuple(replace(device, site=WHOLE) for device in devices)


class Membership:
    """Index arrays of a fleet, in a defined order: devices as given, places by level, name and phase.

    Args:
        devices: those of this shard.
        streams: the pipeline's, to which the devices' phases belong.
        mains_hz: of devices that do not say otherwise.
    """

    def __init__(self, devices: Sequence[Device], streams: Sequence[str], mains_hz: float) -> None:
        self.devices = tuple(device.name for device in devices)
        self._series: dict[Key, int] = {}
        self._tables: dict[tuple[tuple[str, ...], tuple[str, ...]], NDArray[np.int64]] = {}  # by names of a batch
        of_member: list[list[int]] = []
        member_keys: list[Key] = []  # (device, phase)
        of_place: dict[Place, list[int]] = defaultdict(list)
        device_of: list[int] = []
        period_us: list[float] = []
        channels: list[tuple[bool, bool]] = []
        for index, device in enumerate(devices):
            by_phase: dict[str, list[int]] = defaultdict(list)
            for stream, phase in zip(streams, device.phases, strict=False):
                if phase:
                    self._series[device.name, stream] = row = len(self._series)
                    by_phase[phase].append(row)
                    device_of.append(index)
                    period_us.append(1e6 / (device.mains_hz or mains_hz))
                    channels.append(("a" in device.channels, "b" in device.channels))
            if by_phase:
                by_phase[ALL] = [row for phase in PHASES for row in by_phase.get(phase, ())]
            for phase, rows in by_phase.items():
                for level in LEVELS:
                    if name := getattr(device, level):
                        of_place[Place(level, name, phase)].append(len(of_member))
                of_member.append(rows)
                member_keys.append((device.name, phase))
        self.places = tuple(sorted(of_place, key=lambda p: (LEVELS.index(p.level), p.name, p.phase)))
        self.members = Groups.of(of_member)  # of series
        self.standing = Groups.of([of_place[place] for place in self.places])  # of members
        self.device_of = np.array(device_of, np.int64)  # of each series
        self.period_us = np.array(period_us, np.float64)
        self.channels = np.array(channels, bool).reshape(-1, 2)
        self.member_keys = tuple(member_keys)
        self.counts = np.array([len(of_place[place]) for place in self.places], np.int64)

    @property
    def series_keys(self) -> tuple[Key, ...]:
        """(device, stream) of each series."""
        return tuple(self._series)

    def members_of(self) -> dict[Place, frozenset[Key]]:
        """(device, phase) of the members of each place, in the order of `places`."""
        rows, starts = self.standing.rows.tolist(), self.standing.starts.tolist()
        bounds = zip(self.places, starts, [*starts[1:], len(rows)], strict=True) if starts else ()
        return {place: frozenset(self.member_keys[row] for row in rows[first:end]) for place, first, end in bounds}

    def series(self, batch: pa.RecordBatch) -> NDArray[np.int64]:
        """The series of each row of a batch with dictionary columns `device` and `stream`; -1 where it is none."""
        device, stream = batch.column("device"), batch.column("stream")
        names = (tuple(device.dictionary.to_pylist()), tuple(stream.dictionary.to_pylist()))
        table = self._tables.get(names)
        if table is None:
            rows = [self._series.get((d, s), -1) for d in names[0] for s in names[1]]
            table = np.array(rows, np.int64).reshape(len(names[0]), len(names[1]))
            if len(self._tables) >= MOST_TABLES:
                self._tables.clear()
            self._tables[names] = table
        return table[device.indices.to_numpy(), stream.indices.to_numpy()]


def whole(config: PipelineConfig) -> Membership:
    """Of all devices of a configuration."""
    return Membership(standing(config.devices), config.streams, config.nominal_hz)


def changed_places(before: Membership, now: Membership) -> frozenset[Place]:
    """The places that have other members than before, or are new."""
    who = before.members_of()
    return frozenset(place for place, members in now.members_of().items() if who.get(place) != members)


def origins(new: Sequence[Hashable], old: Sequence[Hashable]) -> NDArray[np.int64]:
    """Where each of the new rows was among the old ones; -1 where it was not."""
    row = {key: index for index, key in enumerate(old)}
    return np.array([row.get(key, -1) for key in new], np.int64)


def carried(values: NDArray[Any], origin: NDArray[np.int64], fill: Any) -> NDArray[Any]:
    """The columns of `values`, shape (..., old rows), as new rows; `fill` where a row is new."""
    made = np.full((*values.shape[:-1], len(origin)), fill, values.dtype)
    made[..., origin >= 0] = values[..., origin[origin >= 0]]
    return made
