"""Makes one SIGINT, SIGTERM or ``CLOSESPIDER_*`` end the running transfers at once.

Scrapy waits for requests in flight, which for a large file may be hours, and sends no signal when
stopping begins. So this looks ten times a second whether it has begun, and tells who transfers.
"""

from __future__ import annotations

from typing import Self

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.utils.asyncio import create_looping_call

from fetcher.contract import stopping

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
            self._flush_delayed()

    def _begun(self) -> bool:
        # The slot is private to the engine; nothing public tells that a spider is being closed.
        slot = self._crawler.engine._slot
        return not self._crawler.crawling or slot is None or slot.closing is not None

    def _flush_delayed(self) -> None:
        """Requests that wait for ``DOWNLOAD_DELAY`` go now: their sinks refuse them at once."""
        downloader = self._crawler.engine.downloader
        for slot in downloader.slots.values():
            if slot.latercall is not None:
                slot.latercall.cancel()
                slot.latercall = None
                slot.delay = 0
                downloader._process_queue(slot)
