"""The handler for ftp://."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import pytest
from scrapy import Request
from scrapy.http import Response

from fetcher.contract import META_SINK
from fetcher.errors import (
    ChangedError,
    ConnectionFailedError,
    ConnectTimeoutError,
    ProtocolError,
    StalledError,
)
from fetcher.handlers.ftp import FTPDownloadHandler
from tests.contracts.client import Client, expects, names, settled, until
from tests.contracts.handler import SMALL
from tests.contracts.server import PASSWORD, PATH, USER
from tests.contracts.sessions import FileServer, SessionHandlerContract
from tests.contracts.sink import RecordingSink
from tests.servers.ftp import FTPServer
from tests.servers.ftp_faults import (
    BROKEN,
    Cut,
    DataGate,
    HangUp,
    IgnoreRest,
    Reply,
    Stall,
)
from tests.servers.resource import Gate


class FTPFileServer(FileServer):
    """pyftpdlib."""

    def __init__(self, server: FTPServer, root: Path, scheme: str = "ftp") -> None:
        super().__init__(scheme, server.port, root)
        self.server = server
        self.behaviour = server.behaviour

    def forbid(self, path: str) -> None:
        self.behaviour.forbidden.add(path)

    def overstate(self, path: str, by: int) -> None:
        self.behaviour.sizes[path] = self.place(path).stat().st_size + by

    def understate(self, path: str, by: int) -> None:
        self.overstate(path, -by)

    def hide_size(self, path: str) -> None:
        self.behaviour.without.add("SIZE")

    def cut(self, path: str, after: int, *, reset: bool) -> None:
        self.server.fail(path, Cut(after, reset=reset))

    def stall(self, path: str, after: int) -> None:
        self.server.fail(path, Stall(after))

    def gate(self, path: str, after: int) -> Gate:
        self.behaviour.gates[path] = gate = DataGate(after)
        return gate

    def limit(self, connections: int) -> None:
        self.behaviour.max_connections = connections

    def start(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()


class Once(dict[str, str | None]):
    """Each reply is good for one command."""

    def __getitem__(self, command: str) -> str | None:
        return self.pop(command)

    def copy(self) -> Self:
        return type(self)(self)


class TestFTP(SessionHandlerContract):
    handler = FTPDownloadHandler

    @pytest.fixture
    def server(self, tmp_path: Path) -> Iterator[FTPFileServer]:
        with FTPFileServer(FTPServer(tmp_path, {USER: PASSWORD}), tmp_path) as server:
            yield server

    # --- how a transfer ends ---------------------------------------------------------------

    async def test_whole_data_that_the_server_calls_broken(
        self, server: FTPFileServer, client: Client
    ) -> None:
        """The size is known, and knows better."""
        server.server.fail(PATH, Cut(None, reply=BROKEN))
        assert await client.get(0, SMALL.size) == SMALL.read(0, SMALL.size)

    async def test_data_of_unknown_size_that_the_server_calls_broken(
        self, server: FTPFileServer, client: Client
    ) -> None:
        server.hide_size(PATH)
        server.server.fail(PATH, Cut(None, reply=BROKEN))
        error = await client.failure(RecordingSink())
        assert isinstance(error, ConnectionFailedError)

    async def test_session_that_ends_with_the_data(
        self, server: FTPFileServer, client: Client
    ) -> None:
        """Another one tells whether the file is still the same."""
        server.server.fail(PATH, HangUp(None))
        assert await client.get(0, SMALL.size) == SMALL.read(0, SMALL.size)
        assert server.relay.connections == 2

    async def test_session_that_ends_with_data_of_unknown_size(
        self, server: FTPFileServer, client: Client
    ) -> None:
        server.hide_size(PATH)
        server.server.fail(PATH, HangUp(None))
        error = await client.failure(RecordingSink())
        assert isinstance(error, ConnectionFailedError)

    @pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
    async def test_session_that_ends_in_the_middle(
        self, server: FTPFileServer, client: Client, reset: bool
    ) -> None:
        server.server.fail(PATH, HangUp(50_000, reset=reset))
        sink = RecordingSink.range(0, SMALL.size)
        error = await client.failure(sink)
        assert isinstance(error, ConnectionFailedError)
        names(error, server)
        assert bytes(sink.data) == SMALL.read(0, 50_000)
        await self._still_works(client)

    @settled(FETCHER_CONNECT_TIMEOUT=0.3)
    async def test_end_that_is_not_confirmed(self, server: FTPFileServer, client: Client) -> None:
        server.server.fail(PATH, Cut(None, reply=None))
        assert await client.get(0, SMALL.size) == SMALL.read(0, SMALL.size)

    @settled(FETCHER_STALL_TIMEOUT=0.4)
    async def test_data_connection_that_stays_open(
        self, server: FTPFileServer, client: Client
    ) -> None:
        """All bytes seem to be there, but more may come; and there is nothing to ask for again."""
        server.stall(PATH, SMALL.size)
        error = await client.failure(RecordingSink.range(0, SMALL.size))
        assert isinstance(error, StalledError)
        assert not error.retryable

    async def test_size_that_leaves_out_what_comes_late(
        self, server: FTPFileServer, client: Client
    ) -> None:
        """However long the server pauses just where it says that the file ends."""
        server.understate(PATH, by=1000)
        gate = server.gate(PATH, SMALL.size - 1000)
        sink = RecordingSink(limit=SMALL.size - 1000)
        async with client.fetching(sink) as task:
            await sink.until_received(SMALL.size - 1000)
            await asyncio.wait([task], timeout=0.7)
            gate.open()
            with pytest.raises(ProtocolError):
                await task

    async def test_end_that_is_confirmed_by_another_session(
        self, server: FTPFileServer, client: Client
    ) -> None:
        sink = RecordingSink.range(0, SMALL.size)
        async with self._confirming(server, client, sink) as task:
            await task
        assert sink.calls.count("begin") == 1
        assert sink.sha256 == SMALL.sha256
        assert server.relay.connections == 2

    async def test_end_that_another_session_denies(
        self, server: FTPFileServer, client: Client
    ) -> None:
        sink = RecordingSink.range(0, SMALL.size)
        async with self._confirming(server, client, sink) as task:
            server.place(PATH).unlink()
            with pytest.raises(ChangedError):
                await task

    @asynccontextmanager
    async def _confirming(
        self, server: FTPFileServer, client: Client, sink: RecordingSink
    ) -> AsyncIterator[asyncio.Task[Response]]:
        """A transfer whose server does not say at once what the file is now."""
        gate = server.gate(PATH, 50_000)
        async with client.fetching(sink) as task:
            await sink.until_received(50_000)
            server.behaviour.replies = Once({"SIZE": "450 The file is busy."})
            asyncio.get_running_loop().call_soon(gate.open)
            yield task
            assert not server.behaviour.replies

    async def test_server_that_forgets_where_to_begin(
        self, server: FTPFileServer, client: Client
    ) -> None:
        """It is found out by the file's last byte."""
        server.server.fail(PATH, *[IgnoreRest()] * 9)
        sink = RecordingSink({"Range": "bytes=4096-"})
        await client.fetch(sink)
        assert sink.status == 200
        expects(sink, SMALL, 0, SMALL.size)
        assert server.server.asked("REST") == [str(SMALL.size - 1)]
        assert len(server.server.asked("RETR")) == 2

    # --- what servers lack -----------------------------------------------------------------

    @pytest.mark.parametrize("without", [{"EPSV"}, {"FEAT"}, {"FEAT", "EPSV", "OPTS"}])
    async def test_range_without_some_commands(
        self, server: FTPFileServer, client: Client, without: set[str]
    ) -> None:
        server.behaviour.without |= without
        server.behaviour.pasv_host = "192.0.2.1"  # What it calls itself behind a router.
        assert await client.get(4096, 70_000) == SMALL.read(4096, 70_000)

    @pytest.mark.parametrize("without", [{"REST"}, {"REST", "FEAT"}])
    async def test_no_ranges(
        self, server: FTPFileServer, client: Client, without: set[str]
    ) -> None:
        server.behaviour.without |= without
        sink = RecordingSink({"Range": "bytes=4096-"})
        await client.fetch(sink)
        assert sink.status == 200
        expects(sink, SMALL, 0, SMALL.size)

    @pytest.mark.parametrize(
        "replies",
        [
            Once({"REST": "501 REST not allowed."}),
            {"REST": "501 REST not allowed."},
            Once({"RETR": "451 Restart not permitted, try again."}),
        ],
        ids=["REST", "even REST 0", "RETR"],
    )
    async def test_ranges_that_are_promised(
        self, server: FTPFileServer, client: Client, replies: dict[str, str | None]
    ) -> None:
        server.behaviour.replies = replies.copy()
        sink = RecordingSink({"Range": "bytes=4096-"})
        await client.fetch(sink)
        assert sink.status == 200
        expects(sink, SMALL, 0, SMALL.size)
        assert server.relay.connections == 1

    async def test_no_dates(self, server: FTPFileServer, client: Client) -> None:
        server.behaviour.without.add("MDTM")
        sink = RecordingSink.range(4096, 70_000)
        await client.fetch(sink)
        assert sink.status == 206
        assert "last-modified" not in sink.headers

    # --- replies ---------------------------------------------------------------------------

    @settled(FETCHER_CONNECT_TIMEOUT=0.2)
    @pytest.mark.parametrize("command", ["USER", "PASS", "TYPE", "SIZE", "MDTM", "EPSV", "RETR"])
    async def test_command_that_is_never_answered(
        self, server: FTPFileServer, client: Client, command: str
    ) -> None:
        server.behaviour.replies[command] = None
        error = await client.failure(RecordingSink.range(0, 1000))
        assert isinstance(error, ConnectTimeoutError)
        names(error, server)
        await until(lambda: server.relay.open == 0)

    @pytest.mark.parametrize(
        ("line", "status"),
        [
            ("450 The file is busy.", 503),
            ("451 A local error.", 503),
            ("550 Permission denied.", 403),
        ],
    )
    async def test_transfer_that_is_refused(
        self, server: FTPFileServer, client: Client, line: str, status: int
    ) -> None:
        server.server.fail(PATH, Reply(line))
        sink = RecordingSink.range(0, 1000)
        await client.fetch(sink)
        assert sink.status == status
        assert sink.answer is not None
        assert line[4:] in sink.answer.reason
        await self._still_works(client)
        assert server.relay.connections == 1

    async def test_session_that_has_timed_out(self, server: FTPFileServer, client: Client) -> None:
        await self._still_works(client)
        server.server.fail(PATH, Reply("421 Idle for too long, closing."))
        await self._still_works(client)
        assert server.relay.connections == 2

    @pytest.mark.parametrize("command", ["SIZE", "EPSV"])
    async def test_new_session_that_ends_before_the_answer(
        self, server: FTPFileServer, client: Client, command: str
    ) -> None:
        server.behaviour.replies[command] = "421 Going down, closing."
        error = await client.failure(RecordingSink.range(0, 1000))
        assert isinstance(error, ConnectionFailedError)
        names(error, server)
        assert server.relay.connections == 1

    async def test_reply_without_an_end(self, server: FTPFileServer, client: Client) -> None:
        """Nor with anything in it."""
        lines = "\r\n" * (1 << 17)
        server.behaviour.replies["FEAT"] = f"211-\r\n{lines}211 End"
        error = await client.failure(RecordingSink.range(0, 1000))
        assert isinstance(error, ConnectionFailedError)
        names(error, server)

    async def test_more_logins_at_once_than_the_server_takes(
        self, server: FTPFileServer, client: Client
    ) -> None:
        server.behaviour.too_many = "530 Sorry, the maximum number of clients is connected."
        server.limit(3)
        await self._twenty_at_once(server, client)

    # --- addresses -------------------------------------------------------------------------

    @pytest.mark.parametrize("form", ["{};type=i", "{};type=I"])
    async def test_type(self, server: FTPFileServer, client: Client, form: str) -> None:
        sink = RecordingSink.range(5, 1000)
        await client.fetch(sink, url=form.format(server.url()))
        expects(sink, SMALL, 5, 1000)

    async def test_absolute_path(self, server: FTPFileServer, client: Client) -> None:
        sink = RecordingSink.range(5, 1000)
        await client.fetch(sink, url=server.url("/") + "%2Fa.bin")
        expects(sink, SMALL, 5, 1000)
        assert set(server.server.asked("RETR")) == {"/a.bin"}

    async def test_without_a_user(self, server: FTPFileServer, client: Client) -> None:
        sink = RecordingSink.range(5, 1000)
        await client.handler.download_request(Request(server.url(), meta={META_SINK: sink}))
        expects(sink, SMALL, 5, 1000)
        assert server.server.asked("USER") == ["anonymous"]
