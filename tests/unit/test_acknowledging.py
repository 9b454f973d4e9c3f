"""An answer acknowledges what is kept, and nothing else: whatever fails is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

import pytest

from pipeline.adapters.acknowledging import Acknowledging
from pipeline.core.delivery import FENCED


class Store:
    """Keeps batches when the test says so."""

    def __init__(self) -> None:
        self.handed: list[tuple[int, Future[None]]] = []

    def hand_in(self, number: int) -> Callable[[], Future[None]]:
        def hand_in() -> Future[None]:
            self.handed.append((number, Future()))
            return self.handed[-1][1]

        return hand_in


def run(case: Callable[[Acknowledging, Store, Callable[[int], asyncio.Task[int]]], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        batches, store = Acknowledging(), Store()
        batches.begin("p", 1)
        await case(
            batches, store, lambda number: asyncio.ensure_future(batches.keep("p", 1, number, 0, store.hand_in(number)))
        )

    asyncio.run(main())


def test_an_answer_waits_until_the_batch_is_kept() -> None:
    async def case(_: Acknowledging, store: Store, send: Callable[[int], asyncio.Task[int]]) -> None:
        first, again = send(0), send(0)
        await asyncio.sleep(0.01)
        assert not first.done()
        assert not again.done()
        store.handed[0][1].set_result(None)
        assert [await first, await again] == [1, 1]
        assert len(store.handed) == 1

    run(case)


def test_a_batch_that_could_not_be_kept_is_not_acknowledged_by_the_one_behind_it() -> None:
    async def case(_: Acknowledging, store: Store, send: Callable[[int], asyncio.Task[int]]) -> None:
        first, second = send(0), send(1)
        await asyncio.sleep(0.01)
        store.handed[0][1].set_exception(MemoryError())
        store.handed[1][1].set_result(None)
        with pytest.raises(MemoryError):
            await first
        assert await second == 0  # go back
        first, second = send(0), send(1)
        await asyncio.sleep(0.01)
        for _, future in store.handed[2:]:
            future.set_result(None)
        assert [number for number, _ in store.handed] == [0, 1, 0, 1]
        assert [await first, await second] == [1, 2]

    run(case)


def test_one_that_cannot_even_be_handed_in_is_expected_again() -> None:
    async def case(batches: Acknowledging, store: Store, send: Callable[[int], asyncio.Task[int]]) -> None:
        def broken() -> Future[None]:
            raise ValueError("not a batch")

        with pytest.raises(ValueError, match="not a batch"):
            await batches.keep("p", 1, 0, 0, broken)
        again = send(0)
        await asyncio.sleep(0.01)
        store.handed[0][1].set_result(None)
        assert await again == 1

    run(case)


def test_whoever_is_replaced_is_refused_also_where_the_clock_was_set_back() -> None:
    async def case(batches: Acknowledging, store: Store, send: Callable[[int], asyncio.Task[int]]) -> None:
        batches.begin("p", 1_000)
        assert batches.refuse("p", 5) == 1_001
        assert await batches.keep("p", 1_000, 0, 0, store.hand_in(0)) == FENCED
        assert await send(0) == FENCED
        assert store.handed == []

    run(case)


@pytest.mark.parametrize("kept", [True, False])
def test_whoever_settles_waits_until_what_was_handed_over_is_kept_and_not_for_ever(kept: bool) -> None:
    async def case(batches: Acknowledging, store: Store, send: Callable[[int], asyncio.Task[int]]) -> None:
        await batches.settle("p", 60)  # nothing was handed over
        sent = send(0)
        await asyncio.sleep(0.01)
        settled = asyncio.ensure_future(batches.settle("p", 60 if kept else 0.05))
        await asyncio.sleep(0.01)
        assert not settled.done()
        if kept:
            store.handed[0][1].set_result(None)
        await settled
        assert store.handed[0][1].done() is kept
        if not kept:
            store.handed[0][1].set_result(None)
        assert await sent == 1

    run(case)
