"""Where Scrapy's feed exports put the report: aside while it grows, then under its name.

So the report of the run before stays until there is another, two runs in one folder do not write
into each other's, and a disk that the files have filled still takes it.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Self, cast
from urllib.parse import unquote, urlsplit

from scrapy import Spider
from scrapy.crawler import Crawler
from scrapy.settings import BaseSettings

from fetcher.contract import STAT_UNREPORTED, unusable
from fetcher.disk.allocation import allocate
from fetcher.rules.names import STATE_FOLDER

logger = logging.getLogger(__name__)

SCHEME = "report"
"""Of the addresses in ``FEEDS`` that lead here."""

FEED = {
    "%(report)s": {
        "format": "jsonlines",
        "encoding": "utf8",
        "overwrite": True,
        "item_classes": ["fetcher.items.FileItem"],
    }
}
"""The report's entry in ``FEEDS``, as the settings have it, too."""

ROOM = 1 << 20
"""Bytes that are reserved for the report: some thousands of rows."""

BLOCK = 64 << 10
"""Bytes that are written at a time."""


class ReportFile(io.RawIOBase):
    """The report while it grows; takes every line, and notes which did not fit.

    :param path: its final name.
    :param mode: of the file, before the umask.

    :ivar lost: lines that could not be written.
    :ivar reason: why, as the system says it.
    """

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        self.lost = 0
        self.reason = ""
        self._lines = 0
        self._size = 0
        self._waiting = bytearray()
        self._path = path
        self._fd = -1
        folder = path.parent / STATE_FOLDER
        self._aside = folder / f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_leftovers(folder, path.name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._aside, flags, mode)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            allocate(self._fd, 0, ROOM)
        except OSError as error:
            self.reason = os.strerror(error.errno or 0)

    def writable(self) -> bool:
        """See :class:`io.RawIOBase`."""
        return True

    def write(self, data: Any) -> int:
        """Take some lines, whole ones; few of them wait until there are more."""
        self._waiting += data
        if len(self._waiting) >= BLOCK:
            self.settle()
        return len(data)

    def settle(self) -> None:
        """Write what waits, as many lines of it as there is room for."""
        data = bytes(self._waiting)
        self._waiting.clear()
        if not self._put(data):
            # Some of them may fit all the same.
            for line in data.splitlines(keepends=True):
                self.lost += not self._put(line)

    def publish(self) -> None:
        """Give the report its name; waits for the disk."""
        self.settle()
        if self._fd < 0:
            return
        try:
            # Gives back what was reserved and not used.
            os.ftruncate(self._fd, self._size)
            os.fsync(self._fd)
            self._aside.rename(self._path)
        except OSError as error:
            self.reason = os.strerror(error.errno or 0)
            self.lost += self._lines
        finally:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """There is nothing to give a name to; once :meth:`publish` has been called, do nothing."""
        if self._fd >= 0:
            with suppress(OSError):
                self._aside.unlink()
            os.close(self._fd)
            self._fd = -1

    def _put(self, data: bytes) -> bool:
        """Write all of it, or nothing."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            self.reason = os.strerror(error.errno or 0)
            with suppress(OSError):
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, self._size, os.SEEK_SET)
            return False
        self._size += len(data)
        self._lines += data.count(b"\n")
        return True


class ReportStorage:
    """A feed storage for ``report:///path`` (see Scrapy's documentation of feed exports).

    :param uri: where the report belongs.
    """

    def __init__(self, crawler: Crawler, uri: str) -> None:
        self._crawler = crawler
        self._path = Path(unquote(urlsplit(uri).path))
        # Now, not with the first row: the files may have filled the disk by then.
        self._file = ReportFile(self._path)
        # The report of the run before stays.
        crawler.signals.connect(self._file.discard, signal=unusable)

    @classmethod
    def from_crawler(
        cls, crawler: Crawler, uri: str, *, feed_options: dict[str, Any] | None = None
    ) -> Self:
        """See Scrapy's documentation of components."""
        return cls(crawler, uri)

    def open(self, spider: Spider) -> IO[bytes]:
        """The file to write to."""
        return cast("IO[bytes]", self._file)

    def store(self, file: IO[bytes]) -> None:
        """The report is whole."""
        report = self._file
        report.publish()
        if report.lost or report.reason:
            self._crawler.stats.inc_value(STAT_UNREPORTED, max(report.lost, 1))
            logger.error(
                "the report %s is not whole, it lacks %d lines: %s; make room and run again",
                self._path,
                report.lost,
                report.reason,
            )


def keep_report(settings: BaseSettings, priority: int) -> None:
    """Let other feeds stand beside the report, not in its place.

    Who gives some (``-s FEEDS=``, ``-o``, and Scrapyd for its items) gives all of ``FEEDS``. Where
    there are none at all, no report is wanted.
    """
    feeds = settings.getdict("FEEDS")
    if feeds:
        settings.set("FEEDS", FEED | feeds, priority=priority)


def _remove_leftovers(folder: Path, name: str) -> None:
    """Remove what killed runs have left: nobody holds a lock on it."""
    for path in folder.glob(f"{name}.*"):
        with suppress(OSError):
            # What is no regular file is not ours, and opening a pipe might wait for ever.
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(fd)
