"""What is told of the sums: power now, peaks and troughs, coincidence, percentiles, energy, currents.

Means are those of the members that were present for most of the second. Troughs and percentiles are of the slots in
which exactly so many were, so that the loss of a single frame is no dip; where there is none, as when every slot lacks
somebody else, of those with the most. Peaks are of all slots: a sum that lacks a member still was reached at least.

Must not know: rows, devices, where figures go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.config import PHASES
from pipeline.core.fleet.concentrator import SLOT, Ints
from pipeline.core.fleet.membership import ALL, Place, origins
from pipeline.core.fleet.percentiles import Histograms, quantiles_w
from pipeline.core.fleet.ratings import CONTINUOUS, Floats, Ratings
from pipeline.core.fleet.sums import ENERGY_SPLIT, Sums
from pipeline.core.fleet.windows import NONE, WINDOWS_S, Greatest, LeastOfMost, Records


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """One second of all places; NaN is unknown. Shape (places,) or (places, windows).

    `energy_j` is that of the second, `total_energy_j` those since the beginning, shape (places, 2): imported, of the
    seconds in which a place took more than it gave back, and exported, of the others. `trough_w` and `coincidence` as
    `peak_w` are of the windows `windows.WINDOWS_S`. `redundancy_a`: what one of two feeds would have left if the other
    failed.
    """

    second: int
    members: Ints
    present: Ints
    coverage: Floats
    power_w: Floats
    peak_w: Floats
    trough_w: Floats
    coincidence: Floats
    current_a: Floats
    imbalance: Floats
    utilisation: Floats
    headroom_a: Floats
    redundancy_a: Floats
    energy_j: Floats
    total_energy_j: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """What of a fleet must outlive its process.

    `energy`: whole joules, and the rest in units of 1e-9/slots J, imported and exported, shape (places, 2, 2).
    `counts`: the histograms of the running period and of the one before, shape (2, places, buckets); `period`: the
    number of the running one. `peaks` and `troughs`: of the windows.
    """

    places: tuple[Place, ...]
    closed: int
    slots: int
    energy: Ints
    period: int
    counts: NDArray[np.int32]
    peaks: Records
    troughs: Records


class FleetSummary:
    """Mutators: `push` and `carry`.

    Args:
        places: those of the sums to come, in their order.
        slots: of a second.
        ratings: of each place.
        percentile_s: least time that percentiles are of.
        before: totals to go on from; places that are no more are forgotten.
    """

    def __init__(
        self,
        places: Sequence[Place],
        slots: int,
        ratings: Ratings,
        percentile_s: float,
        before: Totals | None = None,
    ) -> None:
        self._slots = slots
        self._period_s = max(1, round(percentile_s))
        self._period, self._closed = 0, 0
        self._place(places, ratings)
        if before is not None:
            self._go_on(before)

    def carry(self, places: Sequence[Place], ratings: Ratings) -> None:
        """From now on for these places; those that were there before go on."""
        totals = self.totals()
        self._place(places, ratings)
        self._go_on(totals)

    def _place(self, places: Sequence[Place], ratings: Ratings) -> None:
        rows = len(places)
        self.places, self.ratings = tuple(places), ratings
        self._peaks = Greatest(rows)
        self._troughs = LeastOfMost(rows)
        self._energy = np.zeros((rows, 2, 2), np.int64)
        self._histograms = (Histograms(rows), Histograms(rows))  # of the running period, and of the one before
        self._together = np.array([place.phase == ALL for place in places], bool)  # phases make no one current
        row: dict[tuple[str, str, str], int] = {place: index for index, place in enumerate(places)}
        self._phases = [  # of each place that has all three: its own row, and those of A, B and C
            (row[level, name, ALL], [row[level, name, phase] for phase in PHASES])
            for level, name, phase in places
            if phase == ALL and all((level, name, each) in row for each in PHASES)
        ]

    def push(self, sums: Sums) -> Figures:
        """Take in a second, later than all before."""
        self._closed = sums.second
        present = sums.steady
        exact = (sums.present == present[:, None]) & (present > 0)[:, None]
        most = sums.present.max(axis=1, initial=0)
        count = np.where(exact.any(axis=1), present, most)
        alike = (sums.present == count[:, None]) & (count > 0)[:, None]
        current_a = sums.mean_current_ma / 1000
        current_a[(present == 0) | (sums.dark > 0) | self._together] = np.nan
        greatest = np.where(sums.present > 0, sums.power_mw, NONE).max(axis=1, initial=NONE)
        least = np.where(alike, sums.power_mw, np.iinfo(np.int64).max).min(axis=1)
        peaks = together = self._peaks.push(sums.second, greatest)
        if (sums.peaks_since > sums.second - WINDOWS_S[-1]).any():  # before it had others, or peaks unknown
            together = self._peaks.since(sums.peaks_since)
        peak_w, together_w, member_peaks_w = _watts(peaks), _watts(together), sums.peaks_mw / 1000
        if sums.second // self._period_s != self._period:
            skipped = sums.second // self._period_s - self._period > 1
            emptied = Histograms(len(self.places))
            self._histograms = (emptied, Histograms(len(self.places)) if skipped else self._histograms[0])
            self._period = sums.second // self._period_s
        self._histograms[0].push(sums.power_mw, alike)
        # While a member is missing, what the others draw is the least that it can be: enough to know of an overload.
        enough = (present == sums.members) | (current_a >= CONTINUOUS * self.ratings.whole_a)
        whole_a = np.where(enough, current_a, np.nan)
        return Figures(
            sums.second,
            sums.members,
            present,
            sums.covered / (sums.members * self._slots * float(SLOT)),
            np.where(present > 0, sums.mean_power_mw / 1000, np.nan),
            peak_w,
            _watts(self._troughs.push(sums.second, least, count)),
            np.divide(together_w, member_peaks_w, out=np.full(peak_w.shape, np.nan), where=member_peaks_w > 0),
            current_a,
            self._imbalance(current_a, present),
            whole_a / self.ratings.whole_a,
            CONTINUOUS * self.ratings.whole_a - whole_a,
            self.ratings.redundancy_a(whole_a),
            self._add_energy(sums.energy),
            self._energy[:, :, 0] + self._energy[:, :, 1] / (1e9 * self._slots),
        )

    def quantiles_w(self) -> Floats:
        """Percentiles of each place's cycles, shape (places, `percentiles.QUANTILES`)."""
        return quantiles_w(self._histograms[0].counts + self._histograms[1].counts)

    def totals(self) -> Totals:
        """What a successor goes on from."""
        counts = np.stack([histograms.counts for histograms in self._histograms])
        windows = self._peaks.records(), self._troughs.records()
        return Totals(self.places, self._closed, self._slots, self._energy.copy(), self._period, counts, *windows)

    def _add_energy(self, energy: Ints) -> Floats:
        """Add a second's energy to the totals; answers it in joules."""
        per_joule = 1_000_000_000 * self._slots
        joules, left = np.divmod(energy[:, 0], per_joule // ENERGY_SPLIT)
        more, rest = np.divmod(left * ENERGY_SPLIT + energy[:, 1], per_joule)
        joules += more
        exported = joules < 0
        imported_j = np.stack([joules, rest], axis=1) * ~exported[:, None]
        exported_j = np.stack([-joules - (rest > 0), -rest % per_joule], axis=1) * exported[:, None]
        self._energy += np.stack([imported_j, exported_j], axis=1)
        carried, self._energy[:, :, 1] = np.divmod(self._energy[:, :, 1], per_joule)
        self._energy[:, :, 0] += carried
        return joules + rest / per_joule

    def _imbalance(self, current_a: Floats, present: Ints) -> Floats:
        """Where all three phases have the same number of members."""
        found = np.full(len(self.places), np.nan)
        for row, phases in self._phases:
            currents = current_a[phases]
            mean = currents.mean()
            if mean > 0 and np.ptp(present[phases]) == 0:
                found[row] = np.abs(currents - mean).max() / mean
        return found

    def _go_on(self, before: Totals) -> None:
        if before.slots != self._slots:
            raise ValueError(f"totals of {before.slots} slots a second, not {self._slots}")
        self._closed, self._period = before.closed, before.period
        origin = origins(self.places, before.places)
        mine, theirs = np.flatnonzero(origin >= 0), origin[origin >= 0]
        self._peaks = Greatest(len(before.places), before.peaks, before.closed)
        self._troughs = LeastOfMost(len(before.places), before.troughs, before.closed)
        self._peaks.carry(origin)
        self._troughs.carry(origin)
        self._energy[mine] = before.energy[theirs]
        for histograms, counts in zip(self._histograms, before.counts, strict=True):
            histograms.counts[mine] = counts[theirs]


def _watts(values_mw: Ints) -> Floats:
    return np.where(values_mw == NONE, np.nan, values_mw / 1000)
