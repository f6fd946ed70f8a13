"""Rows out of a queue that this crawl shares with others, and the list's way into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import suppress

from scrapy.crawler import Crawler
from scrapy.utils.asyncio import run_in_thread

from fetcher.contract import STAT_QUEUE, ListProgress, file_started
from fetcher.errors import (
    DiskFullError,
    FetchError,
    InvalidRowError,
    LockedError,
    QueueError,
)
from fetcher.items import FileItem
from fetcher.lists import BROKEN_LIST, BadRow, NamedRow, Row, Rows
from fetcher.lists.feed import RowFeed
from fetcher.queue.loader import Loader
from fetcher.queue.plan import QueuePlan
from fetcher.queue.rows import encode
from fetcher.queue.worker import POLL_SECONDS, Worker


class QueueSupply:
    """A :class:`fetcher.spiders.supply.Supply`.

    :param version: tells the list from others.
    :param rows: gives the named rows behind the first so many, from a list that is opened anew.
    :param parallel: files at a time.
    :param progress: kept up to date.
    """

    def __init__(
        self,
        crawler: Crawler,
        plan: QueuePlan,
        version: str,
        rows: Callable[[int], Iterator[NamedRow[Row | BadRow]]],
        parallel: int,
        progress: ListProgress,
    ) -> None:
        self.whole = False
        self._crawler = crawler
        self._rows = rows
        self._worker = Worker(plan, version, parallel, progress)
        self._tasks: list[asyncio.Task[None]] = []
        self._feed: RowFeed[tuple[int, str]] | None = None
        crawler.signals.connect(self._worker.watch, signal=file_started)

    async def join(self) -> None:
        """Begin.

        :raises QueueError: the queue is at work on another list, or is out of reach.
        """
        await self._worker.join()
        for endless in (self._worker.keep_alive(), self._keep_loaded()):
            task = asyncio.ensure_future(endless)
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def __aiter__(self) -> AsyncIterator[Rows]:
        async for rows in self._worker:
            self._crawler.stats.set_value(STAT_QUEUE, self._worker.turn.left)
            yield rows
        self._crawler.stats.set_value(STAT_QUEUE, self._worker.turn.left)

    def leaves(self, item: FileItem) -> bool:
        """See :class:`Supply`: whoever holds the file is not yet done with it."""
        if item.number is None or not item.failed_by(LockedError):
            return False
        self._worker.give_back(item.number, later=True)
        return True

    def settle(self, item: FileItem) -> None:
        """See :class:`Supply`."""
        if item.number is None:
            return
        if item.was_stopped:
            self._worker.give_back(item.number, later=False)
        elif item.failed_by(DiskFullError):
            # Else this worker would fail one row after the other, which others have room for.
            self._worker.give_back(item.number, later=True)
            self._worker.fail(
                QueueError(
                    "the disk is full, so this worker takes no more rows of the queue: make room "
                    "and start it again; other workers go on"
                )
            )
        else:
            self._worker.settle(item.number, item.status)

    def lose(self, item: FileItem) -> None:
        """See :class:`Supply`."""
        if item.number is not None:
            self._worker.settle(item.number, "failed")

    def stop(self) -> None:
        """See :class:`Supply`."""
        self._worker.stop()
        if self._feed is not None:
            self._feed.close()
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """See :class:`Supply`."""
        self.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._worker.close()
        if self._feed is not None:
            await run_in_thread(self._feed.join)

    async def _keep_loaded(self) -> None:
        loader = Loader(self._worker.client, self._texts)
        while True:
            # Later, too: a Redis that was killed may have forgotten rows that it had.
            if not self._worker.turn.whole:
                await loader.run()
            await asyncio.sleep(POLL_SECONDS)

    async def _texts(self, at: int) -> AsyncGenerator[list[tuple[int, str]], None]:
        """The rows behind number ``at``, for :class:`Loader`."""
        texts = ((named.number, encode(named)) for named in self._rows(at))
        self._feed = feed = RowFeed(texts, lambda each: len(each[1]), ListProgress())
        last = at
        try:
            async for several in feed:
                last = several[-1][0]
                yield several
            self.whole = at == 0
        except FetchError as error:
            # It broke off; that is reported in place of its next row.
            row = BadRow(0, InvalidRowError(error.message), BROKEN_LIST)
            yield [(last + 1, encode(NamedRow(last + 1, row, "")))]
        finally:
            feed.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        with suppress(asyncio.CancelledError):
            error = task.exception()
            if error is not None:
                self._worker.fail(error)
