"""``retry.tsv`` beside the report: the failed rows, as a list to be given back.

Unlike the report, it has the addresses whole, with logins and signatures: without them it would be
of no use. So it is for its owner alone (mode 0600).
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import unquote, urlsplit

from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.utils.asyncio import run_in_thread

from fetcher.contract import META_FETCH, STAT_RETRY_ROWS, STAT_UNREPORTED, plain_headers
from fetcher.disk.seen import Seen
from fetcher.extensions.report import ReportFile
from fetcher.items import FileItem
from fetcher.rules.names import url_name
from fetcher.rules.urls import join_credentials

logger = logging.getLogger(__name__)

HEADER = b"name\turl\tsize\tchecksum\tmirrors\n"
"""Also tells one of ours from somebody's file."""


class RetryList:
    """Extension: writes the list while files fail, and gives it its name at the end of the crawl.

    Rows of a list before stay in it unless this run has had files of their names: it may have been
    about others, or have been stopped.

    What is no row that could be tried again is not in it: a row that cannot be used as it is, and a
    row with headers of its own, which a table has no place for.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._path: Path | None = None
        self._file: ReportFile | None = None
        self._seen: Seen | None = None
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
        self._path = retry_path(path)
        if self._path.exists():
            self._seen = Seen()
        self._file = ReportFile(self._path, 0o600)

    def item_scraped(self, item: Any, response: Any) -> None:
        """Put a failed row down."""
        request = getattr(response, "request", None)
        if self._file is None or not isinstance(item, FileItem):
            return
        if not isinstance(request, Request) or META_FETCH not in request.meta:
            if self._seen is not None and item.row is not None:
                self._seen.add(item.row)
            return
        if self._seen is not None:
            self._seen.add(request.meta[META_FETCH]["name"])
        if item.status != "failed":
            return
        line = _line(request)
        if line is None:
            self._left_out += 1
            return
        self._write(self._file, line)
        self._crawler.stats.inc_value(STAT_RETRY_ROWS)

    async def spider_closed(self, spider: Spider, reason: str) -> None:
        """Put the list in its place, or take away one that is of no use any more."""
        if self._path is None or self._file is None:
            return
        try:
            await run_in_thread(self._finish, self._path, self._file)
        finally:
            self._file.discard()
            if self._seen is not None:
                self._seen.close()

    def _finish(self, path: Path, file: ReportFile) -> None:
        if self._left_out:
            logger.warning(
                "%d failed rows are not in %s: it has no place for their headers; run the same "
                "list again for them",
                self._left_out,
                path,
            )
        if not _is_ours(path):
            if self._rows:
                logger.warning(
                    "the failed rows are not written down, as %s is somebody else's: move it away",
                    path,
                )
            return
        file.settle()
        failed, lost = self._rows, file.lost
        # Where there was no list before, there is nothing to look through.
        gone = self._copy_others(path, file, self._seen) if self._seen is not None else 0
        file.settle()
        if not failed and not gone:
            return
        if file.lost > lost:
            # Rows of the list before would be lost; it stays as it is.
            if failed:
                self._complain(path, failed, file.reason)
        elif self._rows:
            self._publish(path, file)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _copy_others(self, path: Path, file: ReportFile, seen: Seen) -> int:
        """Take over the rows of the list before that were not this run's; how many were."""
        gone = 0
        for line in _lines(path):
            if _name(line) in seen:
                gone += 1
            else:
                self._write(file, line)
        return gone

    def _write(self, file: ReportFile, line: bytes) -> None:
        if not self._rows:
            file.write(HEADER)
        self._rows += 1
        file.write(line)

    def _publish(self, path: Path, file: ReportFile) -> None:
        file.publish()
        if file.lost or file.reason:
            self._complain(path, min(max(file.lost, 1), self._rows), file.reason)
        else:
            logger.debug("%d failed rows are in %s", self._rows, path)

    def _complain(self, path: Path, count: int, reason: str) -> None:
        self._crawler.stats.inc_value(STAT_UNREPORTED)
        logger.error(
            "%s lacks %d rows: %s; make room and run the same list again", path, count, reason
        )


def retry_path(report: Path) -> Path:
    """Where the list stands beside a report."""
    return report.with_name("retry" + report.stem.removeprefix("report") + ".tsv")


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


def _lines(path: Path) -> Iterator[bytes]:
    """The rows of a list before."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.readline()
        for line in file:
            yield line.rstrip(b"\n") + b"\n"


def _name(line: bytes) -> str:
    """The name that a row's file has; empty where that cannot be told."""
    with suppress(ValueError):
        name, url, *_ = line.decode().split("\t")
        return name or url_name(url)
    return ""


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
