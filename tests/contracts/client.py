"""A handler and its client, and what tests say of both."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Protocol
from urllib.parse import quote

import pytest
from scrapy import Request
from scrapy.http import Response

from fetcher.contract import META_SINK
from fetcher.errors import ServerError
from fetcher.rules.answers import judge
from tests.contracts.server import PASSWORD, PATH, USER, Server
from tests.contracts.sink import RecordingSink
from tests.servers.content import Source

SOON = 1.0
"""Seconds in which a handler has to notice what its own side wants."""


class Handler(Protocol):
    """What Scrapy asks of a download handler."""

    async def download_request(self, request: Request) -> Response: ...

    async def close(self) -> None: ...


class Client:
    """A handler, asked as the downloader asks it. Belongs to the event loop."""

    def __init__(self, handler: Handler, server: Server) -> None:
        self.handler = handler
        self.server = server

    async def fetch(
        self,
        sink: RecordingSink,
        path: str = PATH,
        *,
        url: str | None = None,
        password: str = PASSWORD,
    ) -> Response:
        """The response; the body is in the sink."""
        token = base64.b64encode(f"{USER}:{password}".encode()).decode()
        request = Request(
            url or self.server.url(path),
            headers={"Authorization": f"Basic {token}"},
            meta={META_SINK: sink},
        )
        try:
            response = await asyncio.wait_for(self.handler.download_request(request), 10)
        except Exception as error:
            assert error.__cause__ is not error
            for secret in (password, quote(password), token):
                assert not [cause for cause in causes(error) if secret in f"{cause} {cause!r}"]
            raise
        finally:
            assert sink.misuse == []
        assert response.status == sink.status
        assert not response.body
        return response

    async def get(self, start: int, end: int, path: str = PATH) -> bytes:
        """A range; fails if it does not come."""
        sink = RecordingSink.range(start, end)
        await self.fetch(sink, path)
        assert sink.status == 206
        return bytes(sink.data)

    async def failure(
        self, sink: RecordingSink, path: str = PATH, *, url: str | None = None
    ) -> ServerError:
        """The error with which a request ends."""
        with pytest.raises(ServerError) as caught:
            await self.fetch(sink, path, url=url)
        return caught.value

    @asynccontextmanager
    async def fetching(
        self, sink: RecordingSink, path: str = PATH
    ) -> AsyncIterator[asyncio.Task[Response]]:
        """A transfer that is still on its way; at the end it has to be over."""
        task = asyncio.ensure_future(self.fetch(sink, path))
        try:
            yield task
            assert task.done()
        finally:
            task.cancel()
            await asyncio.wait([task])


async def close(handler: Handler) -> None:
    """Close it, and see that it leaves nothing to do."""
    await handler.close()
    this = asyncio.current_task()
    await until(lambda: asyncio.all_tasks() == {this})


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that led to it, as a log would show them."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


async def until(condition: Callable[[], bool], seconds: float = SOON) -> None:
    """Fails where it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def settled(**settings: object) -> pytest.MarkDecorator:
    """A test of a handler with these settings."""
    return pytest.mark.parametrize("settings", [settings], ids=[pytest.HIDDEN_PARAM])


def names(error: ServerError, server: Server) -> None:
    """A person is told which server it was, and another try makes sense."""
    assert error.retryable
    assert f"127.0.0.1:{server.relay.port}" in error.message


def expects(sink: RecordingSink, source: Source, start: int, end: int) -> None:
    """Just these bytes are in the sink, and the answer's head says so."""
    assert len(sink.data) == end - start
    assert bytes(sink.data) == source.read(start, end)
    assert sink.answer is not None
    body = judge(sink.answer, start, None)
    assert body.version.size == source.size
    assert body.start == start
    assert body.end is not None and body.end >= end
    assert sink.headers["content-length"] == str(body.end - start)
