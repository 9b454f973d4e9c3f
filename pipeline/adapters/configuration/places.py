"""Where racks stand: the topology of a fleet file, and the breakers of its levels.

Must not know: devices' other properties.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from pipeline.adapters.configuration import document
from pipeline.adapters.configuration.complaints import at
from pipeline.adapters.configuration.source import Place, Source
from pipeline.core.config import LEVELS, Breaker, Device
from pipeline.core.errors import InputError
from pipeline.core.fleet.membership import WHOLE
from pipeline.core.patterns import expand_name


class Stand(NamedTuple):
    """Where a rack stands."""

    row: str
    hall: str
    site: str


NOWHERE: Final = Stand("", "", "")


def racks(
    source: Source, topology: Mapping[str, Mapping[str, Mapping[str, list[str]]]]
) -> tuple[dict[str, Stand], list[str]]:
    """Where each rack stands, and what is wrong: names of a level must be unique, and no site is named `WHOLE`."""
    stands: dict[str, Stand] = {}
    wrong: list[str] = []
    if WHOLE in topology:
        message = f"'{WHOLE}' is the site of devices without any place: give this one another name"
        wrong.append(at(source, ("topology", WHOLE), message))
    first: dict[tuple[str, str], int] = {}

    def note(level: str, name: str, place: Place) -> None:
        if (level, name) in first:
            message = f"the {level} '{name}' is on line {first[level, name]} already; names of a level must be unique"
            wrong.append(at(source, place, message))
        first.setdefault((level, name), source.line(place))

    for site, halls in topology.items():
        for hall, rows in halls.items():
            note("hall", hall, ("topology", site, hall))
            for row, patterns in rows.items():
                note("row", row, ("topology", site, hall, row))
                for index, pattern in enumerate(patterns):
                    place = ("topology", site, hall, row, index)
                    try:
                        names = expand_name(pattern)
                    except InputError as error:
                        wrong.append(at(source, place, str(error)))
                        continue
                    for name in names:
                        note("rack", name, place)
                        stands[name] = Stand(row, hall, site)
    return stands, wrong


def breakers(
    source: Source, given: document.Breakers, devices: Iterable[Device]
) -> tuple[tuple[Breaker, ...], list[str]]:
    """The breakers of the levels, and what is wrong with them: no device stands there."""
    found: list[Breaker] = []
    wrong: list[str] = []
    devices = tuple(devices)
    for level in LEVELS:
        known = {getattr(device, level) for device in devices}
        for name, rating_a in getattr(given, level).items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                meant = f"; did you mean '{near[0]}'?" if near else ""
                wrong.append(at(source, ("breakers_a", level, name), f"no device belongs to this {level}{meant}"))
            found.append(Breaker(level, name, rating_a))
    return tuple(found), wrong
