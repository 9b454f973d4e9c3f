"""The live page's socket and API over real connections; what they show comes from the core's own parts."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from pipeline.adapters.web.socket import PATH, VIEWERS
from pipeline.core.cycles import by_cycle, from_block
from pipeline.core.errors import StorageError
from pipeline.core.model import STREAMS
from tests.looking import NAME, Served, rows
from tests.rows import PERIOD_US, START_US

Message = dict[str, Any]


@pytest.fixture
def served() -> Served:
    return Served()


def connected(served: Served, work: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
    """Run work with a client, for half a minute at most."""

    async def run() -> None:
        async with aiohttp.ClientSession(served.url) as session:
            await asyncio.wait_for(work(session), 30)

    asyncio.run(run())


async def text_of(viewer: aiohttp.ClientWebSocketResponse, kind: str) -> Message:
    """The next text of a kind."""
    while True:
        message = await viewer.receive()
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.type is aiohttp.WSMsgType.TEXT and message.json()["kind"] == kind:
            return dict(message.json())


async def numbers_of(viewer: aiohttp.ClientWebSocketResponse, last: int) -> list[int]:
    """Sequence numbers as they come, until one of them is `last`."""
    found: list[int] = []
    while last not in found:
        message = await viewer.receive()
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        if message.type is aiohttp.WSMsgType.BINARY:
            header, block = from_block(message.data)
            assert header["device"] == NAME
            found += block.sequence.tolist()
    return found


def test_a_viewer_gets_what_there_is_and_then_what_comes(served: Served) -> None:
    served.source.send(0, 1, 2)

    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(PATH, protocols=["karman.v1"]) as viewer:
            assert viewer.protocol == "karman.v1"
            assert (await text_of(viewer, "names"))["names"] == [NAME, "flood"]
            await viewer.send_json({"watch": NAME, "window_s": 10})
            assert (await text_of(viewer, "now"))["kind"] == "now"
            first = await numbers_of(viewer, 2)
            assert sorted(set(first)) == [0, 1, 2]
            served.source.send(3, 4)
            assert 3 in await numbers_of(viewer, 4)
            await viewer.send_json({"watch": None})
            while (await text_of(viewer, "now"))["device"] is not None:
                served.source.look()

    connected(served, work)


def test_nobody_is_asked_where_nobody_looks(served: Served) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(PATH) as viewer:
            await text_of(viewer, "names")
            await viewer.send_json({"fleet": True})
            await text_of(viewer, "fleet")
            served.source.look()
            await text_of(viewer, "fleet")
        assert served.source.asked == []

    connected(served, work)


def test_a_wider_window_brings_what_the_database_has(served: Served) -> None:
    served.source.stored = by_cycle(rows(NAME, range(100)), STREAMS)
    served.source.send(90, 91, 92)

    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(PATH) as viewer:
            await viewer.send_json({"watch": NAME, "window_s": 300})
            assert sorted(set(await numbers_of(viewer, 89) + [90, 91, 92])) == list(range(93))

    # the source's times are of another year than this machine's clock: as if the window reached back for ever
    served.feed.now_us = lambda: START_US + 92 * PERIOD_US
    connected(served, work)


def test_a_database_that_is_away_is_said_and_the_rest_is_shown(served: Served) -> None:
    served.source.error = StorageError("the database is on <holiday>")
    served.source.send(1)
    served.feed.now_us = lambda: START_US + 2 * PERIOD_US

    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(PATH) as viewer:
            await viewer.send_json({"watch": NAME, "window_s": 300})
            assert "on <holiday>" in (await text_of(viewer, "notice"))["text"]
            served.source.send(2)
            await numbers_of(viewer, 2)

    connected(served, work)


def test_one_who_does_not_read_loses_blocks_and_delays_nobody(served: Served) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(PATH) as slow, session.ws_connect(PATH) as fast:
            await slow.send_json({"watch": "flood"})
            await fast.send_json({"watch": NAME})
            sent = 0
            while not any(viewer.dropped for viewer in served.feed.viewers):
                served.source.send(sent)
                assert sent in await numbers_of(fast, sent)
                sent += 1
            assert sent > 3
            dropped = sum(viewer.dropped for viewer in served.feed.viewers)
            served.source.look()
            while (said := await text_of(slow, "now"))["dropped"] == 0:  # it reads on, and is told
                served.source.look()
            assert said["dropped"] >= dropped
            assert (await text_of(fast, "now"))["dropped"] == 0

    connected(served, work)


def test_a_device_that_does_not_answer_keeps_no_other_waiting(served: Served) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(PATH) as stuck, session.ws_connect(PATH) as viewer:
            await stuck.send_json({"watch": "hangs"})
            await viewer.send_json({"watch": NAME})
            while served.source.asked.count("hangs") < 3:
                await asyncio.sleep(0.01)
            served.source.send(1)
            await numbers_of(viewer, 1)
        assert served.source.asked.count(NAME) > 3 * served.source.asked.count("hangs")

    connected(served, work)


@pytest.mark.parametrize("wish", ["{", "[]", '"x"', '{"watch": 5}', '{"watch": "x", "window_s": 1e9}', "x" * 5000])
def test_what_cannot_be_understood_ends_the_connection_and_nothing_else(served: Served, wish: str) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(PATH) as good, session.ws_connect(PATH) as bad:
            await bad.send_str(wish)
            while not (await bad.receive()).type & 0x100:
                pass
            served.source.send(1)
            await good.send_json({"watch": NAME})
            await numbers_of(good, 1)

    connected(served, work)


def test_a_device_that_is_not_there_shows_nothing(served: Served) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(PATH) as viewer:
            await viewer.send_json({"watch": "nobody"})
            assert (await text_of(viewer, "now"))["device"] is None

    connected(served, work)


def test_only_so_many_look_on(served: Served) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        viewers = [await session.ws_connect(PATH) for _ in range(VIEWERS)]
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            await session.ws_connect(PATH)
        for viewer in viewers:
            await viewer.close()
        while served.feed.viewers:
            await asyncio.sleep(0.01)
        await (await session.ws_connect(PATH)).close()

    connected(served, work)


def offered(token: str) -> list[str]:
    return ["karman.v1", f"bearer.{base64.urlsafe_b64encode(token.encode()).decode().rstrip('=')}"]


@pytest.mark.parametrize(
    ("protocols", "headers", "status"),
    [
        ([], {}, 401),
        (["karman.v1", "bearer."], {}, 401),
        (["karman.v1", "bearer.???"], {}, 401),
        (offered("secret-wor"), {}, 401),
        (offered("secret-word/+"), {}, 101),
        ([], {"Authorization": "Bearer secret-word/+"}, 101),
        (offered("secret-word/+"), {"Origin": "http://elsewhere.example"}, 403),
        (offered("secret-word/+"), {"Origin": "null"}, 403),
        (offered("secret-word/+"), {"Host": "rebound.example", "Origin": "http://rebound.example"}, 403),
    ],
)
def test_who_may_look_on(protocols: list[str], headers: dict[str, str], status: int) -> None:
    served = Served("secret-word/+")

    async def work(session: aiohttp.ClientSession) -> None:
        try:
            async with session.ws_connect(PATH, protocols=protocols, headers=headers) as viewer:
                found = 101
                assert viewer.protocol in ("karman.v1", None)  # never the token: it would come back in the answer
        except aiohttp.WSServerHandshakeError as error:
            found = error.status
        assert found == status
        async with session.get("/api/v1/devices") as answer:
            assert answer.status == 401
        async with session.get("/") as answer:
            assert answer.status == 200

    connected(served, work)


def test_the_pages_files_may_not_be_framed_nor_run_anything_foreign(served: Served) -> None:
    async def work(session: aiohttp.ClientSession) -> None:
        for path, kind in (("/", "text/html"), ("/main.js", "text/javascript"), ("/vendor/uPlot.min.css", "text/css")):
            async with session.get(path) as answer:
                assert (answer.status, answer.content_type) == (200, kind)
                assert (
                    "default-src 'none'; script-src 'self'; style-src 'self'"
                    in answer.headers["Content-Security-Policy"]
                )
                assert "unsafe" not in answer.headers["Content-Security-Policy"]
                assert (answer.headers["X-Frame-Options"], answer.headers["X-Content-Type-Options"]) == (
                    "DENY",
                    "nosniff",
                )
                tag = {"If-None-Match": answer.headers["ETag"]}
            async with session.get(path, headers=tag) as answer:
                assert answer.status == 304
        for path in ("/nothing", "/../main.py", "/%2e%2e/main.py", "/page/main.js"):
            async with session.get(path) as answer:
                assert answer.status == 404

    connected(served, work)


def test_the_api_tells_devices_figures_and_cycles(served: Served) -> None:
    served.source.send(*range(60))
    path = "/api/v1/devices/rack%2F1:pdu+%3Cb%3E2"

    async def work(session: aiohttp.ClientSession) -> None:
        async def get(url: str) -> Any:
            async with session.get(aiohttp.client.URL(url, encoded=True)) as answer:
                return await answer.json() if answer.status == 200 else (answer.status, await answer.text())

        assert [row["device"] for row in (await get("/api/v1/devices"))["devices"]] == [NAME, "flood"]
        now = await get(f"{path}/now")
        assert (now["device"], now["state"], now["channels"]) == (NAME, "live", {})
        told = await get(f"{path}/cycles?last=100ms")
        assert told["sequence"] == [54, 55, 56, 57, 58, 59]
        assert told["time_us"] == [START_US + number * PERIOD_US for number in told["sequence"]]
        assert told["streams"][STREAMS[1]]["a"]["real_power_w"] == told["sequence"]
        assert told["three_phase"]["a"]["real_power_w"] == [3 * number for number in told["sequence"]]
        served.source.stored = by_cycle(rows(NAME, range(-100, 0)), STREAMS)
        assert len((await get(f"{path}/cycles?last=2s"))["sequence"]) == 120
        for last in ("", "x", "0s", "-1s", "6m", "301s", "1e3", "1h", "nan"):
            status, said = await get(f"{path}/cycles?last={last}")
            assert (status, "5m" in said) == (400, True)
        assert (await get("/api/v1/devices/nobody/now"))[0] == 404
        assert (await get("/api/v1/devices/nobody/cycles"))[0] == 404
        served.source.error = StorageError("the database is away")
        assert await get(f"{path}/cycles?last=5m") == (503, "the database is away\n")

    connected(served, work)
