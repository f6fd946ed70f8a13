"""The item pipeline: verifies what was fetched, and gives it its final name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.statscollectors import StatsCollector
from scrapy.utils.asyncio import run_in_thread

from fetcher.contract import (
    STAT_FILES,
    STAT_RECEIVED,
    STAT_RESTARTS,
    STAT_RESUMED,
    STAT_RETRIES,
    stopping,
)
from fetcher.errors import ChecksumMismatchError, DecodeError, FetchError, Stopped
from fetcher.items import FileItem
from fetcher.rules.urls import redact
from fetcher.transfer.download import Download

_WRONG = (ChecksumMismatchError, DecodeError)
"""Bytes that are not kept: the file is begun anew, once."""


class CommitPipeline:
    """Verify, sync, rename; then count. Other items pass untouched."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._open: set[Download] = set()
        self._stopped: Stopped | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        pipeline = cls(crawler)
        crawler.signals.connect(pipeline.stop, signal=stopping)
        return pipeline

    async def process_item(self, item: object) -> object:
        """See Scrapy's documentation of item pipelines."""
        if isinstance(item, FileItem):
            if item.download is not None:
                item = await self._finish(item, item.download)
            count(self._crawler.stats, item)
        return item

    def stop(self) -> None:
        """Break off verifications; what is there is in the journals."""
        self._stopped = Stopped("stopped before the file was verified: the same command goes on")
        for download in self._open:
            download.stop(self._stopped)

    async def _finish(self, item: FileItem, download: Download) -> FileItem:
        try:
            return await self._commit(item, download)
        except _WRONG as error:
            await run_in_thread(download.discard)
            item = _failed(item, error)
        for request in download.others():
            again = await self._fetch_again(item, request)
            if again is None:
                return _failed(item, self._stopped or Stopped("stopped: run again"))
            item, second = again, again.download
            if second is None:
                continue
            try:
                item = await self._commit(item, second)
            except _WRONG as error:
                await run_in_thread(second.discard)
                if download.brought:
                    item.notes.append(_lied(second.address))
                item = _failed(item, error)
            else:
                if item.status == "ok" and download.brought:
                    known = set(item.notes)
                    blamed = await self._blame(download, second.path)
                    item.notes += [note for note in blamed if note not in known]
                return item
        return item

    async def _blame(self, wrong: Download, right: Path) -> list[str]:
        """Who brought the wrong bytes, a sentence each."""
        self._open.add(wrong)
        try:
            return [_lied(address) for address in await run_in_thread(wrong.liars, right)]
        except FetchError:
            # The file itself is whole and right.
            return []
        finally:
            self._open.discard(wrong)

    async def _commit(self, item: FileItem, download: Download) -> FileItem:
        began = time.monotonic()
        item.download = None
        self._open.add(download)
        try:
            if self._stopped is not None:
                download.stop(self._stopped)
            item.verified_by = await download.verify()
            await download.commit()
        except _WRONG:
            item.download = download
            raise
        except FetchError as error:
            item = _failed(item, error)
        finally:
            self._open.discard(download)
            if item.download is None:
                download.close()
            item.seconds = round(item.seconds + time.monotonic() - began, 3)
        item.size, item.checksum = download.size, download.checksum
        return item

    async def _fetch_again(self, item: FileItem, request: Request) -> FileItem | None:
        """The bytes are wrong: begin the file anew; None when its turn did not come."""
        response = await self._crawler.engine.download_async(request)
        again: FileItem | None = getattr(response, "item", None)
        if again is None:
            return None
        again.received += item.received
        again.retries += item.retries
        again.restarts += item.restarts + 1
        again.seconds += item.seconds
        again.notes = item.notes + again.notes
        return again


def count(stats: StatsCollector, item: FileItem) -> None:
    """Put down in the crawl's statistics what has become of a file."""
    stats.inc_value(STAT_FILES.format(status=item.status))
    for name, number in (
        (STAT_RECEIVED, item.received),
        (STAT_RESUMED, item.resumed),
        (STAT_RETRIES, item.retries),
        (STAT_RESTARTS, item.restarts),
    ):
        if number:
            stats.inc_value(name, number)


def _failed(item: FileItem, error: FetchError) -> FileItem:
    item.status = "failed"
    item.download = None
    item.verified_by = []
    item.exception = error
    item.error = {"type": type(error).__name__, "message": error.message, "line": item.line}
    return item


def _lied(address: str) -> str:
    return f"{redact(address)} served wrong bytes"
