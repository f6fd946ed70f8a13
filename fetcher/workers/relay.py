"""Tells the parent what a child's crawl does, and lets it end the crawl."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy.utils.asyncio import create_looping_call

from fetcher import contract
from fetcher.contract import META_FETCH, FileProgress, ListProgress, plain_headers
from fetcher.errors import StatusError
from fetcher.items import FileItem
from fetcher.workers.channel import Channel, Event, FileState, ItemRow

INTERVAL = 0.2
"""Seconds between two looks at the files in flight; one that comes and goes between two of them is
told of by its item alone."""


class Relay:
    """Sends a crawl's signals as events.

    :param progress: whether files in flight are of interest.

    :ivar reason: why the crawl has ended; None where it has not begun.
    """

    def __init__(self, crawler: Crawler, channel: Channel, *, progress: bool) -> None:
        self.reason: str | None = None
        self._crawler = crawler
        self._channel = channel
        self._files: dict[int, tuple[int, FileProgress]] = {}
        self._new: set[int] = set()
        self._list = self._told = ListProgress()
        self._count = 0
        self._look = create_looping_call(self._tell)
        self._stopping: asyncio.Task[None] | None = None
        connect = crawler.signals.connect
        connect(self.item_scraped, signals.item_scraped)
        connect(self.spider_closed, signals.spider_closed)
        connect(self.engine_started, signals.engine_started)
        connect(self.engine_stopped, signals.engine_stopped)
        if progress:
            connect(self.list_opened, contract.list_opened)
            connect(self.file_started, contract.file_started)
            connect(self.file_ended, contract.file_ended)
            connect(self.retried, contract.retried)

    def stop(self) -> None:
        """End the crawl, now or as soon as it has begun; more than once does no harm."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._crawler.stop_async())

    def engine_started(self) -> None:
        self._look.start(INTERVAL, now=False)

    def engine_stopped(self) -> None:
        if self._look.running:
            self._look.stop()

    def spider_closed(self, reason: str) -> None:
        self.reason = reason

    def list_opened(self, progress: ListProgress) -> None:
        self._list = progress

    def file_started(self, progress: FileProgress) -> None:
        self._count += 1
        self._files[id(progress)] = self._count, progress
        self._new.add(self._count)

    def file_ended(self, progress: FileProgress) -> None:
        number, _ = self._files.pop(id(progress))
        if number in self._new:
            self._new.discard(number)
        else:
            self._channel.send({"kind": "ended", "files": [_state(number, progress)]})

    def retried(self, reason: str) -> None:
        self._channel.send({"kind": "retried", "reason": reason})

    def item_scraped(self, item: object, response: Response | None) -> None:
        if not isinstance(item, FileItem):
            return
        error = item.exception
        event: Event = {
            "kind": "item",
            "item": item.report(),
            "line": item.line,
            "http_status": error.status if isinstance(error, StatusError) else None,
        }
        request = response.request if response is not None else None
        if request is not None and META_FETCH in request.meta:
            event["row"] = _row(request, failed=item.status == "failed")
        elif item.row is not None:
            event["name"] = item.row
        self._channel.send(event)

    def _tell(self) -> None:
        if self._list != self._told:
            self._told = replace(self._list)
            self._channel.send({"kind": "list", "rows": self._told.rows, "whole": self._told.whole})
        states = [_state(number, progress) for number, progress in self._files.values()]
        if self._new:
            new = [state for state in states if state[0] in self._new]
            self._channel.send({"kind": "started", "files": new})
            self._new.clear()
        if states:
            self._channel.send({"kind": "files", "files": states})


def _row(request: Request, *, failed: bool) -> ItemRow:
    meta = request.meta[META_FETCH]
    if not failed:
        return {"url": request.url, "headers": {}, "meta": {"name": meta["name"]}}
    headers = plain_headers(request.headers)
    # A table has no place for the hashes of pieces, and they may be many.
    return {"url": request.url, "headers": headers, "meta": {**meta, "pieces": None}}


def _state(number: int, progress: FileProgress) -> FileState:
    return (
        number,
        progress.name,
        progress.size,
        progress.done,
        progress.connections,
        progress.note,
    )
