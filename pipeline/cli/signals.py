"""What signals ask of a driver: to leave, and why, or to read its configuration anew."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import stat
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Cause(enum.Enum):
    """Why a driver leaves its pipeline."""

    INTERRUPT = enum.auto()  # Ctrl-C
    TERMINATE = enum.auto()  # SIGTERM, as `ray job stop`, Kubernetes and service managers send it
    TERMINAL_LOST = enum.auto()
    DONE = enum.auto()  # the replay has finished, or the time is over
    ENDED_ELSEWHERE = enum.auto()


class Signals:
    """Signals as events. `leave` is set with a `cause`; `reload` whenever SIGHUP asks for it."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.reload = threading.Event()
        self.cause: Cause | None = None
        self._had_terminal = _has_terminal()
        self._hangup_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # `nohup`: a lost terminal is nothing

    def ask_to_leave(self, cause: Cause) -> None:
        """Leave; the first cause counts."""
        self.cause = self.cause or cause
        self.leave.set()

    def leave_after(self, seconds: float) -> None:
        """Leave after some time."""
        timer = threading.Timer(seconds, self.ask_to_leave, [Cause.DONE])
        timer.daemon = True
        timer.start()

    def received(self, number: int, frame: FrameType | None) -> None:
        """The handler. A second Ctrl-C breaks off."""
        if number == signal.SIGINT:
            if self.leave.is_set():
                raise KeyboardInterrupt
            self.ask_to_leave(Cause.INTERRUPT)
        elif number == signal.SIGTERM:
            self.ask_to_leave(Cause.TERMINATE)
        elif not self._had_terminal or _has_terminal():
            self.reload.set()
        elif not self._hangup_ignored:  # the kernel sends the same signal for a terminal that is gone
            _print_nowhere()
            self.ask_to_leave(Cause.TERMINAL_LOST)


class Starting:
    """What was asked for while something starts."""

    def __init__(self) -> None:
        self.terminated = False

    def check(self) -> None:
        """Where it can be broken off.

        Raises:
            SystemExit: SIGTERM came.
        """
        if self.terminated:
            sys.exit(signal.SIGTERM)


@contextlib.contextmanager
def starting() -> Iterator[Starting]:
    """Take SIGTERM and SIGHUP until there is something that they can ask.

    An exception out of a handler may be swallowed by whoever runs just then, or leave a lock taken: so SIGTERM waits
    for `check`, unless it comes again. SIGHUP ends us only if our terminal is gone.
    """
    asked, had_terminal = Starting(), _has_terminal()

    def terminated(number: int, _: FrameType | None) -> None:
        if asked.terminated:
            sys.exit(number)
        asked.terminated = True

    def hung_up(number: int, _: FrameType | None) -> None:
        if had_terminal and not _has_terminal():
            sys.exit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGTERM, terminated)
    if before[signal.SIGHUP] != signal.SIG_IGN:  # of `nohup`
        signal.signal(signal.SIGHUP, hung_up)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def listening() -> Iterator[Signals]:
    """Take Ctrl-C, SIGTERM and SIGHUP as events, until the end of the block."""
    signals = Signals()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signals.received) for number in numbers}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ends_pipeline(cause: Cause, started: bool, cluster: bool, job: bool) -> bool:
    """Whether the pipeline ends with its driver.

    Args:
        started: the driver has started it, rather than joined it.
        cluster: it runs in a Ray cluster; one of our own ends with us.
        job: the driver was submitted with `ray job submit`: to stop the job means to stop the pipeline.
    """
    if not cluster:
        return True
    if cause in (Cause.TERMINAL_LOST, Cause.ENDED_ELSEWHERE):
        return False
    return started or (job and cause is Cause.TERMINATE)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _print_nowhere() -> None:
    """Printing to a terminal that is gone would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):  # not `isatty`: a lost terminal says that it is none
            os.dup2(nowhere, descriptor)
    os.close(nowhere)
