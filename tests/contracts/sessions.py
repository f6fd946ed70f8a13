"""What handlers have to do whose servers know neither ranges nor versions, and log in first."""

import asyncio
import os
import threading
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path

import pytest

from fetcher.errors import (
    ChangedError,
    ConnectionFailedError,
    ProtocolError,
    RangesRefusedError,
    ServerError,
    Stopped,
)
from tests.contracts.client import SOON, Client, expects, settled, until
from tests.contracts.handler import LARGE, SMALL, HandlerContract
from tests.contracts.server import DATE, PATH, Server
from tests.contracts.sink import RecordingSink
from tests.servers.content import Content, Source
from tests.servers.resource import Gate


class FileServer(Server):
    """A server of a folder on disk.

    :param root: the folder that it shows as its root.
    """

    def __init__(self, scheme: str, port: int, root: Path) -> None:
        super().__init__(scheme, port)
        self.root = root

    def put(self, path: str, source: Source) -> None:
        place = self.place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        source.write_to(place)
        os.utime(place, (DATE, DATE))

    def place(self, path: str) -> Path:
        """Where the file really is."""
        return self.root / path.removeprefix("/")

    @abstractmethod
    def understate(self, path: str, by: int) -> None:
        """From now on the file is said to have so many bytes less than it has."""

    @abstractmethod
    def gate(self, path: str, after: int) -> Gate:
        """Hold every transfer of a file after so many bytes."""

    @abstractmethod
    def limit(self, connections: int) -> None:
        """Take so many at a time, and turn others away."""


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, (DATE, DATE))


def shrink(path: Path) -> None:
    os.truncate(path, 80_000)
    os.utime(path, (DATE, DATE))


def rewrite(path: Path) -> None:
    """In place, and a second later."""
    with path.open("r+b") as file:
        file.write(Content(SMALL.size, seed=666).read(0, SMALL.size))
    os.utime(path, (DATE + 1, DATE + 1))


def remove(path: Path) -> None:
    path.unlink()


def session_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.endswith("-session")]


class SessionHandlerContract(HandlerContract):
    """The suite, with what concerns sessions and their threads, and files without a version."""

    # --- what is no file -------------------------------------------------------------------

    async def test_folder(self, server: FileServer, client: Client) -> None:
        server.place("/folder").mkdir()
        sink = RecordingSink.range(0, 1000)
        await client.fetch(sink, "/folder")
        assert sink.status in (403, 404)
        assert sink.calls[-1] == "begin"
        await self._still_works(client)

    async def test_escaped_slash(self, server: FileServer, client: Client) -> None:
        server.put("/folder/a.bin", SMALL)
        sink = RecordingSink.range(0, 1000)
        await client.fetch(sink, url=server.url("/folder") + "%2Fa.bin")
        expects(sink, SMALL, 0, 1000)

    # --- one version, whole ----------------------------------------------------------------

    @pytest.mark.parametrize("asked", [{}, {"Range": "bytes=70000-"}], ids=["whole", "range"])
    async def test_more_bytes_than_stated(
        self, server: FileServer, client: Client, asked: dict[str, str]
    ) -> None:
        server.understate(PATH, by=1000)
        sink = RecordingSink(asked, limit=SMALL.size - 1000 - (70_000 if asked else 0))
        error = await client.failure(sink)
        # A range may also come from a server that only seems to begin where it is told to.
        assert isinstance(error, (ProtocolError, RangesRefusedError) if asked else ProtocolError)

    async def test_empty_file_that_has_bytes(self, server: FileServer, client: Client) -> None:
        """As those of /proc have."""
        server.understate(PATH, by=SMALL.size)
        sink = RecordingSink.range(0, 1000)
        error = await client.failure(sink)
        assert isinstance(error, ProtocolError)
        assert sink.answer is None

    @pytest.mark.parametrize("change", [grow, shrink, rewrite, remove])
    @pytest.mark.parametrize("end", [60_000, SMALL.size], ids=["part", "whole"])
    async def test_file_that_changes_meanwhile(
        self, server: FileServer, client: Client, change: Callable[[Path], None], end: int
    ) -> None:
        gate = server.gate(PATH, 50_000)
        sink = RecordingSink.range(0, end)
        async with client.fetching(sink) as task:
            await sink.until_received(50_000)
            change(server.place(PATH))
            gate.open()
            with pytest.raises(ChangedError):
                await task
        server.put(PATH, SMALL)
        await self._still_works(client)

    async def test_file_that_changes_in_between(self, server: FileServer, client: Client) -> None:
        first, second = RecordingSink.range(0, 1000), RecordingSink({"Range": "bytes=1000-"})
        await client.fetch(first)
        rewrite(server.place(PATH))
        second.ask({"If-Range": first.headers["last-modified"]})
        await client.fetch(second)
        assert second.status == 200
        assert second.sha256 == Content(SMALL.size, seed=666).sha256

    # --- how fast it may be read -----------------------------------------------------------

    @settled(FETCHER_RATE_LIMIT="400K", FETCHER_STALL_TIMEOUT=0.4)
    async def test_server_that_is_silent_after_a_pause(
        self, server: FileServer, client: Client
    ) -> None:
        """It has all of its time."""
        gate = server.gate(PATH, 4096)
        sink = RecordingSink.range(0, SMALL.size, pauses=[0.0, 0.4])
        async with client.fetching(sink) as task:
            await sink.until_paused()
            await asyncio.sleep(0.6)
            gate.open()
            await task
        assert sink.sha256 == SMALL.sha256

    # --- sessions --------------------------------------------------------------------------

    @pytest.mark.parametrize("most", [1, 3])
    async def test_more_at_once_than_the_server_takes(
        self, server: FileServer, client: Client, most: int
    ) -> None:
        server.limit(most)
        await self._twenty_at_once(server, client)

    async def _twenty_at_once(self, server: FileServer, client: Client) -> None:
        ranges = [(start, start + 50_000) for start in range(0, 40_000, 2_000)]
        parts = await asyncio.gather(*(client.get(*some) for some in ranges))
        assert parts == [SMALL.read(*some) for some in ranges]
        # A server that is asked again and again for what it does not have may lock the client out.
        assert server.relay.connections <= 2 * len(ranges)

    async def test_server_that_takes_none(self, server: FileServer, client: Client) -> None:
        """Each request is told, and none knocks again and again."""
        server.limit(0)
        sinks = [RecordingSink.range(0, 1000) for _ in range(10)]
        await asyncio.gather(*map(client.fetch, sinks))
        assert {sink.status for sink in sinks} == {503}
        assert all(sink.answer is not None and sink.answer.reason for sink in sinks)
        assert server.relay.connections <= 2 * len(sinks)

    async def test_stopped_while_waiting_for_a_session(
        self, server: FileServer, client: Client
    ) -> None:
        server.limit(1)
        gate = server.gate(PATH, 50_000)
        first, second = RecordingSink.range(0, SMALL.size), RecordingSink.range(0, 1000)
        async with client.fetching(first) as one:
            await first.until_received(50_000)
            async with client.fetching(second) as two:
                await until(lambda: server.relay.connections == 2 and server.relay.open == 1)
                reason = second.stop()
                with pytest.raises(Stopped) as caught:
                    await asyncio.wait_for(two, SOON)
                assert caught.value is reason
            gate.open()
            await one
        assert first.sha256 == SMALL.sha256
        await self._still_works(client)

    async def test_new_session_that_breaks(self, server: FileServer, client: Client) -> None:
        """It is no idle one that had been closed meanwhile: there is no third."""
        await self._still_works(client)
        server.relay.silent = True
        server.relay.cut()
        sink = RecordingSink.range(0, 1000)
        async with client.fetching(sink) as task:
            await until(lambda: server.relay.connections == 2)
            server.relay.cut()
            await asyncio.wait([task], timeout=SOON)
            assert task.done()
            # A server that hangs up before its greeting may just have no room for another.
            assert sink.status == 503 or isinstance(task.exception(), ConnectionFailedError)
        assert server.relay.connections == 2

    async def test_closed_in_the_middle(self, server: FileServer, client: Client) -> None:
        """The session's thread ends too."""
        server.stall(PATH, 50_000)
        sink = RecordingSink.range(0, SMALL.size)
        async with client.fetching(sink) as task:
            await sink.until_received(50_000)
            await client.handler.close()
            with pytest.raises(ServerError):
                await asyncio.wait_for(task, SOON)
            await until(lambda: not session_threads())
            await until(lambda: server.relay.open == 0)

    async def test_threads_end(self, server: FileServer, client: Client) -> None:
        server.put("/large", LARGE)
        await asyncio.gather(*(client.get(0, LARGE.size, "/large") for _ in range(3)))
        assert session_threads()
        await client.handler.close()
        await until(lambda: not session_threads())
