"""The handler for http:// and https://."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest

from fetcher.handlers.http import RangeHTTPDownloadHandler
from fetcher.handlers.http.connection import TLS_RECORD
from tests.conftest import CertificateAuthority
from tests.contracts.client import Client, expects, settled, until
from tests.contracts.handler import LARGE, SMALL, HandlerContract
from tests.contracts.server import DATE, PASSWORD, PATH, USER, Server
from tests.contracts.sink import RecordingSink
from tests.servers.content import Source
from tests.servers.exchange import Exchange
from tests.servers.faults import (
    Close,
    ExtraBytes,
    NoContentLength,
    Reset,
    Respond,
    Stall,
    Status,
)
from tests.servers.origin import Origin
from tests.servers.resource import Answer, Fault, Resource, deliver, plan

CLOSE = {"Connection": "close"}
TOKEN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Overstated:
    """The head of a file that is longer, and then the end of the connection."""

    def __init__(self, by: int) -> None:
        self._by = by

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        answer: Answer = plan(exchange, resource)
        size = answer.source.size + self._by
        headers = answer.headers | {"Content-Length": str(size - answer.start)}
        if answer.status == 206:
            headers["Content-Range"] = f"bytes {answer.start}-{size - 1}/{size}"
        deliver(exchange, resource, replace(answer, headers=headers))
        exchange.close()


class Lingering:
    """The last answer of a connection, which the server closes only after the client has."""

    def respond(self, exchange: Exchange, resource: Resource) -> None:
        answer = plan(exchange, resource)
        deliver(exchange, resource, replace(answer, headers=answer.headers | CLOSE))
        exchange.connection.read_head()
        exchange.close()


class HTTPServer(Server):
    """An origin whose files want a login."""

    def __init__(self, origin: Origin) -> None:
        super().__init__("https" if origin.url().startswith("https") else "http", origin.port)
        self.origin = origin
        self._resources: dict[str, Resource] = {}

    def put(self, path: str, source: Source) -> None:
        resource = Resource(source, last_modified=DATE, script=_check_login)
        self._resources[path] = resource
        self.origin.add(quote(path), resource)

    def forbid(self, path: str) -> None:
        self.origin.replace(quote(path), Status(403))

    def overstate(self, path: str, by: int) -> None:
        self.origin.fail(quote(path), Overstated(by))

    def hide_size(self, path: str) -> None:
        self._resources[path].chunked = True

    def cut(self, path: str, after: int, *, reset: bool) -> None:
        self._fail(path, Reset(after) if reset else Close(after))

    def stall(self, path: str, after: int) -> None:
        self._fail(path, Stall(after))

    def start(self) -> None:
        self.origin.start()

    def stop(self) -> None:
        self.origin.stop()

    def _fail(self, path: str, fault: Fault) -> None:
        self.origin.fail(quote(path), fault)


def _check_login(exchange: Exchange) -> Fault | None:
    known = exchange.headers.get("authorization") == f"Basic {TOKEN}"
    return None if known else Status(401)


class TestHTTP(HandlerContract):
    handler = RangeHTTPDownloadHandler

    @pytest.fixture
    def server(self) -> Iterator[HTTPServer]:
        with HTTPServer(Origin()) as server:
            yield server

    async def test_if_range_with_a_tag(self, server: HTTPServer, client: Client) -> None:
        head = RecordingSink(wanted=False)
        await client.fetch(head)
        for tag, status in ((head.headers["etag"], 206), ('"another"', 200)):
            sink = RecordingSink({"Range": "bytes=100-", "If-Range": tag})
            await client.fetch(sink)
            assert sink.status == status
            expects(sink, SMALL, 100 if status == 206 else 0, SMALL.size)

    async def test_more_bytes_than_stated(self, server: HTTPServer, client: Client) -> None:
        """They belong to no answer: the connection is given up, and that is all."""
        server.origin.fail(PATH, ExtraBytes())
        assert await client.get(0, SMALL.size) == SMALL.read(0, SMALL.size)
        await until(lambda: server.relay.open == 0)
        await self._still_works(client)

    async def test_neither_length_nor_chunks(self, server: HTTPServer, client: Client) -> None:
        """The connection's end is the body's (RFC 9112, section 6.3)."""
        server.origin.fail(PATH, NoContentLength())
        sink = RecordingSink()
        await client.fetch(sink)
        assert "content-length" not in sink.headers
        assert sink.sha256 == SMALL.sha256

    @settled(FETCHER_RATE_LIMIT="400K")
    async def test_pause_after_what_came_with_the_head(
        self, server: HTTPServer, client: Client
    ) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {SMALL.size}\r\n\r\n".encode()
        answer = head + SMALL.read(0, SMALL.size)
        server.origin.fail(PATH, Respond(lambda exchange: exchange.send_raw(answer)))
        sink = RecordingSink(pauses=[0.0, 0.2])
        await client.fetch(sink)
        assert (sink.hasty, sink.sha256) == (0, SMALL.sha256)

    async def test_body_of_a_refusal(self, server: HTTPServer, client: Client) -> None:
        """A short one is rather read than the connection given up."""
        server.origin.fail(PATH, Status(503, body=b"come back later" * 100))
        sink = RecordingSink.range(0, 1000, wanted=False)
        await client.fetch(sink)
        assert sink.status == 503
        await self._still_works(client)
        assert server.relay.connections == 1


class TestHTTPS(HandlerContract):
    handler = RangeHTTPDownloadHandler

    @pytest.fixture
    def server(
        self, certificate_authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[HTTPServer]:
        for name, value in certificate_authority.env.items():
            monkeypatch.setenv(name, value)
        with HTTPServer(Origin(certificate_authority.server_context())) as server:
            yield server

    async def test_records_that_come_together(self, server: HTTPServer, client: Client) -> None:
        """To hand on each by itself would cost as much as to decrypt it."""
        server.put("/large", LARGE)
        sink = RecordingSink()
        await client.fetch(sink, "/large")
        assert sink.sha256 == LARGE.sha256
        assert sink.largest > TLS_RECORD

    @settled(FETCHER_RATE_LIMIT="400K")
    async def test_paused_connection_that_ends_with_its_answer(
        self, server: HTTPServer, client: Client
    ) -> None:
        """What TLS says at its end has still to be read."""
        server.put("/last", SMALL)
        server.hide_size("/last")
        server.origin.fail("/last", Lingering())
        sink = RecordingSink(pauses=[0.01] * 100)
        await client.fetch(sink, "/last")
        assert sink.sha256 == SMALL.sha256
        await until(lambda: server.relay.open == 0)
