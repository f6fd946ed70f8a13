"""The item pipeline's last step: counts what has become of the files, in the crawl's stats."""

from __future__ import annotations

from typing import Self

from scrapy.crawler import Crawler
from scrapy.statscollectors import StatsCollector

from fetcher.contract import (
    STAT_FILES,
    STAT_RECEIVED,
    STAT_RESTARTS,
    STAT_RESUMED,
    STAT_RETRIES,
)
from fetcher.items import FileItem


class CountPipeline:
    """After all steps that may still fail a file. Other items pass untouched."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        return cls(crawler)

    def process_item(self, item: object) -> object:
        """See Scrapy's documentation of item pipelines."""
        if isinstance(item, FileItem):
            count(self._crawler.stats, item)
        return item


def count(stats: StatsCollector, item: FileItem) -> None:
    """Put down what has become of a file."""
    stats.inc_value(STAT_FILES.format(status=item.status))
    for name, number in (
        (STAT_RECEIVED, item.received),
        (STAT_RESUMED, item.resumed),
        (STAT_RETRIES, item.retries),
        (STAT_RESTARTS, item.restarts),
    ):
        if number:
            stats.inc_value(name, number)
