"""What is cut by whole seconds: every row once, in order, with its counts; a second that has begun waits for one cut."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.intake import Arrival, Arrivals, Intake
from pipeline.core.model import STREAMS, Batch, Tally, total
from tests.rows import START_US
from tests.standby import DEVICES, decode, message

SECOND_US = 1_000_000
thorough = settings(max_examples=200, deadline=None)


@st.composite
def heard(draw: st.DrawFn) -> list[list[Arrival]]:
    """What two devices send until each cut: at any pace, some lost, garbled, repeated, of other topics; clocks go back."""
    number, clock_us = [0, 0], [START_US, START_US]
    what = st.sampled_from(["next"] * 12 + ["lost", "garbled", "repeated", "other topic", "spectrum", "clock back"])
    pace_us = st.sampled_from([0, 16_667, 200_000, 400_000, 1_100_000, 2_500_000])
    cuts = []
    for _ in range(draw(st.integers(1, 6))):
        arrivals = []
        for device, event, later_us in draw(st.lists(st.tuples(st.integers(0, 1), what, pace_us), max_size=12)):
            number[device] += {"repeated": 0, "lost": 3}.get(event, 1)
            clock_us[device] += -7 * SECOND_US if event == "clock back" else 0 if event == "repeated" else later_us
            payload: bytes | None = message(number[device], clock_us[device], spectrum=event == "spectrum")
            payload = {"garbled": b"", "other topic": None}.get(event, payload)
            arrivals.append(Arrival(device, START_US, payload))
        cuts.append(arrivals)
    return cuts


def rows_of(batches: list[Batch], device: str) -> list[tuple[object, ...]]:
    rows = [row for batch in batches for row in batch.cycles.to_pylist() if row["device"] == device]
    return [(row["message"], row["stream"], row["sequence"], row["time"]) for row in rows]


def waiting(intake: Intake) -> int:
    return sum(rows.num_rows for rows in (*intake._cycles, *intake._spectra))


def spectra_of(batches: list[Batch]) -> list[int]:
    return sorted(message for batch in batches for message in batch.spectra.column("message").to_pylist())


@thorough
@given(heard())
def test_every_row_comes_once_in_order_and_with_its_counts(cuts: list[list[Arrival]]) -> None:
    plain, parted = Intake(DEVICES, decode, {}), Intake(DEVICES, decode, {})
    batches = []
    for arrivals in cuts:
        plain.take(Arrivals.of(arrivals))
        parted.take(Arrivals.of(arrivals))
        batches.append(parted.cut("ingest-0", 1, len(batches), whole_seconds=True))
        cut = sum(batch.cycles.num_rows + batch.spectra.num_rows for batch in batches if batch is not None)
        assert waiting(plain) == cut + waiting(parted)
    batches.append(parted.cut("ingest-0", 1, len(batches)))
    made = [batch for batch in batches if batch is not None]
    at_once = [batch for batch in [plain.cut("ingest-0", 1, 0)] if batch is not None]

    for device in DEVICES:
        assert rows_of(made, device) == rows_of(at_once, device)
        sums = list(accumulate((batch.tallies.get(device, Tally()) for batch in made), initial=Tally()))
        assert [batch.totals[device] for batch in made] == sums[1:]
    assert spectra_of(made) == spectra_of(at_once)
    assert [gap for batch in made for gap in batch.gaps] == [gap for batch in at_once for gap in batch.gaps]
    assert total(t for b in made for t in b.tallies.values()) == total(t for b in at_once for t in b.tallies.values())
    for batch in made:
        counted = total(batch.tallies.values())
        messages = {*batch.cycles.column("message").to_pylist(), *batch.spectra.column("message").to_pylist()}
        assert counted.delivered == len(messages)
        assert counted.rows == batch.cycles.num_rows + batch.spectra.num_rows
        assert counted.received == counted.delivered + sum(counted.dropped.values())
    assert parted.totals == plain.totals


@thorough
@given(heard())
def test_a_second_that_has_begun_waits_for_the_next_cut_and_no_longer(cuts: list[list[Arrival]]) -> None:
    intake = Intake(DEVICES, decode, {})
    for number, arrivals in enumerate(cuts):
        kept = intake.take(Arrivals.of(arrivals)).to_pylist()
        batch = intake.cut("ingest-0", 1, 2 * number, whole_seconds=True)
        newest = {row["device"]: int(row["time"].timestamp()) for row in kept}  # of each the last one
        for device, second in newest.items():
            tally = batch.tallies.get(device, Tally()) if batch is not None else Tally()
            broken = {gap.device for gap in batch.gaps} if batch is not None else set()
            usual = tally == Tally(tally.received, tally.delivered, tally.rows) and device not in broken
            seconds = [int(row[3].timestamp()) for row in rows_of([batch] if batch is not None else [], device)]
            assert seconds  # something always goes
            if usual:
                assert seconds[-1] != second or len(set(seconds)) == 1
            else:
                assert seconds[-1] == second
        intake.cut("ingest-0", 1, 2 * number + 1, whole_seconds=True)
        assert intake.cut("ingest-0", 1, 2 * number + 2) is None


def test_of_a_steady_device_each_second_comes_in_one_batch() -> None:
    intake = Intake(DEVICES, decode, {})
    batches = []
    for step in range(1, 13):  # half a second each; cut 0.2 s after each second
        numbers = range(30 * step - 18, 30 * step + 12)
        messages = [message(number, START_US + number * SECOND_US // 60) for number in numbers]
        intake.take(Arrivals.of([Arrival(device, START_US, each) for each in messages for device in (0, 1)]))
        if step % 2 == 0:
            batches.append(intake.cut("ingest-0", 1, len(batches), whole_seconds=True))
    rows = [batch.cycles for batch in batches if batch is not None]
    assert [each.num_rows for each in rows] == [2 * 48 * len(STREAMS)] + 5 * [2 * 60 * len(STREAMS)]
    seconds = [{time.timestamp() // 1 - START_US // SECOND_US for time in r.column("time").to_pylist()} for r in rows]
    assert seconds == [{number} for number in range(6)]
