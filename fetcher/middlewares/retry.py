"""Retries of range requests: as resume, with back-off, ``Retry-After``, and credit for progress."""

from __future__ import annotations

from typing import Any

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.retry import RetryMiddleware
from scrapy.exceptions import DownloadTimeoutError
from scrapy.http import Response
from scrapy.settings import BaseSettings
from scrapy.signalmanager import SignalManager

from fetcher.config import Config
from fetcher.contract import META_SINK, RangeSink, retried
from fetcher.rules.backoff import retry_after


class ResumeRetryMiddleware(RetryMiddleware):
    """Scrapy's retries for other requests; for ranges, the sink's own count and waiting.

    The repeated request asks only for what is missing, because the handler reads its ``Range`` from
    the sink at the moment of sending.
    """

    def __init__(self, settings: BaseSettings) -> None:
        super().__init__(settings)
        self._config = Config.from_settings(settings)
        self._signals: SignalManager | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ResumeRetryMiddleware:
        """See Scrapy's documentation of components."""
        middleware: ResumeRetryMiddleware = super().from_crawler(crawler)
        middleware._signals = crawler.signals
        return middleware

    async def process_response(  # type: ignore[override]
        self, request: Request, response: Response, spider: Any = None
    ) -> Request | Response:
        """Repeat what was answered with one of ``RETRY_HTTP_CODES``."""
        sink = request.meta.get(META_SINK)
        if sink is None:
            return super().process_response(request, response)
        if response.status not in self.retry_http_codes:
            return response
        header = response.headers.get("Retry-After")
        asked = retry_after(header.decode("latin-1") if header else None)
        return await self._again(request, sink, str(response.status), asked) or response

    async def process_exception(  # type: ignore[override]
        self, request: Request, exception: Exception, spider: Any = None
    ) -> Request | Response | None:
        """Repeat what failed in a way that may pass."""
        sink = request.meta.get(META_SINK)
        if sink is None:
            return super().process_exception(request, exception)
        if not getattr(exception, "retryable", False):
            return None
        silent = isinstance(exception, DownloadTimeoutError)
        return await self._again(request, sink, type(exception).__name__, silent=silent)

    async def _again(
        self,
        request: Request,
        sink: RangeSink,
        reason: str,
        asked: float | None = None,
        *,
        silent: bool = False,
    ) -> Request | None:
        delay = sink.next_try(silent=silent)
        if delay is None:
            return None
        if asked is not None:
            delay = max(delay, min(asked, self._config.max_retry_after))
        if self._signals is not None:
            self._signals.send_catch_log(retried, reason=reason)
        await sink.pause(delay)
        return request.copy()
