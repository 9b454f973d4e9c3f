"""A primary that dies anywhere, and a standby that heard the same: every message is stored once, and counted once."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.intake import Arrival, Arrivals, Intake, Opening
from pipeline.core.model import STREAMS, Batch, total
from pipeline.core.progress import Progress
from pipeline.core.retention import Retention, what_follows
from tests.rows import PERIOD_US, START_US
from tests.standby import DEVICES, decode, message

thorough = settings(max_examples=200, deadline=None)

SECOND_US = 1_000_000


@st.composite
def heard(draw: st.DrawFn) -> list[Arrival]:
    """What two devices send, in order: they lose, garble, begin anew, set their clocks back; one may send no time."""
    clock_us = START_US + draw(st.sampled_from([0, SECOND_US - 10 * PERIOD_US]))
    state = {device: {"number": draw(st.integers(0, 1000)), "clock_us": clock_us} for device in (0, 1)}
    clockless = draw(st.sampled_from([None, 0, 1]))
    arrivals = []
    now_us = START_US
    usual = st.just(("next", 1))
    events = st.one_of(
        *[usual] * 9,
        st.tuples(st.just("lose"), st.integers(2, 5)),
        st.just(("garbled", 0)),
        st.just(("other topic", 0)),
        st.just(("begin anew", 0)),
        st.just(("clock back", 0)),
    )
    for device, (what, amount) in draw(st.lists(st.tuples(st.integers(0, 1), events), max_size=60)):
        own = state[device]
        now_us += PERIOD_US // 2
        own["clock_us"] += PERIOD_US
        if what == "begin anew":  # a device that boots is silent for seconds, and sets its clock
            now_us += 3 * SECOND_US
            own["number"], own["clock_us"] = -1, now_us + SECOND_US
        elif what == "clock back" and device != clockless:
            own["clock_us"] -= 20 * SECOND_US
        own["number"] += max(amount, 1)
        payload: bytes | None = message(own["number"], 0 if device == clockless else own["clock_us"])
        payload = {"garbled": b"", "other topic": None}.get(what, payload)
        arrivals.append(Arrival(device, now_us, payload))
    return arrivals


def run(intake: Intake, arrivals: list[Arrival], epoch: int, every: int, whole: bool = False) -> list[Batch]:
    batches = []
    for start in range(0, len(arrivals), every):
        intake.take(Arrivals.of(arrivals[start : start + every]))
        batch = intake.cut("ingest-0", epoch, len(batches), whole_seconds=whole)
        if batch is not None:
            batches.append(batch)
    last = intake.cut("ingest-0", epoch, len(batches))
    return batches if last is None else [*batches, last]


def stored(batches: list[Batch]) -> Counter[Any]:
    rows = [row for batch in batches for row in batch.cycles.to_pylist()]
    return Counter((row["device"], row["stream"], row["sequence"], row["time"]) for row in rows if not row["flags"])


def set_back(arrivals: list[Arrival]) -> bool:
    times = {device: [a.payload for a in arrivals if a.device == device and a.payload] for device in (0, 1)}
    return any(json.loads(b)["time"] < json.loads(a)["time"] for told in times.values() for a, b in pairwise(told))


@thorough
@given(heard(), st.data())
def test_everything_is_stored_and_counted_once(arrivals: list[Arrival], data: st.DataObject) -> None:
    every = data.draw(st.integers(1, 8), "messages in a batch")
    whole = data.draw(st.booleans(), "whole seconds")
    primary = Intake(DEVICES, decode, {})
    batches = run(primary, arrivals, 1, every, whole)
    reached = data.draw(st.integers(0, len(batches)), "batches that the store had taken when the primary died")
    died = data.draw(st.integers(min(reached * every, len(arrivals)), len(arrivals)), "messages heard until then")
    # A clock set back shows only beside the row at the position; else it would hide rows until it has caught up. And of
    # whole seconds how far the store has come differs by device.
    forgettable = 0 if set_back(arrivals) or whole else min(reached * every, len(arrivals))
    forgotten = data.draw(st.integers(0, forgettable), "messages no longer retained")
    skew_us = data.draw(st.integers(-SECOND_US // 4, SECOND_US // 4), "between the hosts' clocks")

    progress = Progress()
    for batch in batches[:reached]:
        progress.note(batch)
    positions, totals = progress.of(DEVICES)
    retention = Retention(keep_s=1e9, limit_bytes=1 << 30)
    here = [Arrival(a.device, a.received_us + skew_us, a.payload) for a in arrivals]
    for arrival in here[forgotten:died]:
        retention.keep(Arrivals.of([arrival]), 0.0)

    opening = Opening(2, positions, totals)
    following = what_follows(retention.arrivals(), decode, DEVICES, opening, since_us=1 << 62)
    successor = Intake(DEVICES, decode, positions, totals)
    later = run(successor, following + here[died:], 2, every, whole)
    both = batches[:reached] + later

    undisturbed = run(Intake(DEVICES, decode, {}), arrivals, 1, max(len(arrivals), 1))
    assert stored(both) == stored(undisturbed)
    assert {gap.reason for batch in later for gap in batch.gaps} <= {"transport", "restart"}
    counted = total(tally for batch in both for tally in batch.tallies.values())
    assert counted.rows == len(STREAMS) * counted.delivered
    wanted = total(tally for batch in undisturbed for tally in batch.tallies.values())
    assert counted.delivered == wanted.delivered
    assert counted.missing == wanted.missing
    # What cannot be used stands between what can: at the border it cannot be told on which side of it.
    unusable = sum(1 for arrival in arrivals if not arrival.payload)
    assert abs(counted.received - wanted.received) <= unusable
    assert total(successor.totals.values()) == counted
    assert successor.counted == total(tally for batch in later for tally in batch.tallies.values())
