"""Which ingest hosts which devices: whoever has a place keeps it, so that a change touches nobody whom it is not about.

Devices of one ingest share their shards: which those are follows from a device's name alone, whoever hosts it.

Must not know: actors, how a device moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Final

Groups = Mapping[str, tuple[str, ...]]  # names of devices, by name of the ingest

INGEST: Final = "ingest"


def shard_of(device: str, shards: int) -> int:
    """The shard of a device: the same in every process (`hash` is not)."""
    return zlib.crc32(device.encode()) % shards


def assign(before: Groups, devices: Sequence[str], size: int, shards: Iterable[int] = ()) -> dict[str, tuple[str, ...]]:
    """The ingests and their devices.

    Args:
        before: how it was; its devices stay where they are, those in excess of `size` excepted.
        devices: all that are wanted now. New ones fill free places first, then ingests of their own.
        size: how many devices share an ingest.
        shards: into how many shards each kind of receiver is divided; devices of one ingest agree in all of them.
    """
    kinds = tuple(shards)

    def bucket(device: str) -> tuple[int, ...]:
        return tuple(shard_of(device, kind) for kind in kinds)

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
