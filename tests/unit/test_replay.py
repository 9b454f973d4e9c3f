"""The frames of a replay: what the recording holds, to the bit, for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.adapters import recordings
from pipeline.adapters.recordings import Recording
from pipeline.adapters.replay import BLOCK_FRAMES, Begin, Frames
from pipeline.core.model import QUANTITIES, STREAMS, VALUE_COLUMNS, value_columns
from pipeline.core.pacing import Pace
from tests.payloads import RECEIVED_US, decode

PACE = Pace(RECEIVED_US, 60.0)
HEADER = "time,stream_name,phase," + ",".join((*(quantity.name for quantity in QUANTITIES), "sequence_number"))


def recording(folder: Path, *rows: tuple[int, str, str, float, int]) -> Recording:
    """A recording of rows (time in ms, stream, phase, rms voltage, sequence)."""
    lines = [
        f"{time},{stream},{phase},{voltage},{',' * 6},{sequence}" for time, stream, phase, voltage, sequence in rows
    ]
    path = folder / "mine.csv"
    path.write_text("\n".join((HEADER, *lines, "")))
    return recordings.read(path)


def of_sequences(folder: Path, *sequences: int) -> Recording:
    return recording(folder, *((17 * n, "karman1", "phase_a", n, number) for n, number in enumerate(sequences)))


def played(frames: Frames, first: int, last: int) -> pa.RecordBatch:
    payloads = frames.payloads(first, last, PACE)
    assert len(payloads) == last - first
    return decode(payloads).cycles


def test_a_shipped_recording_is_sent_as_it_is() -> None:
    shipped = recordings.load("sample1")
    frames = Frames(shipped, mirror=False)
    got, wanted = played(frames, 0, 200), shipped.cycles.slice(0, 600)
    assert got.column("stream").to_pylist() == list(STREAMS) * 200
    for name in (*VALUE_COLUMNS, "sequence"):
        assert got.column(name).equals(wanted.column(name))
    number = np.repeat(np.arange(200), 3)
    np.testing.assert_array_equal(got.column("time").view(pa.int64()).to_numpy(), PACE.time_us(number))
    numbers = [0, 1, shipped.frame_count, 10**12]
    assert [frames.index_of(sequence) for sequence in numbers] == numbers


def test_after_the_last_frame_comes_the_first_and_sequences_go_on(tmp_path: Path) -> None:
    rows = [
        *((0, "karman1", "phase_a", 1.0, 7), (0, "karman3", "phase_b", 2.0, 7)),
        *((17, "karman2", "phase_a", 3.0, 8), (17, "karman2", "phase_b", 4.0, 8)),
        (50, "karman1", "phase_a", 5.0, 10),  # frame 9 was lost when it was recorded
    ]
    frames = Frames(recording(tmp_path, *rows), mirror=False)
    cycles = played(frames, 1, 8)
    assert frames.count == 3
    figures = ("message", "sequence", "stream", "a_rms_voltage_v", "b_rms_voltage_v")
    first = cycles.column("message")[0].as_py()
    k1, k2, k3 = STREAMS
    assert list(zip(*(cycles.column(name).to_pylist() for name in figures), strict=True)) == [
        *((first, 8, k2, 3.0, 4.0), (first + 1, 10, k1, 5.0, None)),
        *((first + 2, 11, k1, 1.0, None), (first + 2, 11, k3, None, 2.0), (first + 3, 12, k2, 3.0, 4.0)),
        *((first + 4, 14, k1, 5.0, None), (first + 5, 15, k1, 1.0, None), (first + 5, 15, k3, None, 2.0)),
        (first + 6, 16, k2, 3.0, 4.0),
    ]
    assert [frames.index_of(sequence) for sequence in (7, 8, 10, 11, 12, 14, 15, 16)] == list(range(8))


@pytest.mark.parametrize("block", [1, 2, BLOCK_FRAMES])
def test_it_does_not_matter_how_many_are_encoded_at_a_time(tmp_path: Path, block: int) -> None:
    frames = Frames(of_sequences(tmp_path, 0, 1, 2, 3, 4), mirror=False)
    whole = frames.payloads(0, 120, PACE)
    assert [
        payload for first in range(0, 120, block) for payload in frames.payloads(first, first + block, PACE)
    ] == whole


@pytest.mark.parametrize(
    "sequences",
    [(0, 1, 2), (5, 6, 9), (2**40, 2**40 + 1), (0,), (9, 10, 0, 1, 2)],
    ids=["from 0", "a gap", "a long uptime", "one frame", "the device restarted"],
)
def test_a_sequence_number_leads_back_to_its_frame(tmp_path: Path, sequences: tuple[int, ...]) -> None:
    frames = Frames(of_sequences(tmp_path, *sequences), mirror=False)
    sent = played(frames, 0, 3 * frames.count).column("sequence").to_pylist()
    assert len(set(sent)) == len(sent)
    assert [frames.index_of(sequence) for sequence in sent] == list(range(3 * frames.count))


def test_of_frames_with_one_sequence_number_the_last_counts(tmp_path: Path) -> None:
    frames = Frames(of_sequences(tmp_path, 4, 4, 5, 5), mirror=False)
    assert [frames.index_of(sequence) for sequence in (4, 5, 6, 7)] == [1, 3, 5, 7]


def test_the_mirror_fills_a_channel_b_that_is_not_there(tmp_path: Path) -> None:
    shipped = recordings.load("sample1")
    cycles = played(Frames(shipped, mirror=True), 0, 10)
    for a, b in zip(value_columns("a"), value_columns("b"), strict=True):
        assert cycles.column(b).equals(cycles.column(a))
        assert cycles.column(a).equals(shipped.cycles.column(a).slice(0, 30))
    rows = [(0, "karman1", "phase_a", 1.0, 0), (17, "karman1", "phase_a", 3.0, 1), (17, "karman1", "phase_b", 4.0, 1)]
    cycles = played(Frames(recording(tmp_path, *rows), mirror=True), 0, 2)  # the second has a channel b of its own
    assert cycles.column("b_rms_voltage_v").to_pylist() == [1.0, 4.0]


@pytest.mark.parametrize("at", [1, 2, 3, 5, 200])
def test_another_recording_goes_on_with_sequence_and_time(tmp_path: Path, at: int) -> None:
    first = Frames(of_sequences(tmp_path, 4, 5, 6), mirror=False)
    (tmp_path / "b").mkdir()
    second = Frames(of_sequences(tmp_path / "b", 70, 71), mirror=False, begin=first.end_before(at))
    before, after = played(first, 0, at), played(second, at, at + 5)
    assert before.column("sequence").to_pylist() == list(range(4, 4 + at))
    assert after.column("sequence").to_pylist() == list(range(4 + at, 4 + at + 5))
    assert after.column("a_rms_voltage_v").to_pylist() == [0.0, 1.0, 0.0, 1.0, 0.0]
    time_us = after.column("time").view(pa.int64()).to_numpy()
    np.testing.assert_array_equal(time_us, PACE.time_us(np.arange(at, at + 5)))
    assert [second.index_of(4 + at + n) for n in range(5)] == list(range(at, at + 5))


def test_a_switch_before_anything_was_played_leaves_the_numbering(tmp_path: Path) -> None:
    frames = Frames(of_sequences(tmp_path, 4, 5), mirror=False)
    assert frames.end_before(0) == Begin(0, 4)


def test_after_a_recorded_restart_nothing_is_numbered_twice(tmp_path: Path) -> None:
    frames = Frames(of_sequences(tmp_path, 9, 10, 0, 1), mirror=False)
    for at in range(1, 12):
        assert frames.end_before(at).sequence == max(played(frames, 0, at).column("sequence").to_pylist()) + 1
