"""An outbox: keeps what a receiver has not acknowledged, in order, within bounds, and says what to send when.

Go-back-N: the receiver answers each item with the number that it expects next, so an answer of "1234" acknowledges
everything before 1234. After a failure, or when the receiver expects an older number (it was restarted and asks for
what we retain), sending goes back. What is acknowledged is kept for `retain_s`, for such a receiver; while it owes an
answer nothing of that goes, however long it takes to begin anew.

Must not know: what an item is, how it is sent, clocks (`now_s` comes in, monotonic seconds).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

FIRST_RETRY_S: Final = 0.1
FENCED: Final = -1  # what a receiver answers to an incarnation that was replaced
LONGEST_RETRY_S: Final = 2.0  # a restarted actor answers within 1 s; longer waits only delay recovery


@dataclass(frozen=True, slots=True)
class Entry(Generic[Item]):
    """A numbered item with its size and the time when it was offered."""

    number: int
    item: Item
    nbytes: int
    offered_s: float


class Outbox(Generic[Item]):
    """Items numbered from 0 in the order taken.

    Args:
        limit_bytes: what may be kept. Beyond it acknowledged items go; where that is not enough, what is offered is not
            taken, and the next item that is can tell of it: who has the one knows of the other. Were older ones dropped
            instead, what tells of them would come after all that followed them, or die with the sender before.
        window: items in flight at a time.
        retain_s: how long acknowledged items are kept.
    """

    def __init__(self, limit_bytes: int, window: int, retain_s: float = 0.0) -> None:
        self.limit_bytes = limit_bytes
        self._window = window
        self._retain_s = retain_s
        self._sent: deque[Entry[Item]] = deque()  # in flight, or acknowledged and retained
        self._unsent: deque[Entry[Item]] = deque()
        self._bytes = 0
        self._next = 0  # the number that the next item gets
        self._acknowledged = 0  # everything below was acknowledged, by this receiver or one before it
        self._expected = 0  # what the receiver said last
        self._in_flight = 0
        self._failures = 0
        self._wait_until_s = 0.0

    @property
    def oldest(self) -> int:
        """The lowest number still kept: what a restarted receiver should expect first."""
        for entries in (self._sent, self._unsent):
            if entries:
                return entries[0].number
        return self._next

    @property
    def waiting(self) -> list[Item]:
        """What is not acknowledged yet."""
        return [entry.item for entry in (*self._sent, *self._unsent) if entry.number >= self._acknowledged]

    @property
    def settled(self) -> bool:
        """Whether everything taken was acknowledged."""
        return self._acknowledged == self._next

    @property
    def nbytes(self) -> int:
        """Bytes kept."""
        return self._bytes

    @property
    def next_number(self) -> int:
        """The number that the next item gets, if it is taken."""
        return self._next

    def offer(self, item: Item, nbytes: int, now_s: float) -> bool:
        """Append an item. False: there is no room for it, and the caller counts it as dropped."""
        while self._bytes + nbytes > self.limit_bytes and self._bytes:
            if not self._make_room():
                return False
        self._unsent.append(Entry(self._next, item, nbytes, now_s))
        self._next += 1
        self._bytes += nbytes
        return True

    def due(self, now_s: float) -> list[Entry[Item]]:
        """Take what should be sent now; each must be answered by `answered` or `failed`."""
        if self._in_flight == 0 and self._failures == 0:  # else the receiver may be dead, and ask for all of it
            self._expire(now_s)
        if now_s < self._wait_until_s:
            return []
        room = max(0, self._window - self._in_flight)
        entries = [self._unsent.popleft() for _ in range(min(room, len(self._unsent)))]
        self._sent.extend(entries)
        self._in_flight += len(entries)
        return entries

    def answered(self, expected: int, now_s: float) -> None:
        """The receiver answered: everything below `expected` has arrived."""
        self._in_flight -= 1
        self._failures = 0
        self._wait_until_s = 0.0
        if expected < self._expected or self._in_flight == 0:  # restarted, or it has refused what came after a loss
            self._go_back(expected)
        self._expected = min(expected, self._next)
        self._acknowledged = max(self._acknowledged, self._expected)
        self._expire(now_s)

    def failed(self, now_s: float) -> None:
        """A call failed: what is unacknowledged is sent again, after a wait that grows."""
        self._in_flight -= 1
        self._failures += 1
        self._wait_until_s = now_s + min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 10))
        self._go_back(self._expected)

    def _make_room(self) -> bool:
        """Forget an acknowledged item; False if there is none."""
        for entries in (self._sent, self._unsent):
            if entries and entries[0].number < self._acknowledged:
                self._bytes -= entries.popleft().nbytes
                return True
        return False

    def _go_back(self, number: int) -> None:
        while self._sent and self._sent[-1].number >= number:
            self._unsent.appendleft(self._sent.pop())

    def _expire(self, now_s: float) -> None:
        while (
            self._sent and self._sent[0].number < self._expected and now_s - self._sent[0].offered_s >= self._retain_s
        ):
            self._bytes -= self._sent.popleft().nbytes


def furthest(before: Mapping[str, tuple[int, int]], now: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """By producer, up to where everything was taken: `now`, or `before` while what that knows is sent again."""
    return {name: max(places[name] for places in (before, now) if name in places) for name in {**before, **now}}


class Inbox:
    """The receiver's half: which number of each (producer, epoch) is expected next."""

    def __init__(self) -> None:
        self._expected: dict[str, tuple[int, int]] = {}  # producer -> (epoch, next number)

    def begin(self, producer: str, epoch: int) -> None:
        """A new incarnation of a producer begins with number 0; older ones are refused from now on."""
        if epoch > self._expected.get(producer, (-1, 0))[0]:
            self._expected[producer] = (epoch, 0)

    def accept(self, producer: str, epoch: int, number: int, oldest: int) -> bool:
        """Whether an item of this number is the next one.

        `oldest`: the lowest number that the sender still keeps; there an unknown producer, or a newer epoch, begins.
        """
        known_epoch, expected = self._expected.get(producer, (-1, 0))
        if epoch < known_epoch:
            return False  # an old incarnation that does not know that it was replaced
        if epoch > known_epoch:
            expected = oldest
        expected = max(expected, oldest)  # what the sender no longer keeps cannot be waited for
        self._expected[producer] = (epoch, expected + (number == expected))
        return number == expected

    def give_back(self, producer: str, epoch: int, number: int) -> None:
        """What was accepted from a number on could not be kept: it is expected again."""
        known_epoch, expected = self._expected.get(producer, (-1, 0))
        if epoch == known_epoch:
            self._expected[producer] = (epoch, min(expected, number))

    def replaced(self, producer: str, epoch: int) -> bool:
        """Whether a newer incarnation of the producer is known."""
        return epoch < self._expected.get(producer, (-1, 0))[0]

    def positions(self) -> dict[str, tuple[int, int]]:
        """(epoch, number expected next) of every producer."""
        return dict(self._expected)

    def expected(self, producer: str) -> int:
        """The number to answer with."""
        return self._expected.get(producer, (-1, 0))[1]
