"""http:// and https:// by Twisted, streamed into a range's sink.

Built on Scrapy's :class:`HTTP11DownloadHandler`, whose agents do proxies, CONNECT tunnels and TLS.
What is replaced for requests with a sink: the body goes to the sink instead of memory, and a stall
clock stands in place of the total timeout. Requests without one go to another handler, with other
connections.

Private names of Scrapy and Twisted are used here and in :mod:`fetcher.handlers.http.connection`
only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, cast
from urllib.parse import urldefrag

from scrapy import Request
from scrapy.core.downloader.contextfactory import _ScrapyClientContextFactory
from scrapy.core.downloader.handlers.http11 import (
    HTTP11DownloadHandler,
    _BindAddressAgent,
    _ScrapyAgent,
    _TunnelingAgent,
)
from scrapy.crawler import Crawler
from scrapy.http import Headers, Response
from scrapy.utils.defer import maybe_deferred_to_future
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import URI, Agent
from twisted.web.client import Response as TxResponse
from twisted.web.http_headers import Headers as TxHeaders
from twisted.web.iweb import UNKNOWN_LENGTH

from fetcher.config import Config
from fetcher.contract import META_SINK, Answer, RangeSink, plain_headers
from fetcher.handlers import reasons
from fetcher.handlers.http.body import BodyReader, abort
from fetcher.handlers.http.connection import ConnectionFactory, read_size
from fetcher.handlers.http.failures import translated
from fetcher.handlers.plain import PlainHandler
from fetcher.rules.urls import redact

MAX_ENDPOINTS = 256
"""Hosts whose endpoints are remembered at a time."""


class RangeHTTPDownloadHandler(HTTP11DownloadHandler):
    """Scrapy's HTTP/1.1 handler, for requests with a :class:`fetcher.contract.RangeSink`."""

    scheme = "http"

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._plain = PlainHandler(crawler, self.scheme)
        self._config = Config.from_settings(crawler.settings)
        if isinstance(self._contextFactory, _ScrapyClientContextFactory):
            # Scrapy's default for pages is not that for files.
            self._contextFactory._verify_certificates = self._config.verify_certificates
        connections = partial(ConnectionFactory, rate=self._config.rate_limit)
        self._pool._factory = connections  # type: ignore[assignment] # it is only called
        self._direct: Agent | None = None

    async def download_request(self, request: Request) -> Response:
        """See :class:`scrapy.core.downloader.handlers.DownloadHandlerProtocol`.

        :raises FetchError: for requests with a sink; Scrapy's own exceptions for others.
        """
        sink: RangeSink | None = request.meta.get(META_SINK)
        if sink is None:
            return await self._plain.download_request(request)
        if sink.stopped is not None:
            raise sink.stopped
        url = urldefrag(request.url)[0]
        try:
            return await self._stream(request, url, sink)
        except Exception as error:
            reason = translated(error, url, request.meta.get("proxy"))
            if sink.stopped is not None:
                reason = sink.stopped
            if reason is error:
                raise
            raise reason from error

    async def close(self) -> None:
        """See :class:`scrapy.core.downloader.handlers.DownloadHandlerProtocol`."""
        try:
            await self._plain.close()
        finally:
            await super().close()

    async def _stream(self, request: Request, url: str, sink: RangeSink) -> Response:
        size = read_size(self._config.rate_limit, secure=url.startswith("https:"))
        if self._config.rate_limit:
            await _pause(sink, sink.pace(size))
        began = monotonic()
        txresponse = await self._send(request, url, sink)
        # As Scrapy's own, for AutoThrottle.
        request.meta["download_latency"] = monotonic() - began
        headers = plain_headers(dict(txresponse.headers.getAllRawHeaders()))
        if txresponse.length != UNKNOWN_LENGTH:
            headers["content-length"] = str(txresponse.length)
        try:
            answer = Answer(url, txresponse.code, headers)
            await sink.prepare(answer)
            wanted = sink.begin(answer)
            await self._read(url, txresponse, sink if wanted else None, sink.attach, size)
        except BaseException:
            abort(txresponse)
            raise
        shown = Headers(txresponse.headers.getAllRawHeaders())
        # There is no body in it for a middleware to decode.
        shown.pop("Content-Encoding", None)
        return Response(url, status=txresponse.code, headers=shown)

    async def _send(self, request: Request, url: str, sink: RangeSink) -> TxResponse:
        timeout = self._config.connect_timeout
        agent = self._agent(request, timeout)
        headers = TxHeaders(request.headers)
        for name, value in sink.request_headers().items():
            headers.setRawHeaders(name.encode(), [value.encode("latin-1")])
        if isinstance(agent, _TunnelingAgent):
            headers.removeHeader(b"Proxy-Authorization")
        answer = cast(
            "Deferred[TxResponse]", agent.request(b"GET", url.encode("ascii"), headers, None)
        )
        timed_out = asyncio.Event()

        def give_up() -> None:
            timed_out.set()
            answer.cancel()

        late = asyncio.get_running_loop().call_later(timeout, give_up)
        try:
            sink.attach(answer.cancel)
            return await maybe_deferred_to_future(answer)
        except Exception as error:
            if not timed_out.is_set():
                raise
            raise reasons.silent(redact(url), timeout) from error
        finally:
            late.cancel()

    def _agent(self, request: Request, timeout: float) -> Agent:
        if not request.meta.get("proxy") and not request.meta.get("bindaddress"):
            if self._direct is None:
                self._direct = _DirectAgent(self._scrapys_agent(request, timeout))
            return self._direct
        return self._scrapys_agent(request, timeout)

    def _scrapys_agent(self, request: Request, timeout: float) -> Agent:
        agents = _ScrapyAgent(
            contextFactory=self._contextFactory,
            bindAddress=self._bind_address,
            pool=self._pool,
            crawler=self._crawler,
        )
        return agents._get_agent(request, timeout)

    async def _read(
        self,
        url: str,
        txresponse: TxResponse,
        sink: RangeSink | None,
        attach: Callable[[Callable[[], None]], None],
        size: int,
    ) -> None:
        """Deliver the body to the sink; without one, read a short body and drop a long one.

        :param size: see :class:`BodyReader`.
        """
        # Twisted gives a number, or UNKNOWN_LENGTH, a constant.
        length: Any = txresponse.length
        if length == 0:
            return
        if sink is None and length is not UNKNOWN_LENGTH and length > BodyReader.SHORT:
            abort(txresponse)
            return
        reader = BodyReader(redact(url), txresponse, sink, self._config, size)
        attach(reader.stop)
        reader.start()
        await maybe_deferred_to_future(reader.finished)


class RangeHTTPSDownloadHandler(RangeHTTPDownloadHandler):
    """The same for https."""

    scheme = "https"


class _DirectAgent(_BindAddressAgent):
    """Scrapy's agent for requests without a proxy, which remembers its endpoints.

    To make one for each request takes a fiftieth of the time of a small file.

    :param agent: such an agent.
    """

    def __init__(self, agent: Agent) -> None:
        self._init(agent._reactor, agent._endpointFactory, agent._pool)  # type: ignore[no-untyped-call]
        self._endpoints: dict[tuple[bytes, bytes, int], IStreamClientEndpoint] = {}

    def _getEndpoint(self, uri: URI) -> IStreamClientEndpoint:
        key = (uri.scheme, uri.host, uri.port)
        if key not in self._endpoints:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                self._endpoints.clear()
            self._endpoints[key] = super()._getEndpoint(uri)  # type: ignore[no-untyped-call]
        return self._endpoints[key]


async def _pause(sink: RangeSink, seconds: float) -> None:
    """Wait before a request is sent.

    :raises Stopped: or another reason, at once when the sink is stopped meanwhile.
    """
    stopped = asyncio.Event()
    sink.attach(stopped.set)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopped.wait()
    if sink.stopped is not None:
        raise sink.stopped
