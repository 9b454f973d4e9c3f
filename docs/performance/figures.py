"""Writes the tables of docs/performance.md, and draws its plot, from the JSON files beside this one.

For developers: needs matplotlib. `make measure` makes the files anew. A file that is missing leaves its place empty.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
PAGE = HERE.parent / "performance.md"
OF_THE_LOAD = ("generator", "benchmark")
PERCENTILES = ("p50", "p99", "p99.9", "max")


def read(name: str) -> dict[str, Any]:
    """Figures that were written by `karman bench ... --output`; nothing if there are none."""
    path = HERE / f"{name}.json"
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    """A table in Markdown; nothing without rows."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    heads = list(heads)
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *lines] if lines else []


def number(value: float | None, digits: int = 1) -> str:
    """A figure for people."""
    return "" if value is None else f"{value:,.{digits}f}"


def pipeline_us(load: dict[str, Any]) -> float:
    """CPU microseconds a message of everything but the load itself."""
    return sum(spent for kind, spent in load["cpu_us"].items() if kind not in OF_THE_LOAD)


def actors_mib(load: dict[str, Any]) -> float:
    """Private memory of the actors."""
    return sum(size for kind, size in load["memory_mib"].items() if kind.endswith("Actor"))


def counts(loads: Iterable[dict[str, Any]]) -> list[str]:
    """What arrived, and what it cost."""
    heads = ("devices", "per actor", "offered", "stored", "lost", "kept up", "cores in all")
    heads = (*heads, "CPU µs a message, pipeline and database", "MiB, actors", "Ray calls/s")
    return table(
        heads,
        (
            (
                *(f"{count:,}" for count in (one["load"]["devices"], one["load"]["devices_per_actor"])),
                *(f"{one[name]:,}" for name in ("offered", "stored", "lost")),
                *("yes" if one["kept_up"] else "no", number(one["cores"], 2)),
                *(number(pipeline_us(one)), number(actors_mib(one), 0), number(one["calls"], 0)),
            )
            for one in loads
        ),
    )


def delays(loads: Iterable[dict[str, Any]]) -> list[str]:
    """How late things are."""
    return table(
        ("devices", "ms from a message's time until", *PERCENTILES),
        (
            (f"{one['load']['devices']:,}", name, *(number(found[percentile]) for percentile in PERCENTILES))
            for one in loads
            for name, found in one["delays_ms"].items()
        ),
    )


def spent(figures: dict[str, Any]) -> list[str]:
    """Where the CPU of one load goes, and what its stages take by themselves."""
    if not figures:
        return []
    load, alone = figures["load"], figures["alone_cpu_us"]
    rows = [(kind, number(cost, 2)) for kind, cost in sorted(load["cpu_us"].items(), key=lambda entry: -entry[1])]
    total, by_themselves = sum(load["cpu_us"].values()), sum(alone.values())
    rows.append(("**all**", f"**{total:.2f}**"))
    rows += [(f"{stage}, by itself", number(cost, 2)) for stage, cost in alone.items()]
    if alone:
        glue = 100 * (1 - by_themselves / total)
        told = f"{glue:.0f} % of all is glue" if glue >= 0 else "more than together, in a slower moment"
        rows.append(("all stages by themselves", f"{by_themselves:.2f}: {told}"))
    return table((f"{load['load']['devices']:,} devices", "CPU µs a message"), rows)


def endpoint(*measured: dict[str, Any]) -> list[str]:
    """One endpoint, fast, without a database."""
    heads = ("channels", "messages/s", "offered", "counted", "lost", "cores in all", "CPU µs a message, in all")
    kinds = {"IngestActor": "ingest", "generator": "sending", "PhaseAggregatorActor": "aggregators"}
    return table(
        (*heads, *kinds.values(), "received within ms (99 %)", "aggregated"),
        (
            (
                "both" if one["load"]["both_channels"] else "one",
                *(f"{one[name]:,.0f}" for name in ("rate", "offered", "stored", "lost")),
                *(number(one["cores"], 2), number(sum(one["cpu_us"].values()), 2)),
                *(number(one["cpu_us"][kind], 2) for kind in kinds),
                *(number(one["delays_ms"][name]["p99"], 0) for name in ("received", "aggregated")),
            )
            for one in (figures["load"] for figures in measured if figures)
        ),
    )


def idle(figures: dict[str, Any]) -> list[str]:
    """What one device takes beyond Ray."""
    still, grown = figures.get("idle"), figures.get("growth", [])
    if not still or not grown or grown[0]["load"]["devices"] != 1:
        return []
    one = pipeline_us(grown[0]) * grown[0]["rate"] / 1e6
    rows = [
        ("Ray that has nothing to do, as `ray.init()` starts it", still["as_it_comes"]),
        ("Ray that has nothing to do, with our settings", still["ray"]),
        ("the same with six actors that do nothing", still["with_actors"]),
        ("with the pipeline of one device, and its database", one),
        ("**one device, beyond Ray as it comes**", one - still["as_it_comes"]),
        ("**one device, beyond Ray with our settings**", one - still["ray"]),
    ]
    return table(("shares of a core", ""), ((name, number(share, 3)) for name, share in rows))


def stages(figures: dict[str, Any]) -> list[str]:
    """Stages beside the straightforward ways."""
    rows = []
    for stage in figures.get("stages", ()):
        rows.append((f"**{stage['stage']}**", number(stage["rate"], 0), ""))
        rows += [(name, number(rate, 0), number(stage["rate"] / rate, 2)) for name, rate in stage["others"].items()]
    return table(("stage", "messages/s", "ours ÷ it"), rows)


def flat(figures: dict[str, Any]) -> list[str]:
    """Private memory at half time and at the end, by kind of process."""
    load = figures.get("load", {})
    half, end = load.get("memory_half_mib", {}), load.get("memory_mib", {})
    rows = [(kind, number(half.get(kind), 0), number(size, 0)) for kind, size in sorted(end.items())]
    seconds = load.get("load", {}).get("seconds", 0.0)
    return table(("MiB", f"after {seconds / 120:g} min", f"after {seconds / 60:g} min"), rows)


def machine(figures: dict[str, Any]) -> list[str]:
    """What the figures were measured on."""
    found = figures.get("machine", {})
    return [", ".join(f"{name} {value}" for name, value in found.items())] if found else []


def draw(loads: list[dict[str, Any]], target: Path) -> None:
    """CPU a message and memory a device over the number of devices."""
    mpl.rcParams["svg.hashsalt"] = "karman"  # the same figures give the same file
    devices = [one["load"]["devices"] for one in loads]
    figure, (above, below) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    above.loglog(devices, [pipeline_us(one) for one in loads], "o-", color="#2b6cb0")
    above.set(xlabel="devices", ylabel="CPU µs a message", title="pipeline and database")
    below.loglog(devices, [actors_mib(one) / one["load"]["devices"] for one in loads], "o-", color="#b7791f")
    below.set(xlabel="devices", ylabel="MiB a device", title="private memory of the actors")
    for axes in (above, below):
        axes.grid(visible=True, which="major", alpha=0.3)
    figure.savefig(target, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Write everything that there are figures for."""
    load, growth, limit, start = map(read, ("load", "growth", "limit", "start"))
    grown = growth.get("growth", [])
    parts = {
        "machine": machine(load or growth),
        "load": counts([each["load"] for each in (load, read("stretch")) if each]),
        "spent": spent(load),
        "delays": delays(grown),
        "growth": counts(grown),
        "packing": counts(growth.get("devices_per_actor", [])),
        "limit": counts(limit.get("tried", [])),
        "flat": flat(read("flat")),
        "one": endpoint(read("one"), read("one-both")),
        "idle": idle(read("one-device")),
        "start": [f"{start['start_s']:.1f} s"] if start else [],
        "stages": stages(read("stages")),
    }
    if grown:
        draw(grown, HERE / "growth.svg")
        parts["plot"] = ["![CPU a message and memory a device, from 1 to 1,000 devices](performance/growth.svg)"]
    text = PAGE.read_text("utf-8")
    for name, lines in parts.items():
        body = "".join(f"{line}\n" for line in lines) or "(not measured yet)\n"
        start, end = f"<!-- {name} -->\n", "<!-- end -->"
        before, after = text.split(start, 1)
        text = before + start + body + after[after.index(end) :]
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
