"""``retry.tsv`` beside the report: the failed rows, as a list to be given back.

Unlike the report, it has the addresses whole, with logins and signatures: without them it would be
of no use. So it is for its owner alone (mode 0600).
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import unquote, urlsplit

from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.utils.asyncio import run_in_thread

from fetcher.contract import META_FETCH, STAT_UNREPORTED, plain_headers
from fetcher.extensions.report import ReportFile
from fetcher.items import FileItem
from fetcher.rules.names import url_name
from fetcher.rules.urls import join_credentials

logger = logging.getLogger(__name__)

HEADER = b"name\turl\tsize\tchecksum\tmirrors\n"
"""Also tells one of ours from somebody's file."""


class RetryList:
    """Extension: writes the list while files fail, and gives it its name at the end of the crawl.

    What is no row that could be tried again is not in it: a row that cannot be used as it is, and a
    row with headers of its own, which a table has no place for.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._path: Path | None = None
        self._file: ReportFile | None = None
        self._is_source = False
        self._rows = 0
        self._left_out = 0

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
        """Take room for the list now: a full disk is what makes rows fail."""
        report = getattr(spider, "report", None)
        if not isinstance(report, str):
            return
        path = Path(unquote(urlsplit(report).path))
        self._path = path.with_name("retry" + path.stem.removeprefix("report") + ".tsv")
        with suppress(OSError):
            self._is_source = self._path.samefile(getattr(spider, "urls", None) or os.devnull)
        self._file = ReportFile(self._path, 0o600)

    def item_scraped(self, item: Any, response: Any) -> None:
        """Put a failed row down."""
        if self._file is None or not isinstance(item, FileItem) or item.status != "failed":
            return
        request = getattr(response, "request", None)
        if not isinstance(request, Request) or META_FETCH not in request.meta:
            return
        line = _line(request)
        if line is None:
            self._left_out += 1
            return
        if not self._rows:
            self._file.write(HEADER)
        self._rows += 1
        self._file.write(line)

    async def spider_closed(self, spider: Spider, reason: str) -> None:
        """Put the list in its place, or take away one that is of no use any more."""
        if self._path is None or self._file is None:
            return
        try:
            await run_in_thread(self._finish, self._path, self._file, reason == "finished")
        finally:
            self._file.discard()

    def _finish(self, path: Path, file: ReportFile, finished: bool) -> None:
        if self._left_out:
            logger.warning(
                "%d failed rows are not in %s: it has no place for their headers; run the same "
                "list again for them",
                self._left_out,
                path,
            )
        if self._is_source and not finished:
            # It also has rows that did not have their turn.
            return
        if not self._rows and not finished:
            return
        if not _is_ours(path):
            if self._rows:
                logger.warning(
                    "the failed rows are not written down, as %s is somebody else's: move it away",
                    path,
                )
            return
        if self._rows:
            self._publish(path, file)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _publish(self, path: Path, file: ReportFile) -> None:
        file.publish()
        if file.lost or file.reason:
            self._crawler.stats.inc_value(STAT_UNREPORTED)
            logger.error(
                "%s lacks %d rows: %s; make room and run the same list again",
                path,
                min(max(file.lost, 1), self._rows),
                file.reason,
            )
        else:
            logger.debug("%d failed rows are in %s", self._rows, path)


def _line(request: Request) -> bytes | None:
    """The row of a file's request; None where a table cannot hold it."""
    meta = cast("Mapping[str, Any]", request.meta[META_FETCH])
    # What stands in files of the user's own is found there again.
    kept = set(meta.get("kept") or ())
    headers = {
        name: value for name, value in plain_headers(request.headers).items() if name not in kept
    }
    url = join_credentials(request.url, headers.pop("authorization", None))
    if url is None or headers:
        return None
    mirrors = [
        address if address in kept else join_credentials(address, authorization)
        for address, authorization in meta.get("mirrors") or ()
    ]
    name = meta["name"]
    if not meta["named"] and name == url_name(url):
        # It comes by its name as it did before: what the server calls it is remembered by address.
        name = ""
    checksum = meta["checksum"] or meta.get("sums")
    fields = (name, url, meta["size"], checksum, " ".join(filter(None, mirrors)))
    return ("\t".join("" if field is None else str(field) for field in fields) + "\n").encode()


def _is_ours(path: Path) -> bool:
    """Whether nothing stands there, or a list of ours."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and os.read(fd, len(HEADER)) == HEADER
    except OSError:
        return False
    finally:
        os.close(fd)
