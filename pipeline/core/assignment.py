"""Which ingest hosts which devices, and which shard adds them up: whoever has a place keeps it, so that a change
touches nobody whom it is not about.

Devices of one ingest share their shards. Those of the store and of the aggregators follow from a device's name alone;
that of the sums is chosen by rack, for then few places are in more than one.

Must not know: actors, how a device moves.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Final

from pipeline.core.config import Device, PipelineConfig

Groups = Mapping[str, tuple[str, ...]]  # names of devices, by name of the ingest
Subtrees = Mapping[str, int]  # shards of the sums, by name of the device

INGEST: Final = "ingest"


def shard_of(device: str, shards: int) -> int:
    """The shard of a device: the same in every process (`hash` is not)."""
    return zlib.crc32(device.encode()) % shards


def arranged(
    config: PipelineConfig, groups: Groups | None = None, subtrees: Subtrees | None = None
) -> tuple[Groups, Subtrees]:
    """Who hosts and who adds up the devices of a pipeline, from how it was before."""
    divided = divide(subtrees or {}, config.devices, config.fleet_shards)
    names = [device.name for device in config.devices]
    return assign(groups or {}, names, config.devices_per_actor, config.shards, divided), divided


def divide(before: Subtrees, devices: Sequence[Device], shards: int) -> dict[str, int]:
    """The shard that adds a device up: that of others in its rack, else of its row unless that has its share already.

    A device that stays keeps its shard also where it moves to another rack: sums are exact whoever has which part.
    """
    found = {d.name: before[d.name] for d in devices if before.get(d.name, shards) < shards}
    load = Counter(found.values())
    racks: dict[tuple[str, str], list[Device]] = defaultdict(list)  # new devices; one without a rack is by itself
    homes: dict[tuple[str, ...], int] = {}  # the shard of a rack, or the one that a row went to last
    for device in devices:
        rack = ("rack", device.rack) if device.rack else ("device", device.name)
        if device.name in found:
            homes.setdefault(rack, found[device.name])
            homes.setdefault(("row", device.site, device.hall, device.row), found[device.name])
        else:
            racks[rack].append(device)
    share = -(-len(devices) // shards)
    for rack, members in racks.items():
        row = ("row", members[0].site, members[0].hall, members[0].row)
        shard = homes.get(rack)
        if shard is None:
            shard = homes.get(row)
            if shard is None or load[shard] + len(members) > share:
                shard = min(range(shards), key=lambda each: (load[each], each))
            homes[row] = shard
        load[shard] += len(members)
        found |= {device.name: shard for device in members}
    return found


def assign(
    before: Groups,
    devices: Sequence[str],
    size: int,
    shards: Iterable[int] = (),
    subtrees: Subtrees | None = None,
) -> dict[str, tuple[str, ...]]:
    """The ingests and their devices.

    Args:
        before: how it was; its devices stay where they are, those in excess of `size` excepted.
        devices: all that are wanted now. New ones fill free places first, then ingests of their own.
        size: how many devices share an ingest.
        shards: into how many shards each kind of receiver is divided; devices of one ingest agree in all of them.
        subtrees: and in their shard of the sums.
    """
    kinds, divided = tuple(shards), subtrees or {}

    def bucket(device: str) -> tuple[int, ...]:
        return *(shard_of(device, kind) for kind in kinds), divided.get(device, 0)

    wanted = set(devices)
    groups = {name: [device for device in members if device in wanted][:size] for name, members in before.items()}
    groups = {name: members for name, members in groups.items() if members}
    placed: set[str] = set()
    for name, members in groups.items():  # each once, and only with others of its bucket
        groups[name] = [d for d in members if d not in placed and bucket(d) == bucket(members[0])]
        placed.update(groups[name])
    free = {name: size - len(members) for name, members in groups.items()}
    open_names: dict[tuple[int, ...], list[str]] = {}
    for name, members in groups.items():
        open_names.setdefault(bucket(members[0]), []).append(name)
    numbers = count()
    for device in devices:
        if device in placed:
            continue
        names = open_names.setdefault(bucket(device), [])
        while names and free[names[0]] <= 0:
            names.pop(0)
        if not names:
            name = next(name for name in (f"{INGEST}-{number}" for number in numbers) if name not in groups)
            groups[name], free[name] = [], size
            names.append(name)
        groups[names[0]].append(device)
        free[names[0]] -= 1
        placed.add(device)
    return {name: tuple(members) for name, members in groups.items()}
