"""Hands the newest cycles and figures to whoever looks on, and asks nobody where nobody looks.

Each viewer has a bounded queue: one that is too slow loses blocks of its own picture, which are counted and shown. It
delays nobody else, and never the stream.

Must not know: HTTP, Ray, SQL.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Protocol

from pipeline.adapters.web.server import as_json
from pipeline.core.cycles import Cycles, by_cycle, to_block
from pipeline.core.envelope import rows_from_bytes
from pipeline.core.errors import KarmanError
from pipeline.core.figures import Figures, Minute
from pipeline.core.live import Mark

log = logging.getLogger(__name__)

TICK_S: Final = 0.1  # what an eye takes for immediate; ten calls a second for each device on view
ANSWER_S: Final = 1.0  # an ingest that is being restarted is asked again
QUEUE_BLOCKS: Final = 100  # 10 s of blocks: a browser further behind shows what nobody waits for any more
HISTORY_ROWS: Final = 1800  # cycles a block of history: 200 kB, so that the newest is drawn first
LONGEST_US: Final = 300_000_000  # the widest window of the page; 2 MB a device
READERS: Final = 2  # questions to the database at a time; in threads of their own, so that nothing else waits for them


class Source(Protocol):
    """Where cycles and figures come from."""

    streams: tuple[str, ...]  # of a three-phase total, in the order of its phases

    def recent(self, device: str, mark: Mark | None) -> Future[tuple[Mark, bytes]] | None:
        """What came after a mark, as `RecentRows.since` has it, packed; None while its ingest is not known."""

    def older(self, device: str, from_us: int, to_us: int) -> Cycles:
        """Stored cycles; called in a thread. Raises KarmanError where there are none to be had."""

    def figures(self) -> Figures | None:
        """The newest figures; another object when they are new."""

    def minute(self) -> Minute:
        """Power of every device over the last minute."""

    def about(self) -> Mapping[str, Any]:
        """What is told with every set of figures: the replay, the database."""


class Viewer:
    """One who looks on: what it wants to see, and what waits to be sent to it."""

    def __init__(self) -> None:
        self.device: str | None = None
        self.fleet = False
        self.names: tuple[str, ...] = ()  # the devices that it was told of
        self.fleet_known: tuple[str, ...] = ()  # those whose trend was sent
        self.dropped = 0
        self._blocks: deque[bytes] = deque()
        self._texts: dict[str, bytes] = {}  # by kind: only the newest counts
        self._ready = asyncio.Event()

    def block(self, data: bytes) -> None:
        """Queue a block of cycles; the oldest goes where there are too many."""
        if len(self._blocks) >= QUEUE_BLOCKS:
            self._blocks.popleft()
            self.dropped += 1
        self._blocks.append(data)
        self._ready.set()

    def text(self, kind: str, **values: Any) -> None:
        """Queue a text of this kind instead of one that has not been sent yet."""
        self._texts[kind] = as_json({"kind": kind, **values})
        self._ready.set()

    async def next(self) -> bytes | str:
        """What is to be sent next: texts first, they are small and say how the blocks are to be read."""
        await self._ready.wait()
        if self._texts:
            item: bytes | str = self._texts.pop(next(iter(self._texts))).decode()
        else:
            item = self._blocks.popleft()
        if not self._texts and not self._blocks:
            self._ready.clear()
        return item


class Feed:
    """Asks the source for what is on view, and hands it round.

    `now_us`: the clock by which a window reaches back.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.now_us: Callable[[], int] = lambda: time.time_ns() // 1000
        self.viewers: set[Viewer] = set()
        self._somebody = asyncio.Event()  # looks on
        self._marks: dict[str, Mark] = {}
        self._asked: dict[str, asyncio.Future[tuple[Mark, Cycles] | None]] = {}  # by device
        self._told: Figures | None = None
        self._readers = ThreadPoolExecutor(READERS, "history")

    def join(self, viewer: Viewer) -> None:
        """Another one looks on."""
        self.viewers.add(viewer)
        self._somebody.set()

    def leave(self, viewer: Viewer) -> None:
        """One looks on no more."""
        self.viewers.discard(viewer)
        if not self.viewers:
            self._somebody.clear()
            self._marks.clear()  # who comes next has not seen what came before them

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._somebody.wait()
            began_s = time.monotonic()
            try:
                await self._tick()
            except Exception:
                log.exception("could not hand round what is new; the pages stay as they were")
            await asyncio.sleep(max(0.01, TICK_S - (time.monotonic() - began_s)))

    async def watch(self, viewer: Viewer, device: str | None, window_us: int) -> None:
        """Show a device to a viewer: its last seconds at once, older ones when the database has answered."""
        viewer.device = device
        self.tell(viewer)
        if device is None:
            return
        newest = await self.last(device)
        if viewer.device != device:
            return
        for part in _parts(newest):
            viewer.block(to_block(part, device=device))
        to_us = int(newest.time_us[0]) if len(newest) else self.now_us()
        from_us = self.now_us() - min(window_us, LONGEST_US)
        if from_us < to_us:
            try:
                older = await self._older(device, from_us, to_us)
            except KarmanError as error:
                viewer.text("notice", text=f"nothing older to show: {error}")
                return
            if viewer.device == device:
                for part in _parts(older):
                    viewer.block(to_block(part, device=device))

    async def last(self, device: str) -> Cycles:
        """All cycles that the device's ingest keeps."""
        rows = await self._recent(device, None)
        return rows[1] if rows else Cycles.empty(self.source.streams)

    async def cycles(self, device: str, span_us: int) -> Cycles:
        """The cycles of the last `span_us` before the newest one, from the ingest and, where that reaches not back far
        enough, from the database.

        Raises:
            KarmanError: the database does not answer.
        """
        newest = await self.last(device)
        end_us = int(newest.time_us[-1]) + 1 if len(newest) else self.now_us()
        first_us = int(newest.time_us[0]) if len(newest) else end_us
        from_us = end_us - span_us
        newest = newest.between(from_us, end_us)
        if from_us >= first_us:
            return newest
        return (await self._older(device, from_us, first_us)).then(newest)

    def tell(self, viewer: Viewer) -> None:
        """The figures of what a viewer looks at."""
        figures = self.source.figures()
        if figures is None:
            return
        if viewer.names != figures.devices:
            viewer.names = figures.devices
            viewer.text("names", names=figures.devices)
        said = figures.of(viewer.device) if viewer.device is not None else None
        viewer.text("now", **self.source.about(), device=said, dropped=viewer.dropped)
        if viewer.fleet:
            if viewer.fleet_known != figures.devices:
                viewer.fleet_known = figures.devices
                minute = self.source.minute()
                viewer.text("trend", devices=minute.devices, power_w=minute.power_w.round())
            viewer.text("fleet", columns=figures.table())

    async def _tick(self) -> None:
        devices = {viewer.device for viewer in self.viewers if viewer.device is not None}
        self._marks = {device: mark for device, mark in self._marks.items() if device in devices}
        new = {d: asyncio.ensure_future(self._recent(d, self._marks.get(d))) for d in devices - self._asked.keys()}
        self._asked |= new
        if new:  # whoever does not answer by then is heard at a later tick: the others do not wait for it
            await asyncio.wait(new.values(), timeout=TICK_S)
        for device in [device for device, asked in self._asked.items() if asked.done()]:
            answer = self._asked.pop(device).result()
            if answer is None or device not in devices:
                continue
            before = self._marks.get(device)
            self._marks[device], cycles = answer
            live = before is not None and before[0] == self._marks[device][0]  # else some may have been sent before
            if len(cycles):
                for part in _parts(cycles):
                    block = to_block(part, device=device, live=live)
                    for viewer in self.viewers:
                        if viewer.device == device:
                            viewer.block(block)
        figures = self.source.figures()
        if figures is not self._told:
            self._told = figures
            for viewer in self.viewers:
                self.tell(viewer)

    async def _older(self, device: str, from_us: int, to_us: int) -> Cycles:
        loop = asyncio.get_running_loop()  # what is cancelled while it waits for a thread is never asked
        return await loop.run_in_executor(self._readers, self.source.older, device, from_us, to_us)

    async def _recent(self, device: str, mark: Mark | None) -> tuple[Mark, Cycles] | None:
        asked = self.source.recent(device, mark)
        if asked is None:
            return None
        try:
            following, data = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(asked)), ANSWER_S)
        except Exception:  # whatever Ray says: the actor is away, and asked again
            return None
        return following, by_cycle(rows_from_bytes(data), self.source.streams)


def _parts(cycles: Cycles) -> Iterable[Cycles]:
    """Blocks of bounded size, the newest first."""
    for last in range(len(cycles), 0, -HISTORY_ROWS):
        yield cycles.at(slice(max(0, last - HISTORY_ROWS), last))
