"""What a fleet tells: the newest figures with all that belongs to them, as metrics and for the status.

Must not know: how it is shown, clocks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.core.family import Family
from pipeline.core.fleet import families
from pipeline.core.fleet.concentrator import Ints
from pipeline.core.fleet.membership import ALL, Place
from pipeline.core.fleet.ratings import Floats
from pipeline.core.fleet.shard import REASONS
from pipeline.core.fleet.summary import Figures

STALE_US: Final = 3_500_000  # as gauges of a silent device, and well above the second between two figures


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """The newest second. `told_us`: when it was told. The arrays are in the order of `places` or of `devices`."""

    places: tuple[Place, ...]
    ratings_a: Floats
    figures: Figures
    quantiles_w: Floats
    told_us: int
    devices: tuple[str, ...]
    offsets_us: Floats
    excluded: Ints
    unwritten_s: int = 0  # seconds that never came into the database
    missed_s: Mapping[int, int] = field(default_factory=dict)  # by shard: seconds that were told without it


Sample = tuple[Family, tuple[tuple[str, ...], ...], NDArray[np.float64]]  # with the values of its labels


def samples(told: Told, now_us: int) -> Iterator[Sample]:
    """The samples of `families.FLEET`; NaN where there is none. Gauges end when nothing new is told."""
    figures, places = told.figures, tuple(tuple(place) for place in told.places)
    fresh = now_us - told.told_us <= STALE_US
    gauges: list[tuple[Family, NDArray[Any]]] = [
        (families.MEMBERS, figures.members),
        (families.PRESENT, figures.present),
        (families.COVERAGE, figures.coverage),
        (families.POWER, figures.power_w),
        *((family, figures.peak_w[:, column]) for column, family in enumerate(families.PEAK)),
        *((family, figures.trough_w[:, column]) for column, family in enumerate(families.TROUGH)),
        *((family, figures.coincidence[:, column]) for column, family in enumerate(families.COINCIDENCE)),
        *((family, told.quantiles_w[:, column]) for column, family in enumerate(families.QUANTILE)),
        (families.CURRENT, figures.current_a),
        (families.IMBALANCE, figures.imbalance),
        (families.UTILISATION, figures.utilisation),
        (families.HEADROOM, figures.headroom_a),
        (families.REDUNDANCY, figures.redundancy_a),
    ]
    if fresh:
        for family, values in gauges:
            yield family, places, values.astype(np.float64)
        offsets = tuple((device,) for device in told.devices)
        yield families.CLOCK_OFFSET, offsets, told.offsets_us / 1e6
    yield families.RATING, places, told.ratings_a
    for column, family in enumerate(families.ENERGY):
        yield family, places, figures.total_energy_j[:, column]
    yield families.DELAY, ((),), np.array([now_us / 1e6 - figures.second - 1])
    yield families.UNWRITTEN, ((),), np.array([float(told.unwritten_s)])
    shards = tuple((str(shard),) for shard in told.missed_s)
    yield families.MISSED, shards, np.array(list(told.missed_s.values()), np.float64)
    reason, device = np.nonzero(told.excluded)
    names = tuple((told.devices[d], REASONS[r]) for r, d in zip(reason.tolist(), device.tolist(), strict=True))
    yield families.EXCLUDED, names, told.excluded[reason, device].astype(np.float64)


def places_document(told: Told) -> dict[str, dict[str, dict[str, Any]]]:
    """For the status, by level and name: the phases together, and the least headroom of a phase."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    figures = told.figures
    headroom = {"breaker_headroom_a": figures.headroom_a, "redundancy_headroom_a": figures.redundancy_a}
    phases: defaultdict[tuple[str, str], list[int]] = defaultdict(list)  # rows
    for row, place in enumerate(told.places):
        entry = found.setdefault(place.level, {}).setdefault(place.name, dict.fromkeys(headroom))
        if place.phase == ALL:
            entry |= {
                "members": int(figures.members[row]),
                "members_present": int(figures.present[row]),
                "real_power_w": known(figures.power_w[row]),
                "real_power_peak_15m_w": known(figures.peak_w[row, 2]),
                "coincidence_15m_ratio": known(figures.coincidence[row, 2]),
            }
        else:
            phases[place[:2]].append(row)
    for (level, name), rows in phases.items():
        found[level][name] |= {key: _least(values[rows]) for key, values in headroom.items()}
    return found


def _least(headroom_a: Floats) -> float | None:
    """The least of the phases; while one is unknown it is not known either, unless another is below zero already."""
    least_a = np.fmin.reduce(headroom_a)
    return known(least_a) if least_a < 0 or not np.isnan(headroom_a).any() else None


def offsets_s(told: Told) -> dict[str, float | None]:
    """How far each device's clock is ahead of the fleet's; None where it is unknown."""
    return {device: known(us / 1e6) for device, us in zip(told.devices, told.offsets_us, strict=True)}


def known(value: np.floating[Any] | float) -> float | None:
    """A plain number; None for what is none."""
    return float(value) if np.isfinite(value) else None
