"""Retries of range requests: as resume, with back-off, ``Retry-After``, and credit for progress."""

from __future__ import annotations

from typing import Self

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import DownloadTimeoutError
from scrapy.http import Response

from fetcher.config import Config
from fetcher.contract import META_SINK, RangeSink, retried
from fetcher.rules.backoff import retry_after


class ResumeRetryMiddleware:
    """Repeats ranges by the sink's own count and waiting; other requests pass untouched.

    It stands beside whatever else retries in a project, nearer to the server, and also where
    ``RETRY_ENABLED`` is off: that is about pages, and to go on is what a range is for. The repeated
    request asks only for what is missing, because the handler reads its ``Range`` from the sink at
    the moment of sending.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._signals = crawler.signals
        self._config = Config.from_settings(crawler.settings)
        self._statuses = {int(code) for code in crawler.settings.getlist("RETRY_HTTP_CODES")}

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        return cls(crawler)

    async def process_response(self, request: Request, response: Response) -> Request | Response:
        """Repeat what was answered with one of ``RETRY_HTTP_CODES``."""
        sink = request.meta.get(META_SINK)
        if sink is None or response.status not in self._statuses:
            return response
        header = response.headers.get("Retry-After")
        asked = retry_after(header.decode("latin-1") if header else None)
        return await self._again(request, sink, str(response.status), asked) or response

    async def process_exception(self, request: Request, exception: Exception) -> Request | None:
        """Repeat what failed in a way that may pass."""
        sink = request.meta.get(META_SINK)
        if sink is None or not getattr(exception, "retryable", False):
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
        self._signals.send_catch_log(retried, reason=reason)
        await sink.pause(delay)
        return request.copy()
