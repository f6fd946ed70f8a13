"""AutoThrottle for ranges: Scrapy's own takes their status (206) for that of an error.

It would never come down from ``AUTOTHROTTLE_START_DELAY`` on a host that only has files.
"""

from __future__ import annotations

from typing import Self

from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.http import Response

from fetcher.contract import META_SINK


class RangeThrottle:
    """Adjusts the delay of a host's slot after each range, by the rule of Scrapy's AutoThrottle.

    See https://docs.scrapy.org/en/latest/topics/autothrottle.html#throttling-algorithm
    """

    def __init__(self, crawler: Crawler) -> None:
        settings = crawler.settings
        self._crawler = crawler
        self._least = settings.getfloat("DOWNLOAD_DELAY")
        self._most = settings.getfloat("AUTOTHROTTLE_MAX_DELAY")
        self._concurrency = settings.getfloat("AUTOTHROTTLE_TARGET_CONCURRENCY")
        if not settings.getbool("AUTOTHROTTLE_ENABLED") or self._concurrency <= 0:
            raise NotConfigured

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        throttle = cls(crawler)
        crawler.signals.connect(throttle.adjust, signal=signals.response_downloaded)
        return throttle

    def adjust(self, response: Response, request: Request) -> None:
        """A response has come; that to the whole of a file (200) is AutoThrottle's own."""
        latency = request.meta.get("download_latency")
        if response.status != 206 or META_SINK not in request.meta or latency is None:
            return
        slot = self._crawler.engine.downloader.slots.get(request.meta["download_slot"])
        if slot is not None:
            target = latency / self._concurrency
            delay = max(target, (slot.delay + target) / 2)
            slot.delay = min(max(self._least, delay), self._most)
