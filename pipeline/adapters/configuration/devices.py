"""The devices of one file: patterns expanded, defaults filled in, placed by their racks.

Must not know: which file includes which.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from pipeline.adapters import link
from pipeline.adapters.configuration import document
from pipeline.adapters.configuration.complaints import at
from pipeline.adapters.configuration.places import NOWHERE, Stand
from pipeline.adapters.configuration.source import Place, Source
from pipeline.adapters.curve import check_key
from pipeline.core.config import PHASES, Device, check_name
from pipeline.core.errors import InputError
from pipeline.core.patterns import Value, combinations, fill

_FILLED: Final = ("topic", "node", "rack", "feed")  # what a pattern's fields are filled into, beside id and endpoint


@dataclass(frozen=True, slots=True)
class Entry:
    """A device and where it was written."""

    device: Device
    source: Source
    place: Place


def given(properties: BaseModel) -> dict[str, Any]:
    """What a user has written, defaults left out."""
    return properties.model_dump(exclude_unset=True)


def expand(
    source: Source,
    part: document.Included,
    above: Mapping[str, Any],
    streams: Sequence[str],
    stands: Mapping[str, Stand],
) -> tuple[list[Entry], list[str]]:
    """The devices of a file, and what is wrong with them.

    Args:
        above: properties that the including file gives to all devices.
        streams: the pipeline's.
        stands: where each rack stands.
    """
    entries: list[Entry] = []
    wrong: list[str] = []
    for index, written in enumerate(part.devices):
        place: Place = ("devices", index)
        told = {**document.Properties().model_dump(), **above, **given(part.defaults), **given(written)}
        try:
            phases = _phases(told["phases"], streams)
            for values in combinations(written.each):
                entries.append(Entry(_device(written, told, values, phases, stands), source, place))
        except InputError as error:
            wrong.append(at(source, place, str(error)))
    return entries, wrong


def twins(entries: Sequence[Entry]) -> list[str]:
    """Complaints about names and endpoints that are given twice."""
    wrong = []
    for attribute, word in (("name", "id"), ("endpoint", "endpoint")):
        first: dict[str, Entry] = {}
        for entry in entries:
            value = getattr(entry.device, attribute)
            other = first.setdefault(value, entry)
            if other is not entry:
                if (other.source, other.place) == (entry.source, entry.place):
                    message = f"the pattern gives the {word} '{value}' twice: a field of 'each' is missing in it"
                else:
                    where = f"{other.source.path}:{other.source.line(other.place)}"
                    message = f"the {word} '{value}' is given twice, first at {where}"
                wrong.append(at(entry.source, entry.place, message))
    return list(dict.fromkeys(wrong))


def in_the_clear(entries: Sequence[Entry]) -> list[str]:
    """Complaints about devices without a public key."""
    wrong = [
        at(entry.source, entry.place, "'security.curve.require' is set, and this device has no 'server_key'")
        for entry in entries
        if not entry.device.server_key
    ]
    return list(dict.fromkeys(wrong))


def _phases(told: Mapping[str, str] | None, streams: Sequence[str]) -> tuple[str, ...]:
    """The electrical phase of each stream."""
    if told is None:
        return tuple(PHASES[index] if index < len(PHASES) else "" for index in range(len(streams)))
    for name in told:
        if name not in streams:
            near = difflib.get_close_matches(name, streams, 1, 0.3)
            meant = f"; did you mean '{near[0]}'?" if near else ""
            raise InputError(f"'phases' names '{name}', which is none of 'streams'{meant}")
    return tuple(told.get(stream, "") for stream in streams)


def _device(
    written: document.Device,
    told: Mapping[str, Any],
    values: Mapping[str, Value],
    phases: tuple[str, ...],
    stands: Mapping[str, Stand],
) -> Device:
    filled = {name: fill(told[name], values) for name in _FILLED}
    stand = stands.get(filled["rack"], NOWHERE)
    return Device(
        name=check_name(fill(written.id, values)),
        endpoint=link.check_endpoint(fill(written.endpoint, values)),
        **filled,
        row=stand.row,
        hall=stand.hall,
        site=stand.site,
        breaker_a=told["breaker_a"],
        nominal_v=told["nominal_v"],
        phases=phases,
        channels=tuple(dict.fromkeys(told["channels"])),
        mains_hz=told["mains_hz"],
        server_key=told["server_key"] and check_key(told["server_key"]),
    )
