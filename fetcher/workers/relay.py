"""Tells the parent what a child's crawl does, and lets it end the crawl."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.utils.asyncio import create_looping_call

from fetcher import contract
from fetcher.contract import FileProgress
from fetcher.errors import StatusError
from fetcher.items import FileItem
from fetcher.workers.channel import Channel, FileState

INTERVAL = 0.2
"""Seconds between two looks at the files in flight."""


class Relay:
    """Sends a crawl's signals as events.

    :param progress: whether files in flight are of interest.
    """

    def __init__(self, crawler: Crawler, channel: Channel, *, progress: bool) -> None:
        self._crawler = crawler
        self._channel = channel
        self._files: dict[int, tuple[int, FileProgress]] = {}
        self._count = 0
        self._look = create_looping_call(self._tell)
        self._stopping: asyncio.Task[None] | None = None
        self._stop_wanted = False
        connect = crawler.signals.connect
        connect(self.item_scraped, signals.item_scraped)
        connect(self.engine_started, signals.engine_started)
        connect(self.engine_stopped, signals.engine_stopped)
        if progress:
            connect(self.file_started, contract.file_started)
            connect(self.file_ended, contract.file_ended)

    def stop(self) -> None:
        """End the crawl, now or as soon as it has begun; more than once does no harm."""
        self._stop_wanted = True
        engine = self._crawler.engine
        if getattr(engine, "running", False) and self._stopping is None:
            self._stopping = asyncio.ensure_future(self._crawler.stop_async())

    def engine_started(self) -> None:
        self._look.start(INTERVAL, now=False)
        if self._stop_wanted:
            asyncio.get_running_loop().call_soon(self.stop)

    def engine_stopped(self) -> None:
        if self._look.running:
            self._look.stop()

    def file_started(self, progress: FileProgress) -> None:
        self._count += 1
        self._files[id(progress)] = self._count, progress
        self._channel.send({"kind": "started", "files": [_state(self._count, progress)]})

    def file_ended(self, progress: FileProgress) -> None:
        number, _ = self._files.pop(id(progress))
        self._channel.send({"kind": "ended", "files": [_state(number, progress)]})

    def item_scraped(self, item: object) -> None:
        if not isinstance(item, FileItem):
            return
        error = item.exception
        self._channel.send(
            {
                "kind": "item",
                "item": asdict(item),
                "line": item.line,
                "http_status": error.status if isinstance(error, StatusError) else None,
            }
        )

    def _tell(self) -> None:
        if self._files:
            states = [_state(number, progress) for number, progress in self._files.values()]
            self._channel.send({"kind": "files", "files": states})


def _state(number: int, progress: FileProgress) -> FileState:
    return (
        number,
        progress.name,
        progress.size,
        progress.done,
        progress.connections,
        progress.note,
    )
