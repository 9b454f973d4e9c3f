"""The sums of one second along the topology, in whole numbers: parts of a fleet combine exactly, in any order.

A member is in the sum of a slot, or of the second, if its cycles cover at least half of it in every phase that it has.
It then counts with its mean over what is covered, and its current with the root of the mean square. One that is not is
never counted as 0: there is a count beside.

Must not know: rows, what is told of the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.core.fleet.concentrator import HEAT_SPLIT, SLOT, Cells, Ints
from pipeline.core.fleet.membership import Membership, Place, origins

ENERGY_SPLIT: Final = 1_000_000  # energy is held as (whole, rest): an int64 would overflow at 150 MW


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """One second of some places.

    `power_mw` and `present`, the members in it: of each slot, shape (places, slots). `mean_power_mw`,
    `mean_current_ma` and `steady`, the members in them: of the second, shape (places,). `energy`: shape (places, 2),
    (whole, rest) with whole * ENERGY_SPLIT + rest in milliwatts times 1/slots microseconds. `covered`: time that cycles
    cover, in units of `concentrator.SLOT`, summed over members, shape (places,). `dark`: members of whose current
    something was unknown, shape (places,). `peaks_mw`: for each window the sum of the members' own peaks, shape
    (places, windows); `peaks_since`: the second from which on they are known, and the members are these, shape
    (places,). `members`: how many there are.
    """

    second: int
    places: tuple[Place, ...]
    members: Ints
    power_mw: Ints
    present: Ints
    mean_power_mw: Ints
    mean_current_ma: Ints
    steady: Ints
    energy: Ints
    covered: Ints
    dark: Ints
    peaks_mw: Ints
    peaks_since: Ints


SUMMED: Final = ("members", *Sums.__slots__[3:-1])  # what of two parts is added up


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """What each member drew in each slot, shape (members, slots); 0 where it is not present."""

    power_mw: Ints
    present: Ints


def of_members(membership: Membership, cells: Cells) -> Members:
    """The members of a second."""
    power_mw, known = _mean(cells.energy, cells.covered, SLOT)
    present = membership.members.least(known)
    return Members(membership.members.sum(power_mw) * present, present)


def of_places(membership: Membership, cells: Cells, members: Members, peaks_mw: Ints, peaks_since: Ints) -> Sums:
    """The sums of a second; `peaks_mw` and `peaks_since` are told as they are."""
    standing, of_series = membership.standing, membership.members
    energy, covered = cells.energy.sum(axis=1), cells.covered.sum(axis=1)  # of a series, a second fits
    length = SLOT * cells.covered.shape[1]
    power_mw, known = _mean(energy, covered, length)
    heat = cells.heat[:, 0] * float(HEAT_SPLIT) + cells.heat[:, 1]
    lit = covered - cells.dark  # in which the current was known
    dim = (cells.dark > 0) & (2 * lit < length)
    current_ma = np.rint(np.sqrt(heat / np.maximum(lit, 1))).astype(np.int64) * known * ~dim
    steady = of_series.least(known)
    sizes = np.diff(np.append(of_series.starts, len(of_series.rows)))
    dark = np.minimum(of_series.sum(dim.astype(np.int64)), 1)
    return Sums(
        cells.second,
        membership.places,
        membership.counts,
        standing.sum(members.power_mw),
        standing.sum(members.present),
        standing.sum(of_series.sum(power_mw) * steady),
        standing.sum(of_series.sum(current_ma) * steady),
        standing.sum(steady),
        standing.sum(of_series.sum(np.stack(np.divmod(energy, ENERGY_SPLIT), axis=1))),
        standing.sum(of_series.sum(covered) // np.maximum(sizes, 1)),
        standing.sum(dark),
        peaks_mw,
        peaks_since,
    )


def combined(parts: Sequence[Sums], places: Sequence[Place]) -> Sums:
    """The same second of several parts of a fleet as one: what several of them tell of a place is added up.

    Args:
        places: those of the answer, in their order; of one that no part has everything is 0.

    Raises:
        ValueError: they are not of one second.
    """
    if len({part.second for part in parts}) != 1:
        raise ValueError("only parts of one second can be combined")
    totals = {
        name: np.zeros((len(places), *getattr(parts[0], name).shape[1:]), np.int64) for name in (*SUMMED, "peaks_since")
    }
    for part in parts:
        origin = origins(places, part.places)
        mine, theirs = np.flatnonzero(origin >= 0), origin[origin >= 0]
        for name in SUMMED:
            totals[name][mine] += getattr(part, name)[theirs]
        totals["peaks_since"][mine] = np.maximum(totals["peaks_since"][mine], part.peaks_since[theirs])
    return Sums(parts[0].second, tuple(places), **totals)


def _mean(amount: Ints, covered: Ints, length: int) -> tuple[Ints, Ints]:
    """The mean over what is covered, rounded, and 1 where that is at least half of the length; else 0 and 0."""
    known = covered * 2 >= length
    divisor = np.maximum(covered, 1)
    return np.where(known, (amount + divisor // 2) // divisor, 0), known.astype(np.int64)
