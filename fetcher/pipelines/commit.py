"""The item pipeline: verifies what was fetched, and gives it its final name."""

from __future__ import annotations

from typing import Self

from scrapy import Request
from scrapy.crawler import Crawler

from fetcher.contract import stopping
from fetcher.items import FileItem
from fetcher.transfer.completion import Completion


class CommitPipeline:
    """Verify, sync, rename. Other items pass untouched."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._completion = Completion(self._fetch)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        pipeline = cls(crawler)
        crawler.signals.connect(pipeline.stop, signal=stopping)
        return pipeline

    async def process_item(self, item: object) -> object:
        """See Scrapy's documentation of item pipelines."""
        if isinstance(item, FileItem):
            item = await self._completion.complete(item)
        return item

    def stop(self) -> None:
        """See :meth:`Completion.stop`."""
        self._completion.stop()

    async def _fetch(self, request: Request) -> FileItem | None:
        response = await self._crawler.engine.download_async(request)
        return getattr(response, "item", None)
