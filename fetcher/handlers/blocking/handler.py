"""Answers range requests for protocols that block, in HTTP's terms and into a sink."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Self

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.http import Response

from fetcher.config import Config
from fetcher.contract import META_SINK, RangeSink
from fetcher.handlers.blocking.exchange import Exchange
from fetcher.handlers.blocking.login import Login
from fetcher.handlers.blocking.pool import Pool
from fetcher.handlers.blocking.session import BLOCK, Session
from fetcher.handlers.blocking.sockets import translated
from fetcher.handlers.plain import PlainHandler
from fetcher.rules.bucket import read_size


class BlockingDownloadHandler(ABC):
    """A Scrapy download handler; a protocol brings its :class:`Session`.

    The event loop asks, judges and writes; a session's thread only waits for the server.

    :ivar read_size: bytes that a session is to hand on at a time.
    """

    lazy = True
    scheme: str
    """That of the requests without a sink."""

    def __init__(self, crawler: Crawler) -> None:
        self.config = Config.from_settings(crawler.settings)
        self.read_size = read_size(self.config.rate_limit, BLOCK)
        self._plain = PlainHandler(crawler, self.scheme)
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
        await self._plain.close()

    async def download_request(self, request: Request) -> Response:
        """See :class:`scrapy.core.downloader.handlers.DownloadHandlerProtocol`.

        :raises NotSupported: the request has no sink, and nobody else fetches such.
        :raises FetchError: what went wrong with one that has.
        """
        sink: RangeSink | None = request.meta.get(META_SINK)
        if sink is None:
            return await self._plain.download_request(request)
        if sink.stopped is not None:
            raise sink.stopped
        exchange = Exchange(self.config, self._pool, request, sink, self.read_size)
        running = asyncio.ensure_future(exchange.run())

        def stop() -> None:
            running.cancel()

        try:
            sink.attach(stop)
            return await running
        except (Exception, asyncio.CancelledError) as error:
            stop()
            reason = translated(error, exchange.login)
            if sink.stopped is not None:
                reason = sink.stopped
            if reason is error:
                raise
            raise reason from error
