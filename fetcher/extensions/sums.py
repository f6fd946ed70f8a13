"""``SHA256SUMS`` beside the report, for ``sha256sum -c`` and ``scrapy verify``.

Written once, when the crawl has ended: what the run knows, what earlier runs completed, and the
lines of the file before are merged in the order of their names, and the result takes its place.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any, Self

from scrapy import Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.utils.asyncio import run_in_thread

from fetcher.contract import STAT_UNREPORTED
from fetcher.disk.ledger import Ledger
from fetcher.disk.sums import NAME, Found, SumsFile, merged, read_sums, sha256_of
from fetcher.errors import FetchError, ForeignFileError, LockedError, Stopped
from fetcher.extensions.report import ReportFile
from fetcher.items import FileItem
from fetcher.rules.existing import Completed
from fetcher.rules.sums import sums_line

logger = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds to wait for another process that is writing the file."""

STOP_SECONDS = 1.0
"""Seconds that a run which was stopped takes for it; what it lacks then, the next run adds."""

_CHUNK = 2000
"""Lines that are written at a time."""


class Sums:
    """Extension: writes the file at the end of a crawl of the spider ``fetch``."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._out: Path | None = None
        self._found: Found | None = None
        self._file: ReportFile | None = None
        self._deadline = float("inf")

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        if not crawler.settings.getdict("FEEDS"):
            # It stands beside the report. Were a reason given, Scrapy would warn of it.
            raise NotConfigured
        extension = cls(crawler)
        connect = crawler.signals.connect
        connect(extension.spider_opened, signals.spider_opened)
        connect(extension.item_scraped, signals.item_scraped)
        connect(extension.spider_closed, signals.spider_closed)
        return extension

    def spider_opened(self, spider: Spider) -> None:
        """Take room for the file now: the crawl may fill the disk."""
        out = getattr(spider, "out", None)
        if isinstance(out, Path):
            self._out, self._found, self._file = out, Found(), ReportFile(out / NAME)

    def item_scraped(self, item: Any) -> None:
        """Note a file's digest."""
        if self._found is None or not isinstance(item, FileItem) or item.path is None:
            return
        digest = sha256_of(item.checksum)
        status = item.fetched or item.status
        if status == "ok" or (status == "unchanged" and digest is not None):
            self._found.add(item.path, digest)

    async def spider_closed(self, spider: Spider, reason: str) -> None:
        """Write the file."""
        if self._out is None or self._found is None or self._file is None:
            return
        patience = PATIENCE
        if reason != "finished":
            patience = STOP_SECONDS
            self._deadline = time.monotonic() + STOP_SECONDS
        try:
            await run_in_thread(self._write, self._out, self._found, self._file, patience)
        except ForeignFileError as error:
            logger.warning(error.message)
        except Stopped:
            logger.info("%s is left as it was, the next run completes it", self._out / NAME)
        except (FetchError, OSError) as error:
            reasoned = error.message if isinstance(error, LockedError) else error
            self._crawler.stats.inc_value(STAT_UNREPORTED)
            logger.error("%s could not be written: %s; run again", self._out / NAME, reasoned)
        finally:
            self._file.discard()
            self._found.close()

    def _write(self, out: Path, found: Found, file: ReportFile, patience: float) -> None:
        """:raises FetchError: why it is left as it was."""
        target = SumsFile(out)
        with target.locked(patience), target.ours() as (before, old):
            ledger = Ledger(out)
            try:
                lines = merged(
                    found.each(),
                    ledger.each(),
                    read_sums(before or ()),
                    lambda completed: _stands(out, completed),
                )
                new = self._put(file, (sums_line(*entry) for entry in lines))
            finally:
                ledger.close()
            if file.reason:
                raise OSError(file.reason)
            if new in (old, hashlib.sha256().hexdigest()):
                return
            target.remember(new, *([old] if old else []))
            file.publish()
            if file.reason:
                raise OSError(file.reason)

    def _put(self, file: ReportFile, lines: Any) -> str:
        """Write the lines; the hash of them all.

        :raises Stopped: it takes too long.
        """
        digest = hashlib.sha256()
        chunk: list[str] = []
        for line in lines:
            chunk.append(line)
            if len(chunk) == _CHUNK:
                self._put_chunk(file, chunk, digest)
        self._put_chunk(file, chunk, digest)
        return digest.hexdigest()

    def _put_chunk(self, file: ReportFile, chunk: list[str], digest: Any) -> None:
        if time.monotonic() > self._deadline:
            raise Stopped("stopped")
        data = "".join(chunk).encode()
        digest.update(data)
        file.write(data)
        chunk.clear()


def _stands(out: Path, completed: Completed) -> bool:
    try:
        return completed.describes((out / completed.name).lstat())
    except OSError:
        return False
