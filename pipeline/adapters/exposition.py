"""The Prometheus page: text format 0.0.4, rendered at scrape time. The only importer of prometheus-client.

The families of the pipeline are written column by column: the labels of a line are written once and kept as long as
they recur, orjson writes a whole column of values. That is 50 times as fast as a line at a time (`karman bench`), and
the bytes are those that prometheus-client would write. The client itself writes the figures of this process.

Must not know: who asks for the page, where samples come from.
"""

from __future__ import annotations

import functools
import weakref
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.utils import floatToGoString

from pipeline.core.family import Family
from pipeline.core.metrics import Labels, Part

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
GZIP_LEVEL: Final = 1  # level 9 takes eight times as long for a page a fifth smaller
# Where orjson and Go (and so prometheus-client) write numbers alike; others are written one by one.
_PLAIN_FROM: Final = 1e-4
_PLAIN_BELOW: Final = 1e6
_KEPT: Final[weakref.WeakKeyDictionary[Labels, list[bytes]]] = weakref.WeakKeyDictionary()
_PROCESS: Final = CollectorRegistry()
for _collector in (ProcessCollector, GCCollector, PlatformCollector):
    _collector(registry=_PROCESS)


def render(families: Iterable[tuple[Family, Sequence[Part]]]) -> bytes:
    """The page of these families, in their order. A family without samples has its head alone."""
    lines: list[bytes] = []
    for family, parts in families:
        lines.append(_head(family))
        for part in parts:
            shown = np.flatnonzero(~np.isnan(part.values))
            fragments = _fragments(part.labels)
            if len(shown) < len(fragments):
                fragments = [fragments[index] for index in shown.tolist()]
            interleaved = [family.name.encode()] * (3 * len(shown))
            interleaved[1::3] = fragments
            interleaved[2::3] = _written(part.values[shown])
            lines += interleaved
    return b"".join(lines)


def render_process() -> bytes:
    """The figures of this process, as prometheus-client collects them."""
    return bytes(generate_latest(_PROCESS))


def compress(page: bytes) -> bytes:
    """The page as gzip."""
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return packer.compress(page) + packer.flush()


@functools.cache
def _head(family: Family) -> bytes:
    meaning = family.meaning.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {family.name} {meaning}\n# TYPE {family.name} {family.kind}\n".encode()


def _fragments(labels: Labels) -> list[bytes]:
    """What stands between name and value on each line, with the space."""
    if (kept := _KEPT.get(labels)) is not None:
        return kept
    fragments = []
    for row in labels.rows:
        # Sorted, as prometheus-client does.
        pairs = [f'{name}="{_escaped(value)}"' for name, value in sorted(zip(labels.names, row, strict=True)) if value]
        fragments.append((f"{{{','.join(pairs)}}} " if pairs else " ").encode())
    _KEPT[labels] = fragments
    return fragments


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _written(values: NDArray[np.float64]) -> list[bytes]:
    """Each value as Go writes it, with the line's end."""
    if len(values) == 0:
        return []
    size = np.abs(values)
    plain = ((size >= _PLAIN_FROM) & (size < _PLAIN_BELOW)) | (size == 0.0)
    written = orjson.dumps(np.where(plain, values, 0.0), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    for index in np.flatnonzero(~plain).tolist():
        written[index] = str(floatToGoString(values[index])).encode()  # type: ignore[no-untyped-call]
    return [value + b"\n" for value in written]
