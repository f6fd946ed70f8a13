"""The spider ``fetch``: reads a list, yields one request a file, and turns answers into items."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy.settings import SETTINGS_PRIORITIES, BaseSettings
from scrapy.utils.asyncio import run_in_thread
from twisted.python.failure import Failure

from fetcher.config import Config
from fetcher.contract import META_FETCH, FileMeta
from fetcher.errors import FetchError
from fetcher.items import FileItem
from fetcher.lists import BadRow, Naming, Row
from fetcher.rules.headers import merge_headers
from fetcher.rules.urls import redact
from fetcher.spiders.assignment import Assignment, prepare
from fetcher.spiders.feed import RowFeed

BROKEN_LIST = "(the list)"
"""The name in the item of a list that has turned out to be damaged further on."""

_ROWS = "rows"
"""Key of ``spider.state`` (kept in a job folder): rows of the list that were taken up."""

_LAST_WORD = SETTINGS_PRIORITIES["cmdline"] + 1
"""Above the command line, whose settings Scrapy puts over those of a spider once more."""


class FetchSpider(Spider):
    """Fetches the files of a list.

    Arguments, all optional but one of the first two:

    :param urls: the list: a path, or ``-`` for standard input.
    :param url: one or more addresses, separated by white space.
    :param out: the output folder; default: ``FETCHER_OUTPUT_DIR`` and in it the list's name.
    :param format: ``tsv``, ``csv`` or ``txt``; default: told from the list.
    :param shard: ``i/n``: only the files whose names hash to shard i of n.
    """

    name = "fetch"

    def __init__(self, assignment: Assignment, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out = assignment.out
        self.report = assignment.report.as_uri().replace("file:", "report:", 1)
        self.state: dict[str, Any] = {}
        self._assignment = assignment
        self._naming = Naming(fold=assignment.folds_names)
        self._feed: RowFeed | None = None

    @classmethod
    def update_settings(cls, settings: BaseSettings) -> None:
        """Leave room for all ranges of all files at a time; see ``CONCURRENT_REQUESTS``.

        And Scrapy's handler reads ``DOWNLOAD_MAXSIZE`` as a number, which here may be ``16M``.
        """
        super().update_settings(settings)
        config = Config.from_settings(settings)
        settings.set("DOWNLOAD_MAXSIZE", config.max_size, priority=_LAST_WORD)
        least = config.least_concurrent_requests()
        if 0 < settings.getint("CONCURRENT_REQUESTS") < least:
            settings.set("CONCURRENT_REQUESTS", least, priority=_LAST_WORD)

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """See Scrapy's documentation of spiders.

        :raises FetchError: the arguments cannot be used.
        """
        assignment = kwargs.pop("assignment", None) or prepare(kwargs, crawler.settings)
        spider = super().from_crawler(crawler, assignment=assignment, **kwargs)
        crawler.signals.connect(spider.close_list, signal=signals.spider_closed)
        return spider

    async def start(self) -> AsyncIterator[Any]:
        """One request a file, as many as the crawl can take up; bad rows become failed items."""
        done_before = int(self.state.get(_ROWS, 0))
        self._feed = RowFeed(self._assignment)
        count = 0
        try:
            async for row in self._feed:
                count += 1
                entry = self._entry(row)
                if count <= done_before or entry is None:
                    continue
                self.state[_ROWS] = count
                yield entry
                await self._room()
        except FetchError as error:
            # The list broke off; what it gave so far goes on.
            yield _failed(BROKEN_LIST, None, error, None)

    def parse(self, response: Response, **kwargs: Any) -> Iterator[FileItem]:
        """The item that the range middleware made of a file."""
        item = getattr(response, "item", None)
        if item is not None:
            yield item

    def failed(self, failure: Failure) -> Iterator[FileItem]:
        """A file whose request came to nothing by an error of this program or of a plug-in."""
        request: Request = failure.request  # type: ignore[attr-defined]
        meta: FileMeta = request.meta[META_FETCH]
        error = failure.value or RuntimeError("no reason given")
        self.logger.error("%s failed", meta["name"], exc_info=error)
        yield _failed(meta["name"], request.url, error, meta["line"])

    async def close_list(self) -> None:
        """Let go of the list."""
        if self._feed is not None:
            self._feed.close()
        await run_in_thread(self._assignment.close)
        self._naming.close()

    async def _room(self) -> None:
        """Wait until the engine takes more; ``start()`` would put the whole list in memory.

        See https://docs.scrapy.org/en/latest/topics/spiders.html#start-requests-lazy
        """
        if self.crawler.engine.needs_backout():
            await self.crawler.signals.wait_for(signals.scheduler_empty)

    def _entry(self, row: Row | BadRow) -> Request | FileItem | None:
        shard = self._assignment.shard
        if isinstance(row, BadRow):
            if shard is not None and not shard.takes_line(row.line):
                return None
            return _failed(row.name or row.url or "", row.url, row.error, row.line or None)
        # Named before it is passed by: numbers are the same in each shard.
        name = self._name(row)
        if name is None or (shard is not None and not shard.takes(name)):
            return None
        credentials = self._assignment.credentials
        url, authorization = credentials.split(row.url)
        known = (("Authorization", authorization), ("Cookie", credentials.cookies(url)))
        return Request(
            url,
            headers=merge_headers(
                tuple((name, value) for name, value in known if value),
                self._assignment.headers,
                row.headers,
            ),
            meta={META_FETCH: self._meta(row, name)},
            callback=self.parse,
            errback=self.failed,
            dont_filter=True,
        )

    def _name(self, row: Row) -> str | None:
        return self._naming.assign(row)

    def _meta(self, row: Row, name: str) -> FileMeta:
        return FileMeta(
            name=name,
            named=row.name is not None,
            out=str(self.out),
            line=row.line or None,
            size=row.size,
            checksum=row.checksum,
            mirrors=[self._assignment.credentials.split(mirror) for mirror in row.mirrors],
            pieces=row.pieces.plain() if row.pieces else None,
            splits=row.splits,
            tries=None,
            if_exists=None,
            only=None,
        )


def _failed(name: str, url: str | None, error: BaseException, line: int | None) -> FileItem:
    message = error.message if isinstance(error, FetchError) else str(error)
    item = FileItem(
        status="failed",
        name=name,
        url=redact(url) if url else None,
        error={"type": type(error).__name__, "message": message, "line": line},
    )
    item.line, item.exception = line, error
    return item
