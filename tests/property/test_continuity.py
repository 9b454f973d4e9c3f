"""The vectorised judge of sequences against one that follows its rules a row at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.continuity import MAX_GAP, MEMORY, Continuity, Position
from pipeline.core.keys import Key
from pipeline.core.model import Gap, GapReason
from tests.rows import PERIOD_US, START_US, cycles, parts, spectra

thorough = settings(max_examples=200, deadline=None)

GREATEST = 2**63 - 1
KEYS = [("pdu1", "karman1"), ("pdu1", "karman2"), ("pdu2", "karman1")]
Event = tuple[int, str, int]  # (which of `KEYS`, what happens, by how much)


@dataclass
class Stream:
    """One stream, by the rules in the docstring of `pipeline.core.continuity`."""

    key: Key
    stride: int  # 0: not known yet
    last: Position | None = None
    resumed: bool = False
    seen: dict[int, int] = field(default_factory=dict)  # time by sequence, since the numbering began
    learns: bool = False

    def __post_init__(self) -> None:
        self.learns = self.stride == 0
        self.resumed = self.last is not None
        if self.last:
            self.seen[self.last.sequence] = self.last.time_us

    def judge(self, number: int, time_us: int) -> str | Gap | None:
        if self.last is None:
            return self.move(number, time_us, None)
        grown = number - self.last.sequence
        if grown > 0:
            if grown - 1 > MAX_GAP:
                return self.begin(number, time_us)
            if self.learns:
                self.stride = min(grown, self.stride or grown)
            missing = (grown + self.stride - 1) // self.stride - 1
            gap = Gap(*self.key, "p", self.last.sequence, number, missing, self.last.time_us, time_us, self.reason())
            return self.move(number, time_us, gap if missing else None)
        if self.seen.get(number) == time_us:
            return "duplicate"
        if number in self.seen or -grown >= MEMORY or time_us > self.last.time_us:
            return self.begin(number, time_us)
        self.seen[number] = time_us
        return "late"

    def reason(self) -> str:
        return GapReason.RESTART if self.resumed else GapReason.TRANSPORT

    def begin(self, number: int, time_us: int) -> str | Gap | None:
        self.seen.clear()
        return self.move(number, time_us, "reset")

    def move(self, number: int, time_us: int, finding: str | Gap | None) -> str | Gap | None:
        self.last, self.seen[number], self.resumed = Position(number, time_us), time_us, False
        return finding


@dataclass
class Findings:
    kept: list[bool] = field(default_factory=list)
    gaps: Counter[Gap] = field(default_factory=Counter)
    late: Counter[Key] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    positions: dict[Key, Position] = field(default_factory=dict)


def by_the_rules(rows: Sequence[dict[str, Any]], positions: dict[Key, Position], stride: int) -> Findings:
    streams = {key: Stream(key, stride, positions.get(key)) for key in KEYS}
    findings = Findings()
    for row in rows:
        stream = streams[row["device"], row["stream"]]
        finding = None if row["sequence"] is None else stream.judge(row["sequence"], row["time"])
        findings.kept.append(finding != "duplicate")
        if isinstance(finding, Gap):
            findings.gaps[finding] += 1
        findings.late[stream.key] += finding == "late"
        findings.resets[stream.key[0]] += finding == "reset"
    findings.positions = {key: stream.last for key, stream in streams.items() if stream.last}
    return findings


def observed(batches: Sequence[pa.RecordBatch], positions: dict[Key, Position], stride: int) -> Findings:
    continuity = Continuity("p", positions, stride)
    findings = Findings()
    for batch in batches:
        verdict = continuity.observe(batch)
        findings.kept += verdict.kept.tolist()
        findings.gaps.update(verdict.gaps)
        findings.late.update(verdict.late)
        findings.resets.update(verdict.resets)
    findings.positions = continuity.positions()
    return findings


def time_of(base: int, number: int, life: int) -> int:
    return START_US + life * 10**12 + (number - base) * PERIOD_US


def arrivals(events: Sequence[Event], base: int, unit: int) -> list[dict[str, Any]]:
    """Rows of devices that lose, repeat, reorder and restart; `unit` apart in sequence."""
    front = dict.fromkeys(range(len(KEYS)), base)
    lives = dict.fromkeys(range(len(KEYS)), 0)
    rows = []
    for index, what, amount in events:
        number: int | None = None
        shift_us = 0
        if what == "ahead":
            front[index] = number = min(front[index] + unit * amount, GREATEST)
        elif what == "jump":
            front[index] = number = min(front[index] + MAX_GAP + amount, GREATEST)
        elif what == "restart":
            lives[index] += 1
            front[index] = number = base + unit * amount
        elif what in ("back", "another"):
            number = max(front[index] - unit * amount, base % unit)
            shift_us = 1 if what == "another" else 0
        time_us = time_of(base, front[index] if number is None else number, lives[index]) + shift_us
        device, stream = KEYS[index]
        rows.append({"device": device, "stream": stream, "sequence": number, "time": time_us})
    return rows


def happenings(*rare: tuple[str, int, int]) -> st.SearchStrategy[list[Event]]:
    usual = st.one_of(*[st.just(("ahead", 1))] * 8)
    odd = [st.tuples(st.just(what), st.integers(least, most)) for what, least, most in rare]
    one = st.tuples(st.integers(0, len(KEYS) - 1), st.one_of(usual, *odd)).map(lambda event: (event[0], *event[1]))
    return st.lists(one, max_size=60)


troubles = [
    ("ahead", 2, 5),
    ("ahead", 250, 270),
    ("back", 0, 20),
    ("another", 0, 20),
    ("restart", 0, 3),
    ("none", 0, 0),
]
cuts = st.lists(st.integers(0, 60), max_size=6)
bases = st.sampled_from([0, 1_000, GREATEST - 40])
handed = st.sets(st.sampled_from(KEYS))


@thorough
@given(happenings(*troubles, ("jump", 0, 3)), bases, handed, cuts)
def test_cycles_are_judged_by_the_rules_however_they_are_batched(
    events: list[Event], base: int, resumed: set[Key], cuts: list[int]
) -> None:
    positions = {key: Position(base, time_of(base, base, 0)) for key in resumed}
    rows = arrivals(events, base, 1)
    wanted = by_the_rules(rows, positions, 1)
    assert observed([cycles(rows)], positions, 1) == wanted
    assert observed(parts(cycles(rows), cuts), positions, 1) == wanted
    # Batches from different decoders number their names differently.
    assert observed([cycles([row]) for row in rows], positions, 1) == wanted


@thorough
@given(happenings(*troubles), st.sampled_from([1, 10, 60]), st.tuples(*[st.integers(1, 4)] * len(KEYS)), handed, cuts)
def test_spectra_are_judged_by_the_smallest_growth_seen(
    events: list[Event], unit: int, growths: tuple[int, ...], resumed: set[Key], cuts: list[int]
) -> None:
    base = 1_000
    two_rows_each = [(index, "ahead", growth) for index, growth in [*enumerate((0, 0, 0)), *enumerate(growths)]]
    rows = arrivals([*two_rows_each, *events], base, unit)
    positions = {key: Position(base - unit, time_of(base, base - unit, 0)) for key in resumed}
    wanted = by_the_rules(rows, positions, 0)
    assert observed([spectra(rows)], positions, 0) == wanted
    assert observed(parts(spectra(rows), cuts), positions, 0) == wanted
