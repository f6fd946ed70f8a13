"""Makes one SIGINT, SIGTERM or ``CLOSESPIDER_*`` end the running transfers at once.

Scrapy waits for requests in flight, which for a large file may be hours, and sends no signal when
stopping begins. So this looks ten times a second whether it has begun, and tells who transfers.
"""

from __future__ import annotations

from typing import Self

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.utils.asyncio import create_looping_call
from twisted.python.failure import Failure

from fetcher.contract import META_SINK, stopping

INTERVAL = 0.1
"""Seconds between two looks."""


class Shutdown:
    """Sends :data:`fetcher.contract.stopping` once, when the crawl begins to stop."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._look = create_looping_call(self._check)
        self._sent = False

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        extension = cls(crawler)
        crawler.signals.connect(extension.open, signal=signals.engine_started)
        crawler.signals.connect(extension.close, signal=signals.engine_stopped)
        return extension

    def open(self) -> None:
        """Begin to look."""
        self._look.start(INTERVAL, now=False)

    def close(self) -> None:
        """The engine has stopped."""
        if self._look.running:
            self._look.stop()

    def _check(self) -> None:
        if self._begun() and not self._sent:
            self._sent = True
            self._crawler.signals.send_catch_log(stopping)
        if self._sent:
            self._answer_waiting()

    def _begun(self) -> bool:
        # The slot is private to the engine; nothing public tells that a spider is being closed.
        slot = self._crawler.engine._slot
        return not self._crawler.crawling or slot is None or slot.closing is not None

    def _answer_waiting(self) -> None:
        """Ranges that wait for their turn, or for ``DOWNLOAD_DELAY``, end now; pages still come."""
        for slot in self._crawler.engine.downloader.slots.values():
            for waiting in [each for each in slot.queue if META_SINK in each[0].meta]:
                request, answer = waiting
                reason = request.meta[META_SINK].stopped
                if reason is not None:
                    slot.queue.remove(waiting)
                    answer.errback(Failure(reason))
