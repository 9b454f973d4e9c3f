"""Senders and receivers over a link that loses, delays and reorders calls and answers, while either side dies."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.core.delivery import Entry, Inbox, Outbox

Name = tuple[int, int]  # (epoch, number)
LARGEST = 40


@dataclass(frozen=True)
class Call:
    epoch: int
    oldest: int
    entry: Entry[Name]


class Link(RuleBasedStateMachine):
    """What an edge of the graph and its receiver do, with every kind of failure in between."""

    @initialize(
        limit_bytes=st.integers(1, 200),
        window=st.integers(1, 4),
        retain_s=st.sampled_from([0.0, 5.0]),
        begin=st.booleans(),
    )
    def start(self, limit_bytes: int, window: int, retain_s: float, begin: bool) -> None:
        self.settings = {"limit_bytes": limit_bytes, "window": window, "retain_s": retain_s}
        self.now_s = 0.0
        self.epoch = 0
        self.calls: list[Call] = []  # made and not executed, also by dead senders
        self.answers: list[int] = []  # on their way to the living sender
        self.accepted: set[Name] = set()  # by any receiver
        self.restart_receiver()
        self.restart_sender(begin)

    @rule(begin=st.booleans())
    def restart_sender(self, begin: bool) -> None:
        self.epoch += 1
        self.outbox: Outbox[Name] = Outbox(**self.settings)
        self.answers.clear()
        if begin:
            self.inbox.begin("p", self.epoch)

    @rule()
    def restart_receiver(self) -> None:
        self.inbox = Inbox()
        self.taken: list[Name] = []

    @rule(sizes=st.lists(st.integers(1, LARGEST), min_size=1, max_size=5))
    def offer(self, sizes: list[int]) -> None:
        for nbytes in sizes:
            name = (self.epoch, self.outbox.next_number)
            if not self.outbox.offer(name, nbytes, self.now_s):
                assert self.outbox.waiting  # what only is retained makes room
                assert name not in self.outbox.waiting

    @rule()
    def send(self) -> None:
        due = self.outbox.due(self.now_s)
        self.calls += [Call(self.epoch, self.outbox.oldest, entry) for entry in due]

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), fate=st.sampled_from(["answered", "answered", "answer lost", "call lost"]))
    def call(self, data: st.DataObject, fate: str) -> None:
        self.run(data.draw(st.sampled_from(range(len(self.calls))), "which"), fate)

    @precondition(lambda self: self.answers)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from(range(len(self.answers))), "which")
        self.outbox.answered(self.answers.pop(which), self.now_s)

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def bounds_hold(self) -> None:
        assert self.outbox.nbytes <= max(self.settings["limit_bytes"], LARGEST)
        assert sum(call.epoch == self.epoch for call in self.calls) + len(self.answers) <= self.settings["window"]

    @invariant()
    def what_waits_no_more_has_arrived(self) -> None:
        assert self.taken_up() <= {*self.outbox.waiting} | self.accepted
        assert self.outbox.settled == (not self.outbox.waiting)

    def teardown(self) -> None:
        """Nothing fails any more: everything gets through, and nothing is kept for ever."""
        if not hasattr(self, "outbox"):
            return
        for _ in range(1000):
            while self.calls:
                self.run(0, "answered")
            while self.answers:
                self.outbox.answered(self.answers.pop(0), self.now_s)
            self.now_s += 10
            self.send()
            if not self.calls:
                break
        assert self.outbox.waiting == []
        assert self.outbox.nbytes == 0
        assert self.taken_up() <= self.accepted

    def taken_up(self) -> set[Name]:
        return {(self.epoch, number) for number in range(self.outbox.next_number)}

    def run(self, which: int, fate: str) -> None:
        call = self.calls.pop(which)
        epoch, number = call.entry.item
        if fate != "call lost" and self.inbox.accept("p", call.epoch, number, call.oldest):
            assert self.taken == [] or self.taken[-1] < (epoch, number)  # in order, once, no predecessor's any more
            assert all((epoch, below) in self.accepted for below in range(number))
            self.taken.append((epoch, number))
            self.accepted.add((epoch, number))
        if call.epoch != self.epoch:
            return
        if fate == "answered":
            self.answers.append(self.inbox.expected("p"))
        else:
            self.outbox.failed(self.now_s)


Link.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestLink = Link.TestCase
