"""A second as a shard tells it to whoever combines the shards, with what belongs to its devices; and as bytes.

Must not know: how it travels.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.core.fleet.concentrator import Ints
from pipeline.core.fleet.membership import Place
from pipeline.core.fleet.ratings import Floats
from pipeline.core.fleet.sums import Sums

_ARRAYS: Final = Sums.__slots__[2:]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The sums of a second of a shard.

    `delays_us`: the least delay of each of `devices`, shape (devices,), NaN where unknown. `excluded`: counts of their
    rows that are in no sum, shape (reasons, devices).
    """

    sums: Sums
    devices: tuple[str, ...]
    delays_us: Floats
    excluded: Ints

    def to_bytes(self) -> bytes:
        """As one byte string."""
        head = {"second": self.sums.second, "places": self.sums.places, "devices": self.devices}
        arrays = {name: getattr(self.sums, name) for name in _ARRAYS}
        sink = io.BytesIO()
        np.savez(
            sink,
            head=np.frombuffer(json.dumps(head).encode(), np.uint8),
            delays_us=self.delays_us,
            excluded=self.excluded,
            **arrays,
        )
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Part:
        """From what `to_bytes` made."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            places = tuple(Place(*place) for place in head["places"])
            sums = Sums(head["second"], places, **{name: arrays[name] for name in _ARRAYS})
            return cls(sums, tuple(head["devices"]), arrays["delays_us"], arrays["excluded"])
