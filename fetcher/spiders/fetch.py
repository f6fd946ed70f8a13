"""The spider ``fetch``: reads a list, yields one request a file, and turns answers into items."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any, Self

from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import CloseSpider
from scrapy.http import Response
from scrapy.settings import SETTINGS_PRIORITIES, BaseSettings
from scrapy.utils.asyncio import run_in_thread
from twisted.python.failure import Failure

from fetcher.config import Config, unknown_settings
from fetcher.contract import (
    META_FETCH,
    UNUSABLE,
    FileMeta,
    ListProgress,
    list_opened,
    stopping,
    unusable,
)
from fetcher.errors import FetchError, QueueError, Stopped
from fetcher.extensions.report import keep_report
from fetcher.items import FileItem
from fetcher.lists import BROKEN_LIST, BadRow, NamedRow, Naming, Row, Rows
from fetcher.queue.plan import QueuePlan
from fetcher.rules.headers import merge_headers
from fetcher.rules.urls import redact
from fetcher.spiders.assignment import Assignment, prepare
from fetcher.spiders.audience import Audience
from fetcher.spiders.bookmark import Bookmark
from fetcher.spiders.inputs import Inputs
from fetcher.spiders.standing import Standing
from fetcher.spiders.supply import ListSupply, Supply, named_rows

BROKEN_QUEUE = "(the queue)"
"""The name in the item of a queue that is out of reach for too long."""

_LAST_WORD = SETTINGS_PRIORITIES["cmdline"] + 1
"""Above the command line, whose settings Scrapy puts over those of a spider once more."""


class FetchSpider(Spider):
    """Fetches the files of a list.

    Arguments, all optional but one of the first two:

    :param urls: the list: a path, an address of one of the schemes of files, or ``-`` for standard
        input.
    :param url: one or more addresses, separated by white space.
    :param out: the output folder; default: ``FETCHER_OUTPUT_DIR`` and in it the list's name.
    :param format: ``tsv``, ``csv``, ``txt``, ``jsonl``, ``aria2`` or ``metalink``; default: told
        from the list.
    :param shard: ``i/n``: only the files whose names hash to shard i of n.
    :param checksums: a file of checksums as ``sha256sum`` writes it, for the rows of the same
        names: a path, an address, or ``-`` for standard input.
    """

    name = "fetch"

    def __init__(self, assignment: Assignment, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out = assignment.out
        self.report = assignment.report.as_uri().replace("file:", "report:", 1)
        self.state: dict[str, Any] = {}
        self._assignment = assignment
        self._inputs = Inputs(assignment)
        self._naming = Naming(fold=assignment.folds_names)
        self._progress = ListProgress()
        self._supply: Supply | None = None
        self._standing: Standing | None = None

    @classmethod
    def update_settings(cls, settings: BaseSettings) -> None:
        """Leave room for all ranges of all files at a time; see ``CONCURRENT_REQUESTS``.

        And Scrapy's handler reads ``DOWNLOAD_MAXSIZE`` as a number, which here may be ``16M``.
        The report stays where other feeds are given.
        """
        super().update_settings(settings)
        config = Config.from_settings(settings)
        settings.set("DOWNLOAD_MAXSIZE", config.max_size, priority=_LAST_WORD)
        keep_report(settings, _LAST_WORD)
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
        for sentence in unknown_settings(crawler.settings):
            spider.logger.warning(sentence)
        crawler.signals.connect(spider.stop_waiting, signal=stopping)
        crawler.signals.connect(spider.note_item, signal=signals.item_scraped)
        crawler.signals.connect(spider.note_loss, signal=signals.item_dropped)
        crawler.signals.connect(spider.note_loss, signal=signals.item_error)
        crawler.signals.connect(spider.close_list, signal=signals.spider_closed)
        return spider

    async def start(self) -> AsyncIterator[Any]:
        """One request a file, as many as the crawl can take up; bad rows become failed items."""
        queued = self._assignment.queue is not None
        if (queued or not self._inputs.ready) and not await self._receive():
            return
        self.crawler.signals.send_catch_log(list_opened, progress=self._progress)
        audience = Audience(self.crawler, self)
        if audience.whole:
            self._standing = self._look_for_standing()
        supply = self._supply = self._supply or self._open_list()
        try:
            async for rows in supply:
                for named in await self._tell_standing(rows, audience):
                    yield self._entry(named)
                    await self._room()
        except FetchError as error:
            # It broke off; what it gave so far goes on.
            what = BROKEN_QUEUE if isinstance(error, QueueError) else BROKEN_LIST
            yield _failed(what, None, error)

    def parse(self, response: Response, **kwargs: Any) -> Iterator[FileItem]:
        """The item that the range middleware made of a file."""
        item = getattr(response, "item", None)
        if item is not None and not (self._supply and self._supply.leaves(item)):
            yield item

    def failed(self, failure: Failure) -> Iterator[FileItem]:
        """A file whose request came to nothing by an error of this program or of a plug-in."""
        request: Request = failure.request  # type: ignore[attr-defined]
        meta: FileMeta = request.meta[META_FETCH]
        error = failure.value or RuntimeError("no reason given")
        if not isinstance(error, FetchError):
            self.logger.error("%s failed", meta["name"], exc_info=error)
        yield _failed(meta["name"], request.url, error, meta["line"], meta.get("number"))

    def note_item(self, item: object) -> None:
        """An item has passed the pipelines."""
        if isinstance(item, FileItem) and self._supply is not None:
            self._supply.settle(item)

    def note_loss(self, item: object) -> None:
        """An item has been dropped by a pipeline."""
        if isinstance(item, FileItem) and self._supply is not None:
            self._supply.lose(item)

    def stop_waiting(self) -> None:
        """The crawl begins to stop: what is not there yet is not waited for."""
        self._inputs.stop()
        for waiting in (self._standing, self._supply):
            if waiting is not None:
                waiting.stop()

    async def close_list(self, reason: str) -> None:
        """Let go of the list."""
        if self._supply is not None:
            self._supply.stop()
        whole = self._supply is not None and self._supply.whole
        if whole and reason == "finished" and self._inputs.sums is not None:
            for sentence in await run_in_thread(self._inputs.sums.leftovers):
                self.logger.warning("%s", sentence)
        await self._inputs.close()
        if self._supply is not None:
            await self._supply.close()
        if self._standing is not None:
            await run_in_thread(self._standing.close)
        self._inputs.forget()
        self._naming.close()

    async def _receive(self) -> bool:
        """Wait for what lies elsewhere; whether it is there.

        :raises CloseSpider: it cannot be used.
        """
        engine = self.crawler.engine
        # Nothing begins before it is known what there is to do, not even what a job folder holds.
        engine.pause()
        try:
            await self._inputs.receive(engine.download_async)
            if self._assignment.queue is not None:
                await self._join(self._assignment.queue)
        except Stopped:
            return False
        except FetchError as error:
            answers = self.crawler.signals.send_catch_log(unusable, error=error)
            if not any(answer is True for _, answer in answers):
                self.logger.error("%s", error.message)
            raise CloseSpider(UNUSABLE) from error
        engine.unpause()
        if self._inputs.sums is not None and self._inputs.sums.bad_lines:
            self.logger.warning("%s", self._inputs.sums.bad_lines)
        return True

    async def _room(self) -> None:
        """Wait until the engine takes more; ``start()`` would put the whole list in memory.

        See https://docs.scrapy.org/en/latest/topics/spiders.html#start-requests-lazy
        """
        if self.crawler.engine.needs_backout():
            await self.crawler.signals.wait_for(signals.scheduler_empty)

    def _open_list(self) -> Supply:
        bookmark = Bookmark(self.state, self._inputs.version)
        if bookmark.changed:
            self.logger.info("the list has changed since: it is read from its start")
        rows = partial(named_rows, self._inputs, self._name, self._assignment.shard)
        return ListSupply(rows, bookmark, self._progress)

    async def _join(self, plan: QueuePlan) -> None:
        """:raises QueueError: see :meth:`QueueSupply.join`."""
        # What it needs takes a tenth of a second to load.
        from fetcher.queue.supply import QueueSupply

        version = await run_in_thread(self._inputs.digest)
        parallel = Config.from_settings(self.crawler.settings).max_parallel
        self._supply = supply = QueueSupply(
            self.crawler, plan, version, self._rows_anew, parallel, self._progress
        )
        await supply.join()

    def _rows_anew(self, start: int) -> Iterator[NamedRow[Row | BadRow]]:
        """All rows behind ``start``; any number of times."""
        naming = Naming(fold=self._assignment.folds_names)
        try:
            yield from named_rows(self._inputs, naming.assign, None, start)
        finally:
            naming.close()

    async def _tell_standing(self, rows: Rows, audience: Audience) -> Rows:
        """Report the files that are there; the other rows."""
        if self._standing is None:
            return rows
        wanted = [
            NamedRow(number, row, name, sums)
            for number, row, name, sums in rows
            if isinstance(row, Row)
        ]
        items = await run_in_thread(self._standing.items, wanted)
        if not items:
            return rows
        await audience.tell(list(items.values()))
        return [named for named in rows if named.number not in items]

    def _look_for_standing(self) -> Standing | None:
        """What tells rows whose files are there; None where more is to be done with such files."""
        config = Config.from_settings(self.crawler.settings)
        return Standing(self.out) if config.if_exists == "skip" and not config.unpack else None

    def _entry(self, named: NamedRow[Row | BadRow]) -> Request | FileItem:
        number, row, name, sums = named
        if isinstance(row, BadRow):
            shown = row.name or row.url or ""
            return _failed(shown, row.url, row.error, row.line or None, number)
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
            meta={META_FETCH: {**self._meta(row, name), "number": number, "sums": sums}},
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
            number=None,
            size=row.size,
            checksum=row.checksum,
            sums=None,
            variant=NamedRow(0, row, name).variant,
            mirrors=[self._assignment.credentials.split(mirror) for mirror in row.mirrors],
            unused=row.unused,
            kept=self._kept(row),
            pieces=row.pieces.plain() if row.pieces else None,
            splits=row.splits,
            tries=None,
            if_exists=None,
            only=None,
        )

    def _kept(self, row: Row) -> list[str]:
        """See :class:`FileMeta`."""
        credentials = self._assignment.credentials
        given = {name.lower() for name, _ in (*self._assignment.headers, *row.headers)}
        known = {"authorization": credentials.remembers(row.url)}
        known["cookie"] = credentials.cookies(credentials.split(row.url)[0]) is not None
        kept = [name for name, is_known in known.items() if is_known and name not in given]
        return kept + [mirror for mirror in row.mirrors if credentials.remembers(mirror)]


def _failed(
    name: str,
    url: str | None,
    error: BaseException,
    line: int | None = None,
    number: int | None = None,
) -> FileItem:
    message = error.message if isinstance(error, FetchError) else str(error)
    item = FileItem(
        status="failed",
        name=name,
        url=redact(url) if url else None,
        error={"type": type(error).__name__, "message": message, "line": line},
    )
    item.line, item.number, item.exception = line, number, error
    return item
