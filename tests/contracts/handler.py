"""What a download handler has to do: the suite that every protocol's handler passes.

A module for a protocol brings a :class:`tests.contracts.server.Server` and a thin subclass of
:class:`HandlerContract`.
"""

import asyncio
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import pytest
from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy.settings import Settings

from fetcher.errors import (
    ConnectionFailedError,
    ConnectTimeoutError,
    DiskError,
    ProtocolError,
    StalledError,
    Stopped,
)
from fetcher.rules.bucket import Bucket, Share
from tests.contracts.client import SOON, Client, close, expects, names, settled, until
from tests.contracts.server import DATE, PASSWORD, PATH, Server
from tests.contracts.sink import PacedSink, RecordingSink
from tests.reactor import Reactor
from tests.servers.content import Bytes, Content, Source

SMALL = Content(100_003, seed=1)
LARGE = Content((9 << 20) + 77, seed=2)
"""More than all buffers on the way hold together, those of the kernel included."""


class HandlerContract(ABC):
    """The suite."""

    handler: ClassVar[type[Any]]

    @abstractmethod
    @pytest.fixture
    def server(self) -> Iterator[Server]:
        """A server with ``SMALL`` in ``PATH``."""

    @pytest.fixture
    def settings(self) -> Mapping[str, object]:
        return {}

    @pytest.fixture
    def client(
        self, server: Server, settings: Mapping[str, object], reactor: Reactor
    ) -> Iterator[Client]:
        """A handler, closed at the end; nothing of it may last."""
        server.put(PATH, SMALL)
        project = Settings()
        project.setmodule("fetcher.settings")
        project.update({"FETCHER_CONNECT_TIMEOUT": 5, **server.settings, **settings})
        handler = self.handler.from_crawler(Crawler(Spider, project))
        yield Client(handler, server)
        reactor.run(close(handler))
        reactor.run(until(lambda: server.relay.open == 0))

    # --- ranges ----------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("start", "end"),
        [
            (0, 1),
            (0, 1000),
            (4096, 70_000),
            (SMALL.size - 1, SMALL.size),
            (SMALL.size - 1000, SMALL.size),
            (0, SMALL.size),
        ],
    )
    async def test_range(self, client: Client, start: int, end: int) -> None:
        sink = RecordingSink.range(start, end)
        await client.fetch(sink)
        assert sink.status == 206
        expects(sink, SMALL, start, end)

    async def test_range_without_an_end(self, client: Client) -> None:
        sink = RecordingSink({"Range": "bytes=12345-"})
        await client.fetch(sink)
        assert sink.status == 206
        expects(sink, SMALL, 12345, SMALL.size)

    async def test_range_that_goes_beyond_the_end(self, client: Client) -> None:
        sink = RecordingSink({"Range": f"bytes=99999-{SMALL.size + 5000}"})
        await client.fetch(sink)
        assert sink.status == 206
        expects(sink, SMALL, 99999, SMALL.size)

    async def test_large_range(self, server: Server, client: Client) -> None:
        server.put("/large", LARGE)
        start, end = (1 << 20) + 1, (8 << 20) + 3
        assert await client.get(start, end, "/large") == LARGE.read(start, end)

    async def test_large_file(self, server: Server, client: Client) -> None:
        server.put("/large", LARGE)
        sink = RecordingSink()
        await client.fetch(sink, "/large")
        assert sink.sha256 == LARGE.sha256

    async def test_whole_file(self, client: Client) -> None:
        sink = RecordingSink()
        await client.fetch(sink)
        assert sink.status == 200
        expects(sink, SMALL, 0, SMALL.size)

    async def test_range_behind_the_end(self, client: Client) -> None:
        sink = RecordingSink({"Range": f"bytes={SMALL.size}-"})
        await client.fetch(sink)
        assert sink.status == 416
        assert sink.headers["content-range"] == f"bytes */{SMALL.size}"
        assert sink.calls[-1] == "begin"

    async def test_empty_file(self, server: Server, client: Client) -> None:
        server.put("/empty", Bytes(b""))
        sink = RecordingSink.range(0, 1000)
        await client.fetch(sink, "/empty")
        if sink.status == 416:
            assert sink.headers["content-range"] == "bytes */0"
        else:
            assert (sink.status, sink.headers["content-length"]) == (200, "0")
        assert sink.calls[-1] == "begin"

    async def test_whole_empty_file(self, server: Server, client: Client) -> None:
        server.put("/empty", Bytes(b""))
        sink = RecordingSink()
        await client.fetch(sink, "/empty")
        assert (sink.status, sink.headers["content-length"]) == (200, "0")
        assert sink.calls[-1] == "begin"

    async def test_file_of_unknown_size(self, server: Server, client: Client) -> None:
        server.hide_size(PATH)
        sink = RecordingSink()
        await client.fetch(sink)
        assert sink.status == 200
        assert "content-length" not in sink.headers
        assert sink.sha256 == SMALL.sha256

    # --- versions --------------------------------------------------------------------------

    async def test_date(self, client: Client) -> None:
        """It is the file's, and the same in every answer."""
        whole, part = RecordingSink(), RecordingSink.range(5, 10)
        await client.fetch(whole)
        await client.fetch(part)
        date = whole.headers["last-modified"]
        assert parsedate_to_datetime(date).timestamp() == DATE
        assert part.headers["last-modified"] == date

    async def test_if_range_that_holds(self, client: Client) -> None:
        sink = RecordingSink(
            {"Range": "bytes=100-199", "If-Range": await self._date(client)}, limit=100
        )
        await client.fetch(sink)
        assert sink.status == 206
        expects(sink, SMALL, 100, 200)

    async def test_if_range_that_does_not_hold(self, client: Client) -> None:
        """The file is another one now: all of it comes, from its beginning on."""
        sink = RecordingSink(
            {"Range": "bytes=100-199", "If-Range": "Tue, 14 Nov 2023 22:13:19 GMT"}
        )
        await client.fetch(sink)
        assert sink.status == 200
        expects(sink, SMALL, 0, SMALL.size)

    async def test_if_modified_since(self, client: Client) -> None:
        sink = RecordingSink({"If-Modified-Since": await self._date(client)})
        await client.fetch(sink)
        assert sink.status == 304
        assert sink.calls[-1] == "begin"

    async def test_if_modified_since_another_date(self, client: Client) -> None:
        sink = RecordingSink({"If-Modified-Since": "Tue, 14 Nov 2023 22:13:19 GMT"})
        await client.fetch(sink)
        assert sink.status == 200
        expects(sink, SMALL, 0, SMALL.size)

    async def _date(self, client: Client) -> str:
        sink = RecordingSink(wanted=False)
        await client.fetch(sink)
        return sink.headers["last-modified"]

    # --- refusals --------------------------------------------------------------------------

    async def test_missing_file(self, client: Client) -> None:
        await self._is_refused(client, "/missing", 404)
        await self._still_works(client)

    async def test_missing_folder(self, client: Client) -> None:
        await self._is_refused(client, "/missing/a.bin", 404)

    async def test_forbidden_file(self, server: Server, client: Client) -> None:
        server.put("/secret", SMALL)
        server.forbid("/secret")
        await self._is_refused(client, "/secret", 403)
        await self._still_works(client)

    async def test_wrong_password(self, client: Client) -> None:
        await self._is_refused(client, PATH, 401, password="wr:ong/wörd 100%")
        await self._still_works(client)

    async def _is_refused(
        self, client: Client, path: str, status: int, password: str = PASSWORD
    ) -> None:
        sink = RecordingSink.range(0, 1000)
        await client.fetch(sink, path, password=password)
        assert sink.status == status
        assert sink.answer is not None
        assert sink.answer.url == client.server.url(path)
        assert password not in sink.answer.reason
        assert sink.calls[-1] == "begin"

    async def _still_works(self, client: Client) -> None:
        assert await client.get(70, 90) == SMALL.read(70, 90)

    # --- what a sink wants -----------------------------------------------------------------

    async def test_sink_that_has_enough(self, server: Server, client: Client) -> None:
        """The rest is neither written nor waited for."""
        server.put("/large", LARGE)
        sink = RecordingSink(limit=1 << 20)
        await asyncio.wait_for(client.fetch(sink, "/large"), SOON)
        assert bytes(sink.data) == LARGE.read(0, 1 << 20)
        await self._still_works(client)

    async def test_sink_that_has_enough_of_what_stalls(
        self, server: Server, client: Client
    ) -> None:
        server.stall(PATH, 50_000)
        sink = RecordingSink(limit=20_000)
        await asyncio.wait_for(client.fetch(sink), SOON)
        assert bytes(sink.data) == SMALL.read(0, 20_000)
        await self._still_works(client)

    @pytest.mark.parametrize("source", [SMALL, LARGE], ids=["small", "large"])
    async def test_sink_that_wants_the_head_only(
        self, server: Server, client: Client, source: Source
    ) -> None:
        server.put(PATH, source)
        sink = RecordingSink({"Range": "bytes=0-"}, wanted=False)
        await asyncio.wait_for(client.fetch(sink), SOON)
        assert sink.status == 206
        assert sink.calls[-1] == "begin"
        assert await client.get(70, 90) == source.read(70, 90)

    async def test_sink_that_refuses_the_answer(self, server: Server, client: Client) -> None:
        server.put("/large", LARGE)
        refusal = ProtocolError("the sink's own reason")
        sink = RecordingSink.range(0, LARGE.size)
        sink.refusal = refusal
        assert await client.failure(sink, "/large") is refusal
        assert sink.calls[-1] == "begin"
        await until(lambda: server.relay.open == 0)
        await self._still_works(client)

    async def test_sink_that_cannot_write(self, server: Server, client: Client) -> None:
        server.put("/large", LARGE)
        failure = DiskError("the sink's own reason")
        sink = RecordingSink(limit=1000)
        sink.failure = failure
        with pytest.raises(DiskError) as caught:
            await client.fetch(sink, "/large")
        assert caught.value is failure
        await until(lambda: server.relay.open == 0)
        await self._still_works(client)

    # --- stopped from this side ------------------------------------------------------------

    async def test_stopped_before_it_is_sent(self, server: Server, client: Client) -> None:
        sink = RecordingSink.range(0, 1000)
        reason = sink.stop()
        with pytest.raises(Stopped) as caught:
            await client.fetch(sink)
        assert caught.value is reason
        assert sink.calls == []
        assert server.relay.connections == 0

    async def test_stopped_while_the_server_does_not_greet(
        self, server: Server, client: Client
    ) -> None:
        server.relay.silent = True
        sink = RecordingSink.range(0, 1000)
        async with client.fetching(sink) as task:
            await until(lambda: server.relay.open == 1)
            await self._stops(sink, task, server)
        server.relay.silent = False
        await self._still_works(client)

    async def test_stopped_while_there_is_no_answer(self, server: Server, client: Client) -> None:
        await self._still_works(client)
        server.relay.silent = True
        sink = RecordingSink.range(0, 1000)
        async with client.fetching(sink) as task:
            await until(lambda: server.relay.lost > 0)
            await self._stops(sink, task, server)
        server.relay.silent = False
        await self._still_works(client)

    async def test_stopped_in_the_middle(self, server: Server, client: Client) -> None:
        server.stall(PATH, 50_000)
        sink = RecordingSink.range(0, SMALL.size)
        async with client.fetching(sink) as task:
            await sink.until_received(50_000)
            await self._stops(sink, task, server)
        await self._still_works(client)

    async def test_stopped_while_bytes_come(self, server: Server, client: Client) -> None:
        server.put("/large", LARGE)
        sink = RecordingSink.range(0, LARGE.size)
        async with client.fetching(sink, "/large") as task:
            await sink.until_received()
            await self._stops(sink, task, server)
        assert len(sink.data) < LARGE.size
        await self._still_works(client)

    async def test_task_that_is_cancelled(self, server: Server, client: Client) -> None:
        server.stall(PATH, 50_000)
        sink = RecordingSink.range(0, SMALL.size)
        async with client.fetching(sink) as task:
            await sink.until_received(50_000)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, SOON)
            await until(lambda: server.relay.open == 0)
        await self._still_works(client)

    async def _stops(
        self, sink: RecordingSink, task: asyncio.Task[Response], server: Server
    ) -> None:
        reason = sink.stop()
        written = len(sink.data)
        with pytest.raises(Stopped) as caught:
            await asyncio.wait_for(task, SOON)
        assert caught.value is reason
        await until(lambda: server.relay.open == 0)
        assert len(sink.data) == written
        assert sink.misuse == []

    # --- what goes wrong on the way --------------------------------------------------------

    @pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
    async def test_connection_that_is_cut(
        self, server: Server, client: Client, reset: bool
    ) -> None:
        server.cut(PATH, 50_000, reset=reset)
        sink = RecordingSink.range(0, SMALL.size)
        error = await client.failure(sink)
        assert isinstance(error, ConnectionFailedError)
        names(error, server)
        assert bytes(sink.data) == SMALL.read(0, 50_000)
        await self._still_works(client)

    async def test_connection_that_is_cut_in_a_file_of_unknown_size(
        self, server: Server, client: Client
    ) -> None:
        server.hide_size(PATH)
        server.cut(PATH, 50_000, reset=False)
        sink = RecordingSink()
        error = await client.failure(sink)
        assert isinstance(error, ConnectionFailedError)
        assert bytes(sink.data) == SMALL.read(0, 50_000)

    @settled(FETCHER_STALL_TIMEOUT=0.4)
    async def test_connection_that_stalls(self, server: Server, client: Client) -> None:
        server.stall(PATH, 50_000)
        sink = RecordingSink.range(0, SMALL.size)
        error = await client.failure(sink)
        assert isinstance(error, StalledError)
        assert error.retryable
        assert bytes(sink.data) == SMALL.read(0, 50_000)
        await until(lambda: server.relay.open == 0)
        await self._still_works(client)

    @settled(FETCHER_CONNECT_TIMEOUT=0.2)
    async def test_server_that_does_not_greet(self, server: Server, client: Client) -> None:
        server.relay.silent = True
        error = await client.failure(RecordingSink.range(0, 1000))
        assert isinstance(error, ConnectTimeoutError)
        names(error, server)
        await until(lambda: server.relay.open == 0)

    @settled(FETCHER_CONNECT_TIMEOUT=0.5)
    async def test_server_that_does_not_answer(self, server: Server, client: Client) -> None:
        await self._still_works(client)
        server.relay.silent = True
        sink = RecordingSink.range(0, 1000)
        error = await client.failure(sink)
        assert isinstance(error, ConnectTimeoutError)
        names(error, server)
        assert "begin" not in sink.calls
        await until(lambda: server.relay.open == 0)
        server.relay.silent = False
        await self._still_works(client)

    async def test_server_that_is_not_there(self, server: Server, client: Client) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        error = await client.failure(RecordingSink(), url=server.url(port=port))
        assert isinstance(error, ConnectionFailedError)
        assert error.retryable
        assert f"127.0.0.1:{port}" in error.message

    async def test_host_that_is_not_there(self, server: Server, client: Client) -> None:
        error = await client.failure(RecordingSink(), url=server.url(host="nowhere.invalid"))
        assert isinstance(error, ConnectionFailedError)
        assert error.retryable
        assert "nowhere.invalid" in error.message

    @pytest.mark.parametrize("asked", [{}, {"Range": "bytes=70000-"}], ids=["whole", "range"])
    async def test_fewer_bytes_than_stated(
        self, server: Server, client: Client, asked: Mapping[str, str]
    ) -> None:
        server.overstate(PATH, by=1000)
        sink = RecordingSink(asked)
        error = await client.failure(sink)
        assert isinstance(error, ConnectionFailedError)
        names(error, server)
        start = 70_000 if asked else 0
        assert bytes(sink.data) == SMALL.read(start, SMALL.size)

    # --- how fast it may be read -----------------------------------------------------------

    async def test_without_a_limit_nobody_is_asked_how_fast(self, client: Client) -> None:
        sink = RecordingSink.range(0, SMALL.size)
        await client.fetch(sink)
        assert sink.asked == []

    @settled(FETCHER_RATE_LIMIT="400K")
    async def test_it_is_read_no_faster_than_it_may_be(self, client: Client) -> None:
        sink = PacedSink.range(0, SMALL.size)
        sink.share = Share(Bucket(400 << 10))
        began = time.monotonic()
        await client.fetch(sink)
        assert bytes(sink.data) == SMALL.read(0, SMALL.size)
        for at, received in sink.curve:
            # What is encrypted together, 16 KiB, comes together, and may come one read early.
            assert received <= (400 << 10) * (at - began) + (32 << 10)

    @settled(FETCHER_RATE_LIMIT=1)
    async def test_no_more_than_one_read_comes_in_a_pause(self, client: Client) -> None:
        sink = RecordingSink.range(0, 60_000, pauses=[0.0, 0.2])
        await client.fetch(sink)
        assert bytes(sink.data) == SMALL.read(0, 60_000)
        assert sink.hasty <= sink.asked[0]

    @settled(FETCHER_RATE_LIMIT="400K", FETCHER_STALL_TIMEOUT=0.16)
    async def test_a_pause_is_no_stall(self, client: Client) -> None:
        sink = RecordingSink.range(0, 40_000, pauses=[0.0, 0.2, 0.2])
        await client.fetch(sink)
        assert bytes(sink.data) == SMALL.read(0, 40_000)

    @settled(FETCHER_RATE_LIMIT="400K", FETCHER_STALL_TIMEOUT=0.2)
    async def test_connection_that_stalls_after_a_pause(
        self, server: Server, client: Client
    ) -> None:
        server.stall(PATH, 50_000)
        sink = RecordingSink.range(0, SMALL.size, pauses=[0.0] + [0.02] * 5)
        error = await client.failure(sink)
        assert isinstance(error, StalledError)
        assert bytes(sink.data) == SMALL.read(0, 50_000)
        await until(lambda: server.relay.open == 0)
        await self._still_works(client)

    @settled(FETCHER_RATE_LIMIT="400K")
    async def test_request_that_has_to_wait(self, server: Server, client: Client) -> None:
        sink = RecordingSink.range(0, 1000, pauses=[0.2])
        async with client.fetching(sink) as task:
            await sink.until_paused()
            assert (server.relay.connections, sink.calls) == (0, [])
            await task
        assert sink.hasty == 0
        assert bytes(sink.data) == SMALL.read(0, 1000)

    @settled(FETCHER_RATE_LIMIT="400K")
    async def test_stopped_before_its_request_may_be_sent(
        self, server: Server, client: Client
    ) -> None:
        sink = RecordingSink.range(0, 1000, pauses=[60])
        async with client.fetching(sink) as task:
            await sink.until_asked()
            await sink.until_paused()
            await self._stops(sink, task, server)
        assert server.relay.connections == 0

    @settled(FETCHER_RATE_LIMIT="400K")
    async def test_stopped_in_a_pause(self, server: Server, client: Client) -> None:
        server.put("/large", LARGE)
        sink = RecordingSink.range(0, LARGE.size, pauses=[0.0, 60])
        async with client.fetching(sink, "/large") as task:
            await sink.until_paused()
            await self._stops(sink, task, server)
        assert 0 < len(sink.data) < LARGE.size
        await self._still_works(client)

    @settled(FETCHER_RATE_LIMIT="400K")
    @pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
    async def test_connection_that_is_cut_in_a_pause(
        self, server: Server, client: Client, reset: bool
    ) -> None:
        """What has arrived is not lost."""
        server.cut(PATH, 50_000, reset=reset)
        sink = RecordingSink.range(0, SMALL.size, pauses=[0.0, 0.2])
        error = await client.failure(sink)
        assert isinstance(error, ConnectionFailedError)
        names(error, server)
        assert bytes(sink.data) == SMALL.read(0, 50_000)
        await self._still_works(client)

    @settled(FETCHER_RATE_LIMIT="400K")
    async def test_connection_is_used_again_after_pauses(
        self, server: Server, client: Client
    ) -> None:
        for start, end in [(0, 50_000), (4096, 70_000), (99_000, SMALL.size)]:
            sink = RecordingSink.range(start, end, pauses=[0.01] * 100)
            await client.fetch(sink)
            assert bytes(sink.data) == SMALL.read(start, end)
        assert await client.get(5, 6) == SMALL.read(5, 6)
        assert server.relay.connections == 1

    @settled(FETCHER_RATE_LIMIT="400K")
    async def test_pauses_in_a_file_of_unknown_size(self, server: Server, client: Client) -> None:
        server.hide_size(PATH)
        sink = RecordingSink(pauses=[0.01] * 20)
        await client.fetch(sink)
        assert sink.sha256 == SMALL.sha256

    # --- names -----------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "path",
        [
            "/with a blank",
            "/größer.bin",
            "/日本語.bin",
            "/100% #1 [x]?y=z&w.bin",
            "/a;b,c=d+e'f\"g\\h.bin",
            "/-l",
            "/~user",
            "/größer/in a folder.bin",
        ],
    )
    async def test_name(self, server: Server, client: Client, path: str) -> None:
        content = Content(1234, seed=len(path))
        server.put(path, content)
        sink = RecordingSink.range(0, 1234)
        await client.fetch(sink, path)
        expects(sink, content, 0, 1234)
        assert sink.answer is not None
        assert sink.answer.url == server.url(path)

    async def test_fragment(self, server: Server, client: Client) -> None:
        """It is not sent."""
        sink = RecordingSink.range(5, 1000)
        await client.fetch(sink, url=f"{server.url()}#fragment")
        expects(sink, SMALL, 5, 1000)

    # --- connections -----------------------------------------------------------------------

    async def test_connection_is_used_again(self, server: Server, client: Client) -> None:
        for start, end in [(0, 1000), (4096, 70_000), (0, SMALL.size), (99_000, SMALL.size)]:
            assert await client.get(start, end) == SMALL.read(start, end)
        await self._is_refused(client, "/missing", 404)
        assert await client.get(5, 6) == SMALL.read(5, 6)
        assert server.relay.connections == 1

    async def test_many_at_once(self, server: Server, client: Client) -> None:
        server.put("/large", LARGE)
        ranges = [(start, start + 400_000) for start in range(0, 20 * 450_000, 450_000)]
        parts = await asyncio.gather(*(client.get(*some, "/large") for some in ranges))
        assert parts == [LARGE.read(*some) for some in ranges]

    async def test_idle_connections_that_the_server_has_closed(
        self, server: Server, client: Client
    ) -> None:
        await asyncio.gather(*(client.get(0, SMALL.size) for _ in range(3)))
        connections = server.relay.connections
        server.relay.cut()
        await self._still_works(client)
        assert server.relay.connections == connections + 1
