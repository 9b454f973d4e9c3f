"""When a driver's end is its pipeline's, and when a fleet file has changed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pipeline.adapters.configuration import Loaded
from pipeline.cli.fleet_file import FleetFile
from pipeline.cli.signals import Cause, Signals, ends_pipeline, listening, starting
from pipeline.core.config import Device, PipelineConfig
from pipeline.core.errors import InputError

CONFIG = PipelineConfig((Device("d", "tcp://x:1"),), "", 0)


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("started", [True, False])
def test_a_ray_of_our_own_ends_with_us(cause: Cause, started: bool) -> None:
    assert ends_pipeline(cause, started, cluster=False, job=False)


@pytest.mark.parametrize(
    ("cause", "started", "job", "ends"),
    [
        (Cause.INTERRUPT, True, False, True),
        (Cause.INTERRUPT, False, False, False),
        (Cause.TERMINATE, True, False, True),
        (Cause.TERMINATE, False, False, False),
        (Cause.TERMINATE, False, True, True),
        (Cause.INTERRUPT, False, True, False),
        (Cause.DONE, True, False, True),
        (Cause.DONE, False, True, False),
        (Cause.TERMINAL_LOST, True, False, False),
        (Cause.TERMINAL_LOST, True, True, False),
        (Cause.ENDED_ELSEWHERE, True, True, False),
    ],
)
def test_in_a_cluster_who_has_started_it_ends_it(cause: Cause, started: bool, job: bool, ends: bool) -> None:
    assert ends_pipeline(cause, started, cluster=True, job=job) is ends


def test_signals_are_events_and_the_first_cause_counts() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with listening() as asked:
        asked._had_terminal = False
        signal.raise_signal(signal.SIGHUP)
        assert asked.reload.is_set()
        assert not asked.leave.is_set()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert (asked.leave.is_set(), asked.cause) == (True, Cause.TERMINATE)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_lost_terminal_is_told_from_a_wish_to_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cli.signals._print_nowhere", lambda: None)
    monkeypatch.setattr("pipeline.cli.signals._has_terminal", lambda: True)
    asked = Signals()
    asked.received(signal.SIGHUP, None)
    assert (asked.reload.is_set(), asked.cause) == (True, None)
    monkeypatch.setattr("pipeline.cli.signals._has_terminal", lambda: False)
    asked.received(signal.SIGHUP, None)
    assert asked.cause is Cause.TERMINAL_LOST


class Files:
    """A fleet file that is read by hand."""

    def __init__(self, folder: Path) -> None:
        (folder / "racks").mkdir()
        self.top, self.part = folder / "fleet.yaml", folder / "racks" / "a.yaml"
        self.top.write_text("1")
        self.part.write_text("1")
        self.reads = 0

    def load(self) -> Loaded:
        self.reads += 1
        if self.top.read_text() == "wrong":
            raise InputError("wrong")
        return Loaded(CONFIG, (self.top, self.part))


def test_a_change_is_seen_once_it_has_settled(tmp_path: Path) -> None:
    files = Files(tmp_path)
    file = FleetFile(files.load)
    assert [file.changed() for _ in range(3)] == [False] * 3
    files.top.write_text("12")
    assert [file.changed() for _ in range(2)] == [False, True]
    assert file.read() is CONFIG
    assert [file.changed() for _ in range(3)] == [False] * 3
    (tmp_path / "racks" / "b.yaml").write_text("1")  # may match a pattern
    assert [file.changed() for _ in range(2)] == [False, True]
    file.read()
    files.part.unlink()
    assert [file.changed() for _ in range(2)] == [False, True]


def test_a_wrong_file_is_read_once_and_again_when_it_changes(tmp_path: Path) -> None:
    files = Files(tmp_path)
    file = FleetFile(files.load)
    files.top.write_text("wrong")
    assert [file.changed() for _ in range(2)] == [False, True]
    with pytest.raises(InputError):
        file.read()
    assert [file.changed() for _ in range(3)] == [False] * 3
    files.top.write_text("right")
    assert [file.changed() for _ in range(2)] == [False, True]


def test_a_hangup_while_starting_ends_nothing() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with starting() as begun:
        os.kill(os.getpid(), signal.SIGHUP)
        begun.check()
    assert signal.getsignal(signal.SIGHUP) == before


def test_sigterm_while_starting_waits_until_it_can_be_broken_off_and_no_second_time() -> None:
    with starting() as begun:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit):
            begun.check()
        with pytest.raises(SystemExit):
            os.kill(os.getpid(), signal.SIGTERM)
