"""What an outbox keeps, drops and repeats, and when; whom an inbox believes. Failures of all kinds: tests/property."""

from __future__ import annotations

from pipeline.core.delivery import FIRST_RETRY_S, LONGEST_RETRY_S, Inbox, Outbox


def exchange(outbox: Outbox[str], inbox: Inbox, now_s: float) -> list[str]:
    """Everything that is due, answered at once; what the receiver accepted."""
    accepted = []
    while due := outbox.due(now_s):
        for entry in due:
            if inbox.accept("p", 1, entry.number, outbox.oldest):
                accepted.append(entry.item)
            outbox.answered(inbox.expected("p"), now_s)
    return accepted


def test_a_restarted_receiver_gets_what_was_offered_in_the_time_retained() -> None:
    outbox = Outbox[str](limit_bytes=100, window=2, retain_s=10)
    inbox = Inbox()
    for second, item in enumerate("abcdef"):
        outbox.offer(item, 1, second)
        assert exchange(outbox, inbox, second) == [item]
    outbox.offer("g", 1, 12.5)
    assert exchange(outbox, Inbox(), 12.5) == ["d", "e", "f", "g"]
    assert outbox.waiting == []
    assert outbox.due(30) == []
    assert outbox.nbytes == 0


def test_what_is_retained_waits_for_a_receiver_that_is_away() -> None:
    outbox, inbox = Outbox[str](limit_bytes=100, window=1, retain_s=10), Inbox()
    for second, item in enumerate("ab"):
        outbox.offer(item, 1, second)
        assert exchange(outbox, inbox, second) == [item]
    outbox.offer("c", 1, 2)
    assert [entry.item for entry in outbox.due(2)] == ["c"]
    assert outbox.due(20) == []  # it does not answer
    outbox.failed(20)
    assert outbox.due(20) == []
    assert exchange(outbox, Inbox(), 40) == ["a", "b", "c"]
    assert outbox.due(60) == []
    assert outbox.nbytes == 0


def test_what_is_acknowledged_makes_room_before_anything_is_lost() -> None:
    outbox = Outbox[str](limit_bytes=40, window=4, retain_s=10)
    for item in "abc":
        assert outbox.offer(item, 10, 0)
    exchange(outbox, Inbox(), 0)
    assert all(outbox.offer(item, 10, 0) for item in "defg")
    assert not any(outbox.offer(item, 10, 0) for item in "hi")
    assert exchange(outbox, Inbox(), 0) == ["d", "e", "f", "g"]
    assert outbox.offer("too large by itself, and yet kept", 99, 0)
    assert not outbox.offer("j", 1, 0)
    assert exchange(outbox, Inbox(), 0) == ["too large by itself, and yet kept"]
    assert outbox.offer("k", 1, 0)
    assert exchange(outbox, Inbox(), 0) == ["k"]


def test_what_may_have_arrived_is_not_called_lost() -> None:
    outbox, inbox = Outbox[str](limit_bytes=10, window=1), Inbox()
    outbox.offer("a", 10, 0)
    (entry,) = outbox.due(0)
    assert not outbox.offer("b", 10, 0)
    assert inbox.accept("p", 1, entry.number, 0)
    outbox.answered(inbox.expected("p"), 0)
    assert outbox.offer("c", 10, 0)
    assert exchange(outbox, inbox, 0) == ["c"]


def test_waits_between_failures_grow_up_to_the_longest_and_begin_anew_after_an_answer() -> None:
    outbox = Outbox[str](limit_bytes=100, window=1)
    outbox.offer("a", 1, 0)
    for start_s in (0.0, 1000.0):
        now_s, waits_s = start_s, []
        outbox.due(now_s)
        for _ in range(10):
            outbox.failed(now_s)
            waits_s.append(next(step / 10 for step in range(100) if outbox.due(now_s + step / 10 + 1e-6)))
            now_s += waits_s[-1] + 1e-6
        assert (waits_s[0], waits_s[-1]) == (FIRST_RETRY_S, LONGEST_RETRY_S)
        assert waits_s == sorted(waits_s)
        outbox.answered(0, now_s)


def test_a_predecessor_that_lives_on_is_refused() -> None:
    inbox = Inbox()
    assert inbox.accept("p", 1, 0, 0)
    inbox.begin("p", 2)
    assert not inbox.accept("p", 1, 1, 0)
    assert inbox.accept("p", 2, 0, 0)
    assert not inbox.accept("p", 1, 1, 0)
    assert inbox.accept("other", 1, 0, 0)
    assert inbox.positions() == {"p": (2, 1), "other": (1, 1)}


def test_what_could_not_be_kept_is_expected_again() -> None:
    inbox = Inbox()
    inbox.begin("p", 2)
    assert [inbox.accept("p", 2, number, 0) for number in (0, 1, 2)] == [True] * 3
    inbox.give_back("p", 1, 0)  # an incarnation before
    assert inbox.expected("p") == 3
    inbox.give_back("p", 2, 1)
    assert [inbox.accept("p", 2, number, 0) for number in (2, 1, 2)] == [False, True, True]


def test_an_incarnation_does_not_begin_again_once_a_later_one_has() -> None:
    inbox = Inbox()
    inbox.begin("p", 3)
    inbox.accept("p", 3, 0, 0)
    inbox.begin("p", 2)
    assert inbox.replaced("p", 2)
    assert inbox.expected("p") == 1


def test_room_is_made_of_the_oldest_so_that_what_is_retained_has_no_hole() -> None:
    outbox = Outbox[str](limit_bytes=30, window=4, retain_s=1e9)
    for item in "abc":
        outbox.offer(item, 10, 0)
    exchange(outbox, Inbox(), 0)
    assert outbox.offer("d", 10, 0)
    assert outbox.oldest == 1
    assert exchange(outbox, Inbox(), 0) == ["b", "c", "d"]
