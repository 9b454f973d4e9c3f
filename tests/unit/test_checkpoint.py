"""Energy over the death of an aggregator: nothing is counted twice, what was lost is a gap, no figure changes owner."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.core.aggregation import ChannelAggregator, Checkpoint
from pipeline.core.checkpoint import from_bytes, to_bytes
from pipeline.core.energy import EXPORTED, GAP, IMPORTED, INTEGRATED
from pipeline.core.keys import Key
from pipeline.core.metrics import Snapshot
from pipeline.core.model import STREAMS, Flag, Tally
from pipeline.core.status import DeviceState
from tests.rows import PERIOD_US, START_US, cycles
from tests.unit.summaries import samples

Row = dict[str, Any]


def aggregator(checkpoint: Checkpoint | None = None) -> ChannelAggregator:
    return ChannelAggregator("a", STREAMS, 5_000_000, checkpoint=checkpoint)


def frames(*numbers: int, device: str = "pdu1", power_w: float | None = None) -> list[Row]:
    """A message of three streams for each number, which tells its time, and its power unless that is given."""
    return [
        {
            "time": START_US + number * PERIOD_US,
            "device": device,
            "stream": stream,
            "sequence": number,
            "message": number,
            "a_real_power_w": 100.0 * number if power_w is None else power_w,
        }
        for number in numbers
        for stream in STREAMS
    ]


def energies(aggregator: ChannelAggregator) -> dict[Key, list[float]]:
    summary = aggregator.summary()
    return dict(zip(summary.stream_keys, summary.energy.tolist(), strict=True))


def test_what_the_checkpoint_knows_is_not_counted_twice() -> None:
    sent = [frames(1, 2, 3, device="pdu2") + frames(1, 2), frames(3, 6, 4, 7)]  # 5 is lost, 4 comes late
    later = frames(8, 9, 13) + frames(4, 5, device="pdu2") + frames(1, device="pdu3")
    predecessor = aggregator()
    for rows in sent:
        predecessor.push(cycles(rows))
    checkpoint, wanted = predecessor.checkpoint(), energies(predecessor)
    successor = aggregator(checkpoint)
    for rows in sent:
        successor.push(cycles(rows), counted=True)
        assert energies(successor) == wanted
    for one in (predecessor, successor):
        one.push(cycles(later))
    assert energies(successor) == energies(predecessor) != wanted
    assert energies(aggregator(checkpoint)) == wanted  # it did not change with those who went on from it


def test_what_was_lost_between_a_checkpoint_and_its_successor_is_a_gap() -> None:
    predecessor = aggregator()
    predecessor.push(cycles(frames(1, 2)))
    successor = aggregator(predecessor.checkpoint())
    successor.push(cycles(frames(7)))
    energy = energies(successor)["pdu1", STREAMS[0]]
    assert energy[GAP] == pytest.approx(5 * PERIOD_US / 1e6 - 1 / 60, rel=1e-12)
    assert energy[INTEGRATED] + energy[GAP] == pytest.approx(6 * PERIOD_US / 1e6 + 1 / 60, rel=1e-12)


@pytest.mark.parametrize("heard", [(), ("first",), ("second",), ("third",)])
def test_a_device_that_is_not_heard_again_keeps_its_energy_and_has_no_figures(heard: tuple[str, ...]) -> None:
    predecessor = aggregator()
    for device in ("first", "second"):
        predecessor.push(cycles(frames(1, device=device, power_w=900.0)))
    successor = aggregator(predecessor.checkpoint())
    for device in heard:
        successor.push(cycles(frames(2, device=device, power_w=50.0)))
    state = DeviceState("tcp://x:1", True, 1, START_US, Tally(), None)
    states = dict.fromkeys(("first", "second", "third"), state)
    shown = samples(Snapshot(now_us=START_US, streams=STREAMS, states=states, summaries=(successor.summary(),)))
    power_w = [
        (dict(labels), value) for (name, labels), value in shown.items() if name == "karman_real_power_mean_watts"
    ]
    assert {(labels["device"], value) for labels, value in power_w} == {(device, 50.0) for device in heard}
    before, after = energies(predecessor), energies(successor)
    assert {key: after[key] for key in before if key[0] not in heard} == {
        key: energy for key, energy in before.items() if key[0] not in heard
    }


def test_a_step_counts_between_times_of_the_devices_own() -> None:
    flags = [0, Flag.PROVENANCE_DIFFERS, Flag.TIME_ABSENT, Flag.TIME_IMPLAUSIBLE, 0]
    one = aggregator()
    rows = frames(*range(len(flags)), power_w=-60.0)
    one.push(cycles({**row, "time": START_US + 10**6 * row["message"], "flags": flags[row["message"]]} for row in rows))
    energy = energies(one)["pdu1", STREAMS[0]]
    seconds = 1.0 + 4 / 60  # of five rows, the second one alone follows another in time
    assert energy[EXPORTED] == pytest.approx(60.0 * seconds, rel=1e-12)
    assert energy[INTEGRATED] == pytest.approx(seconds, rel=1e-12)
    assert energy[IMPORTED] == energy[GAP] == 0.0


def test_a_checkpoint_survives_as_bytes_within_its_run() -> None:
    predecessor = aggregator()
    predecessor.push(cycles(frames(1, 2, device="pdu2") + frames(1, 2, 4)))
    counted = {"ingest-0": (1_800_000_000_000_000, 7)}
    data = to_bytes(predecessor.checkpoint(), counted, run_us=5)
    assert from_bytes(data, run_us=6) is None
    found = from_bytes(data, run_us=5)
    assert found is not None
    checkpoint, known = found
    assert known == counted
    successor = aggregator(checkpoint)
    assert energies(successor) == energies(predecessor)
    assert successor.positions() == predecessor.positions()
    for one in (predecessor, successor):
        one.push(cycles(frames(5, 6)))
    assert energies(successor) == energies(predecessor)
    empty = from_bytes(to_bytes(aggregator().checkpoint(), {}, 5), 5)
    assert empty is not None
    assert energies(aggregator(empty[0])) == {}
