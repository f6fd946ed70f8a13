"""Where a crawl's rows come from, each named and numbered, and who is told what became of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

from scrapy.utils.asyncio import run_in_thread

from fetcher.contract import ListProgress
from fetcher.errors import InvalidRowError
from fetcher.items import FileItem
from fetcher.lists import BadRow, NamedRow, Row, Rows
from fetcher.lists.feed import RowFeed
from fetcher.rules.shards import Shard
from fetcher.rules.urls import redact
from fetcher.spiders.bookmark import Bookmark
from fetcher.spiders.inputs import Inputs


class Supply(Protocol):
    """The rows of this process; iterating gives some at a time, and ends behind the last one.

    :ivar whole: whether the whole list has been read here.
    """

    whole: bool

    def __aiter__(self) -> AsyncIterator[Rows]:
        """:raises FetchError: no more can be had, although there may be more."""

    def leaves(self, item: FileItem) -> bool:
        """Whether the row is left to another process, and so not reported here."""

    def settle(self, item: FileItem) -> None:
        """What has become of a row is in the report."""

    def lose(self, item: FileItem) -> None:
        """Nobody hears of the row any more: a pipeline has dropped its item."""

    def stop(self) -> None:
        """The crawl begins to stop: wait for nothing."""

    async def close(self) -> None:
        """All rows that were given have been settled, or never will be."""


class ListSupply:
    """All rows of a list that an earlier run of the same job has not reported.

    :param rows: gives the named rows behind the first so many; called once.
    :param bookmark: how far earlier runs have come.
    :param progress: kept up to date.
    """

    def __init__(
        self,
        rows: Callable[[int], Iterator[NamedRow[Row | BadRow]]],
        bookmark: Bookmark,
        progress: ListProgress,
    ) -> None:
        self.whole = False
        self._bookmark = bookmark
        self._feed = RowFeed(rows(bookmark.start), lambda named: named.row.memory, progress)

    async def __aiter__(self) -> AsyncIterator[Rows]:
        async for rows in self._feed:
            for named in rows:
                self._bookmark.take(named.number)
            yield rows
        self.whole = True

    def leaves(self, item: FileItem) -> bool:
        """See :class:`Supply`: there is no other."""
        return False

    def settle(self, item: FileItem) -> None:
        """See :class:`Supply`; a file that was stopped is fetched by the next run."""
        if item.number is not None and not item.was_stopped:
            self._bookmark.report(item.number)

    def lose(self, item: FileItem) -> None:
        """See :class:`Supply`: the next run looks at it once more."""

    def stop(self) -> None:
        """See :class:`Supply`: who waits for a row is cancelled."""
        self._feed.close()

    async def close(self) -> None:
        """See :class:`Supply`."""
        self.stop()
        await run_in_thread(self._feed.join)


def named_rows(
    inputs: Inputs, name: Callable[[Row], str | None], shard: Shard | None, start: int
) -> Iterator[NamedRow[Row | BadRow]]:
    """The rows behind the first ``start``, in the thread that asks.

    All are named, whichever run and shard they are for: numbers are the same in each, and so is
    what a file of checksums says of no row at all.

    :param name: a row's name; None for one that was there before.
    :param shard: which of them are wanted; None for all.
    """
    sums = None
    for number, row in enumerate(inputs, 1):
        if isinstance(row, BadRow):
            inputs.note(row)
            wanted, given = shard is None or shard.takes_line(row.line), ""
        else:
            given = name(row) or ""
            wanted = bool(given) and (shard is None or shard.takes(given))
            try:
                sums = inputs.checksum_beside(row, given) if given else None
            except InvalidRowError as error:
                row = BadRow(row.line, error, given, redact(row.url))
        if wanted and number > start:
            yield NamedRow(number, row, given, sums)
