"""The page is, to the byte, the one that prometheus-client makes of the same samples."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pipeline.adapters.exposition import compress, render
from pipeline.core.families import Family
from pipeline.core.metrics import Labels, Part

Page = list[tuple[Family, list[Part]]]

texts = st.text(max_size=6) | st.sampled_from(
    ["", '"', "\\", "\n", "\\n", 'a="b"', "}", "# HELP x", "\r\u2028\0", "ü€😀"]
)
# Where one way of writing numbers gives way to another, and what lies around it.
EDGES = [0.0, 1e-5, 1e-4, 1e5, 123_456.789, 999_999.0, 1e6, 1e7, 2.0**53, 1e15, 1e16, 1e17, 1e21, 1e300, 5e-324]
near = [float(value) for edge in EDGES for value in (edge, np.nextafter(edge, 0.0), np.nextafter(edge, np.inf))]
numbers = (
    st.sampled_from([*near, *(-value for value in near), float("inf"), float("-inf"), float("nan")])
    | st.floats()
    | st.floats(width=32)
    | st.integers(-(2**63), 2**64).map(float)
)


@st.composite
def parts(draw: st.DrawFn, names: tuple[str, ...]) -> Part:
    rows = draw(st.lists(st.tuples(*[texts] * len(names)), max_size=6 if names else 1))
    values = draw(st.lists(numbers, min_size=len(rows), max_size=len(rows)))
    return Part(Labels(names, tuple(rows)), np.array(values, np.float64))


@st.composite
def families(draw: st.DrawFn) -> tuple[Family, list[Part]]:
    kind = draw(st.sampled_from(["gauge", "counter"]))
    name = draw(st.from_regex(r"[a-z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True))
    label_names = draw(st.lists(st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,3}", fullmatch=True), max_size=4, unique=True))
    suffix = "_total" if kind == "counter" else "_ratio"
    family = Family(name + suffix, kind, "", tuple(label_names), draw(texts))
    return family, draw(st.lists(parts(family.labels), max_size=3))


class Collector:
    """The same samples, one by one."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def collect(self) -> Iterator[Metric]:
        for family, parts in self._page:
            kind = GaugeMetricFamily if family.kind == "gauge" else CounterMetricFamily
            metric = kind(family.name, family.meaning)
            for part in parts:
                for row, value in zip(part.labels.rows, part.values.tolist(), strict=True):
                    if value == value:
                        labels = {name: text for name, text in zip(part.labels.names, row, strict=True) if text}
                        metric.add_sample(family.name, labels, value)
            yield metric


@settings(max_examples=300, deadline=None)
@given(st.lists(families(), max_size=4))
def test_it_is_prometheus_clients_own(page: Sequence[tuple[Family, list[Part]]]) -> None:
    registry = CollectorRegistry()
    registry.register(Collector(list(page)))
    rendered = render(page)
    assert rendered == generate_latest(registry)
    assert render(page) == rendered  # with what was kept of the first time
    assert gzip.decompress(compress(rendered)) == rendered
