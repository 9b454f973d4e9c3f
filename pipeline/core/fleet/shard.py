"""A part of a fleet: takes in rows of its devices, answers the sums of each second once it has waited for it.

Must not know: Ray, clocks (`now` comes in), what is told of the sums.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.config import Device, Fleet
from pipeline.core.energy import LARGEST_W
from pipeline.core.fleet import sums
from pipeline.core.fleet.clocks import Clocks, fleet_delay_us
from pipeline.core.fleet.concentrator import SLOT, Concentrator, Ints, Rows
from pipeline.core.fleet.membership import Membership, Place, carried, changed_places, origins
from pipeline.core.fleet.sums import Sums
from pipeline.core.fleet.windows import NONE, WINDOWS_S, Greatest
from pipeline.core.model import ARRIVAL_TIME, CHANNELS

# Columns of a batch, beside those of `FIGURES`.
KEYS: Final = ("time", "received", "device", "stream", "flags")
FIGURES: Final = tuple(f"{channel}_{name}" for channel in CHANNELS for name in ("real_power_w", "rms_current_a"))
LARGEST_A: Final = 1e5  # beyond it, as beyond `LARGEST_W`, whole numbers would overflow
MOST_SLOTS: Final = 1000  # of a second, for replays that run fast; several cycles then share a slot
AHEAD_US: Final = 3_000_000  # a clock so far ahead of the others' is wrong; its rows would be kept for long
LONGEST_WAIT_S: Final = 50.0  # with which fewer seconds are open
OPEN_S: Final = 60  # seconds that may be open: a receiver that stalled for so long has lost them anyway

LATE: Final = "late"  # its second was told already
AHEAD: Final = "ahead"
UNTIMED: Final = "untimed"  # without a time of its own nobody knows with what it coincided
UNKNOWN: Final = "unknown"  # no real power, or an impossible one
REASONS: Final = (LATE, AHEAD, UNTIMED, UNKNOWN)


# A successor tells so many seconds again: cycles reach from one into the next, and what was told last may have died
# with whoever combines. What senders retain reaches further back.
RETELL_S: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class ShardState:
    """What of a shard must outlive its process.

    `closed`: the last second that it told. `excluded`: counts of rows, shape (REASONS, devices).
    """

    closed: int
    slots: int
    devices: tuple[str, ...]
    excluded: Ints


def slots_of(mains_hz: float) -> int:
    """Slots of the grid in a second."""
    return min(MOST_SLOTS, max(1, round(mains_hz)))


class FleetShard:
    """Mutators: `push`, `advance`, `keep_time`, `forget_delays` and `carry`.

    Args:
        devices: of this shard; the fewer racks are in several, the fewer places are told twice.
        streams: the pipeline's.
        mains_hz: cycles a second, which is also how many slots the grid has.
        settings: how long to wait, whether to correct clocks.
        before: the state to go on from.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        streams: Sequence[str],
        mains_hz: float,
        settings: Fleet,
        before: ShardState | None = None,
    ) -> None:
        self._streams, self._mains_hz = streams, mains_hz
        self.membership = membership = Membership(devices, streams, mains_hz)
        self.slots = slots_of(mains_hz)
        self._settings = settings
        closed = before.closed - RETELL_S if before else None
        self._grid = Concentrator(membership.period_us, self.slots, OPEN_S, closed)
        self._clocks = Clocks(len(membership.devices))
        self._fleet_delay_us: float | None = None
        self._shift_us = np.zeros(len(membership.devices), np.int64)
        self._peaks = Greatest(len(membership.member_keys))
        # Into the first second that is told again reach cycles of which the rows are gone.
        self._peaks_since = None if closed is None else closed + 2
        self._alike_since = np.zeros(len(membership.places), np.int64)  # since when each has the members that it has
        self._begun = before is not None
        self.excluded = np.zeros((len(REASONS), len(membership.devices)), np.int64)
        if before is not None:
            self.excluded = carried(before.excluded, origins(membership.devices, before.devices), 0)

    def state(self) -> ShardState | None:
        """What a successor goes on from; None before the first row."""
        if self._grid.closed is None:
            return None
        return ShardState(self._grid.closed, self.slots, self.membership.devices, self.excluded.copy())

    def keep_time(self, fleet_delay_us: float) -> None:
        """The fleet's time, by the delay of its median device: where this shard is not all of it, it cannot know."""
        self._fleet_delay_us = fleet_delay_us

    def forget_delays(self) -> None:
        """The clock that gives `received` was set back."""
        self._clocks = Clocks(len(self.membership.devices))
        self._fleet_delay_us = None

    def push(self, batch: pa.RecordBatch, counted: bool = False) -> None:
        """Take in rows with `KEYS` and those of `FIGURES` that hold anything.

        Args:
            counted: a predecessor had them: what is late among them was told, what is excluded was counted.
        """
        series = self.membership.series(batch)
        known = np.flatnonzero(series >= 0)
        series = series[known]
        device = self.membership.device_of[series]
        time_us, received_us = (batch.column(name).view(pa.int64()).to_numpy()[known] for name in ("time", "received"))
        own = batch.column("flags").to_numpy()[known] & ARRIVAL_TIME == 0
        self._clocks.push(device[own], time_us[own], received_us[own])
        power_w, current_a = self._figures(batch, known, series)
        possible = np.abs(power_w) <= LARGEST_W  # also False for NaN
        start_us = time_us + self._shift_us[device]
        ahead = own & (start_us - received_us + self._delay_us(self.delays_us()) > AHEAD_US)
        usable = own & possible & ~ahead
        current_known = (current_a >= 0) & (current_a <= LARGEST_A)
        rows = Rows(
            series[usable],
            time_us[usable],
            self._shift_us[device[usable]],
            np.rint(power_w[usable] * 1000).astype(np.int64),
            np.where(current_known, np.rint(np.where(current_known, current_a, 0) * 1000), -1).astype(np.int64)[usable],
        )
        late, beyond = self._grid.push(rows)
        if counted:
            return
        chosen = device[usable]
        self._exclude(LATE, chosen[late])
        self._exclude(AHEAD, np.concatenate([device[ahead & possible], chosen[beyond]]))
        self._exclude(UNTIMED, device[~own])
        self._exclude(UNKNOWN, device[own & ~possible])

    def advance(self, now_us: int) -> list[Sums]:
        """The sums of all seconds that were waited for long enough. `now_us` is by the clock that gave `received`."""
        delays_us = self.delays_us()
        fleet_us = self._delay_us(delays_us)
        if self._settings.correct_clocks:
            self._correct(fleet_us - delays_us)
        if self._grid.closed is None:
            return []
        there_us = now_us - fleet_us  # as the fleet's clocks have it
        until = int((there_us - self._settings.wait_s * 1e6) // 1_000_000)
        found = []
        first = self._grid.closed + 1
        open_until = min(until, first + OPEN_S + 1)  # behind it and before the last one there can be nothing
        for second in (*range(first, open_until), *range(max(open_until, until - 1), until)):
            cells = self._grid.close(second)
            self._peaks_since = second if self._peaks_since is None else self._peaks_since
            members = sums.of_members(self.membership, cells)
            whole = (members.present > 0) & (second >= self._peaks_since)
            peaks_mw = self._peaks.push(second, np.where(whole, members.power_mw, NONE).max(axis=1, initial=NONE))
            since = np.maximum(self._alike_since, self._peaks_since)
            part = sums.of_places(self.membership, cells, members, self._peaks_together(second, peaks_mw), since)
            self._begun = self._begun or bool(part.covered.any())
            if self._begun:  # before the first cycle there is nothing to tell
                found.append(part)
        return found

    def carry(self, devices: Sequence[Device], settings: Fleet, changed: Collection[Place] = ()) -> None:
        """From now on for these devices. Those that were there before notice nothing.

        Args:
            changed: places of which members changed in other shards.
        """
        before, now = self.membership, Membership(devices, self._streams, self._mains_hz)
        origin = origins(now.devices, before.devices)
        self._grid.carry(origins(now.series_keys, before.series_keys), now.period_us)
        self._peaks.carry(origins(now.member_keys, before.member_keys))
        self._clocks.carry(origin)
        self._shift_us = carried(self._shift_us, origin, 0)
        self.excluded = carried(self.excluded, origin, 0)
        since = carried(self._alike_since, origins(now.places, before.places), 0)
        others = changed_places(before, now).union(changed)
        anew = 0 if self._grid.closed is None else self._grid.closed + 1
        self._alike_since = np.where([place in others for place in now.places], anew, since)
        self.membership, self._settings = now, settings

    def delays_us(self) -> NDArray[np.float64]:
        """The least delay of each device, in their order; NaN where unknown."""
        return self._clocks.delays_us()

    def _peaks_together(self, second: int, peaks_mw: Ints) -> Ints:
        """The sum of the members' own peaks of each place; where others were there lately, of the time since."""
        standing = self.membership.standing
        together = standing.sum(np.where(peaks_mw == NONE, 0, peaks_mw))
        for first in np.unique(self._alike_since[self._alike_since > second - WINDOWS_S[-1]]):
            since_mw = self._peaks.since(np.full(len(peaks_mw), first))
            mine = self._alike_since == first
            together[mine] = standing.sum(np.where(since_mw == NONE, 0, since_mw))[mine]
        return together

    def _delay_us(self, delays_us: NDArray[np.float64]) -> float:
        return fleet_delay_us(delays_us) if self._fleet_delay_us is None else self._fleet_delay_us

    def _figures(
        self, batch: pa.RecordBatch, known: Ints, series: Ints
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Power and current of each row, its device's channels added up; NaN where one is unknown."""
        power_w, current_a = np.zeros((2, len(known)))
        for column, channel in enumerate(CHANNELS):
            used = self.membership.channels[series, column]
            if not used.any():
                continue
            for total, name in ((power_w, "real_power_w"), (current_a, "rms_current_a")):
                column_name = f"{channel}_{name}"
                if column_name in batch.schema.names:
                    total += np.where(used, batch.column(column_name).to_numpy(zero_copy_only=False)[known], 0.0)
                else:
                    total[used] = np.nan
        return power_w, current_a

    def _exclude(self, reason: str, device: Ints) -> None:
        if len(device):
            self.excluded[REASONS.index(reason)] += np.bincount(device, minlength=self.excluded.shape[1])

    def _correct(self, offsets_us: NDArray[np.float64]) -> None:
        """Follow the estimates, in steps of half a slot: each step shifts cycles against their predecessors."""
        wanted = np.where(np.abs(offsets_us) <= self._settings.max_offset_s * 1e6, -offsets_us, 0.0)
        far = np.abs(wanted - self._shift_us) > SLOT / self.slots / 2
        self._shift_us = np.where(far, np.rint(np.nan_to_num(wanted)), self._shift_us).astype(np.int64)
