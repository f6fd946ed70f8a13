"""What a crawl reads its rows from: brought here where it lies elsewhere, and opened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from scrapy.utils.asyncio import run_in_thread

from fetcher.contract import Send
from fetcher.lists import BadRow, Row, open_list
from fetcher.spiders.assignment import Assignment


class Inputs:
    """The rows of an assignment, once they are there.

    :ivar version: tells the list from another version of it; None where there is no list, or where
        that cannot be told.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._source = assignment.source
        self.version = self._source.version if self._source is not None else None
        self._receiving: asyncio.Future[None] | None = None

    def __iter__(self) -> Iterator[Row | BadRow]:
        yield from self._assignment.rows
        if self._source is not None:
            yield from self._source

    @property
    def ready(self) -> bool:
        """Whether there is nothing to wait for."""
        return self._assignment.remote is None

    async def receive(self, send: Send) -> None:
        """Wait for what is not there yet.

        It has a task of its own: who waits may be cancelled, and :meth:`close` lets it end.

        :param send: asks a server, through Scrapy's downloader middlewares.
        :raises InvalidListError: it cannot be used.
        :raises Stopped: see :meth:`stop`.
        """
        self._receiving = asyncio.ensure_future(self._receive(send))
        await asyncio.shield(self._receiving)

    def stop(self) -> None:
        """Wait no longer."""
        if self._receiving is None or self._receiving.done():
            return
        if self._assignment.remote is not None:
            self._assignment.remote.stop()

    async def close(self) -> None:
        """Close the list; a thread that waits for its next row is let go."""
        self.stop()
        if self._receiving is not None:
            await asyncio.wait({self._receiving})
        if self._source is not None:
            await run_in_thread(self._source.close)

    async def _receive(self, send: Send) -> None:
        remote = self._assignment.remote
        if remote is not None:
            self.version = await remote.fetch(send)
            self._source = await run_in_thread(
                open_list, str(remote.path), self._assignment.format, remote.address
            )
            await run_in_thread(remote.forget_others)
