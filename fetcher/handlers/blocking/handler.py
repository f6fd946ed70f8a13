"""Answers range requests for protocols that block, in HTTP's terms and into a sink."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Self
from urllib.parse import urldefrag

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import NotSupported
from scrapy.http import Response

from fetcher.config import Config
from fetcher.contract import META_SINK, Answer, RangeSink
from fetcher.errors import (
    ChangedError,
    ConnectionFailedError,
    ProtocolError,
    RangesRefusedError,
    ServerError,
    StalledError,
)
from fetcher.handlers import reasons
from fetcher.handlers.blocking.login import Login
from fetcher.handlers.blocking.pool import Pool
from fetcher.handlers.blocking.session import Refused, Session, TooManyConnections
from fetcher.handlers.blocking.sockets import translated
from fetcher.handlers.blocking.worker import Worker
from fetcher.handlers.stalls import StallTimer
from fetcher.rules.replies import Facts, Reply, reply_to, shown_reason
from fetcher.rules.urls import redact


class BlockingDownloadHandler(ABC):
    """A Scrapy download handler; a protocol brings its :class:`Session`.

    The event loop asks, judges and writes; a session's thread only waits for the server. While a
    block is written, the next is read.
    """

    lazy = True

    def __init__(self, crawler: Crawler) -> None:
        self.config = Config.from_settings(crawler.settings)
        self._pool = Pool(self.session, self.config.connect_timeout)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        return cls(crawler)

    @abstractmethod
    def session(self, login: Login) -> Session:
        """A session for this login, not connected yet."""

    async def close(self) -> None:
        """See :class:`scrapy.core.downloader.handlers.DownloadHandlerProtocol`."""
        self._pool.close()

    async def download_request(self, request: Request) -> Response:
        """See :class:`scrapy.core.downloader.handlers.DownloadHandlerProtocol`.

        :raises NotSupported: the request has no sink.
        :raises FetchError: what went wrong.
        """
        sink: RangeSink | None = request.meta.get(META_SINK)
        if sink is None:
            raise NotSupported(f"{redact(request.url)} can only be fetched as a file of a list")
        if sink.stopped is not None:
            raise sink.stopped
        exchange = _Exchange(self.config, self._pool, request, sink)
        running = asyncio.ensure_future(exchange.run())

        def stop() -> None:
            running.cancel()

        try:
            sink.attach(stop)
            return await running
        except (Exception, asyncio.CancelledError) as error:
            stop()
            if sink.stopped is not None:
                raise sink.stopped from error
            raise translated(error, exchange.login.server) from error


class _Exchange:
    """One request and its answer."""

    def __init__(self, config: Config, pool: Pool, request: Request, sink: RangeSink) -> None:
        self.login = Login.of(request)
        self._timeout = config.connect_timeout
        self._config = config
        self._pool = pool
        self._url = urldefrag(request.url)[0]
        self._sink = sink
        self._answered: Response | None = None
        self._facts: Facts | None = None
        """What the answer said of the file, once its body is in the sink."""

    async def run(self) -> Response:
        """The answer, its body already in the sink.

        :raises FetchError, OSError, EOFError: what went wrong.
        """
        while True:
            try:
                worker = await self._logged_in()
            except TooManyConnections as busy:
                return self._refused(503, busy.reason)
            except Refused as refused:
                return self._refused(refused.status, refused.reason)
            try:
                response = await self._serve(worker)
            except Refused as refused:
                self._pool.release(worker)
                return self._refused(refused.status, refused.reason)
            except BaseException as error:
                self._pool.discard(worker)
                lost = isinstance(error, OSError | EOFError)
                if lost and self._answered is not None and self._facts is not None:
                    await self._confirm_anew(self._facts)
                    return self._answered
                if lost and self._answered is None and worker.served:
                    continue  # The server had closed an idle session, which is no failure.
                raise
            self._pool.release(worker)
            return response

    async def _logged_in(self) -> Worker:
        try:
            return await self._pool.acquire(self.login)
        except TimeoutError as error:
            raise reasons.unanswered(self.login.server) from error

    def _refused(self, status: int, reason: str) -> Response:
        shown = shown_reason(reason, (self.login.password or "",))
        self._sink.begin(Answer(self._url, status, {}, shown))
        return Response(self._url, status=status)

    async def _serve(self, worker: Worker) -> Response:
        session = worker.session
        try:
            async with asyncio.timeout(self._timeout):
                facts = await worker.call(session.facts, self._url)
                asked = self._sink.request_headers()
                reply = reply_to(asked, facts, ranges=session.ranges, runs_on=session.runs_on)
                if reply.has_body:
                    await worker.call(session.open, self._url, reply.start, reply.end)
                elif facts.size == 0:
                    await self._check_empty(worker)
        except TimeoutError as error:
            raise reasons.silent(redact(self._url), self._timeout) from error
        wanted = self._sink.begin(Answer(self._url, reply.status, reply.headers))
        self._answered = Response(self._url, status=reply.status, headers=dict(reply.headers))
        if reply.has_body:
            problem = await self._read(worker, reply, facts) if wanted else None
            self._facts = facts if problem is None else None
            async with asyncio.timeout(self._timeout):
                await worker.call(session.finish)
                if wanted:
                    self._confirm(facts, await self._facts_now(worker))
            if problem is not None:
                raise problem
        return self._answered

    async def _read(self, worker: Worker, reply: Reply, facts: Facts) -> ServerError | None:
        """Fill the sink; what is wrong with the body, unless the file has changed meanwhile."""
        reading = worker.call(worker.session.read)

        def stalled(error: StalledError) -> None:
            if not reading.done():
                reading.set_exception(error)

        timer = StallTimer(self._config, stalled)
        end, position = reply.end, reply.start
        try:
            while blocks := await reading:
                count = sum(map(len, blocks))
                timer.received(count)
                position += count
                reading = worker.call(worker.session.read)
                if not all(map(self._sink.write, blocks)):
                    break
            if end is None or (blocks and position < end):
                return None
            if end == facts.size and (position > end or (blocks and await reading)):
                # A server that only seems to begin where it is told to gives itself away by this.
                return (
                    self._surplus(end)
                    if reply.start == 0
                    else RangesRefusedError(
                        "the server sends more bytes than lie between there and the file's end"
                    )
                )
        finally:
            timer.stop()
        if position < end:
            return ConnectionFailedError(
                f"{redact(self._url)} ended after {position} of the {end} bytes that its server "
                "states"
            )
        return None

    async def _check_empty(self, worker: Worker) -> None:
        """:raises ProtocolError: the file has bytes all the same, as those of /proc have."""
        await worker.call(worker.session.open, self._url, 0, 0)
        if await worker.call(worker.session.read):
            raise self._surplus(0)
        await worker.call(worker.session.finish)

    def _surplus(self, size: int) -> ProtocolError:
        return ProtocolError(
            f"{redact(self._url)} goes on behind the {size} bytes that its server states, so that "
            "nothing tells whether it is whole"
        )

    async def _facts_now(self, worker: Worker) -> Facts | None:
        """What the server says of the file now; None when there is no such file any more."""
        try:
            return await worker.call(worker.session.facts, self._url)
        except Refused:
            return None

    def _confirm(self, before: Facts, now: Facts | None) -> None:
        """:raises ChangedError: the file is not the one that the transfer began with.

        Neither FTP nor SFTP says so by itself: a file that is written over under the transfer
        arrives as half the old and half the new one.
        """
        if now is None or now.differ(before):
            raise ChangedError(
                "it is gone" if now is None else "its size or date changed during the transfer"
            )

    async def _confirm_anew(self, facts: Facts) -> None:
        """The body is there, but the connection is lost: ask over another."""
        try:
            worker = await self._logged_in()
            try:
                async with asyncio.timeout(self._timeout):
                    now = await self._facts_now(worker)
            except BaseException:
                self._pool.discard(worker)
                raise
            self._pool.release(worker)
        except (OSError, EOFError, Refused, TooManyConnections, ServerError) as error:
            unconfirmed = reasons.broken(self.login.server)
            # There is nothing left of the range to ask for again.
            unconfirmed.retryable = False
            raise unconfirmed from error
        self._confirm(facts, now)
