"""The range middleware: takes over the requests of files, and answers them when they are there.

Outermost of the downloader middlewares. A file's request (``meta["fetch"]``) never reaches a
handler; its ranges do, each as a request of its own through ``engine.download_async``, as Scrapy's
media pipelines do it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event
from typing import Self

from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK
from scrapy.utils.asyncio import run_in_thread

from fetcher.config import Config
from fetcher.contract import (
    META_FETCH,
    META_SINK,
    FileProgress,
    file_ended,
    file_started,
    stopping,
)
from fetcher.disk.ledger import Ledger
from fetcher.disk.promises import Promises
from fetcher.errors import Stopped
from fetcher.items import FileItem
from fetcher.rules.bucket import Bucket
from fetcher.transfer.addresses import without_login
from fetcher.transfer.disk_work import DiskWork
from fetcher.transfer.hosts import Hosts
from fetcher.transfer.job import FileJob


class FileResponse(Response):
    """Answers a file's request: no body, but the file's item.

    :ivar item: what became of the file; None when its turn never came.
    """

    attributes: tuple[str, ...] = (*Response.attributes, "item")

    def __init__(self, url: str, *args: object, item: FileItem | None = None, **kwargs: object):
        super().__init__(url, *args, **kwargs)  # type: ignore[arg-type]
        self.item = item


class RangeMiddleware:
    """Runs a :class:`FileJob` for each file's request, ``FETCHER_MAX_PARALLEL`` at a time."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._config = Config.from_settings(crawler.settings)
        self._turns = asyncio.Semaphore(self._config.max_parallel)
        self._jobs: set[FileJob] = set()
        self._ledgers: dict[str, Ledger] = {}
        self._opening = asyncio.Lock()
        self._stopping = Event()
        self._hosts = Hosts()
        self._promises = Promises()
        self._disk = DiskWork()
        limit = self._config.rate_limit
        self._bucket = Bucket(limit) if limit else None
        self._stopped: Stopped | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        middleware = cls(crawler)
        crawler.signals.connect(middleware.stop, signal=stopping)
        crawler.signals.connect(middleware.close, signal=signals.engine_stopped)
        return middleware

    async def process_request(self, request: Request) -> Response | None:
        """See :meth:`scrapy.downloadermiddlewares.DownloaderMiddleware.process_request`."""
        if META_FETCH not in request.meta or META_SINK in request.meta:
            return None
        # The answer passes all other middlewares; one that keeps it would keep an empty body.
        request.meta["dont_cache"] = True
        item = None
        async with self._turns:
            if self._stopped is None:
                item = await self._fetch(request)
        if self._stopped is not None and (item is None or isinstance(item.exception, Stopped)):
            self._give_back(request)
        return FileResponse(request.url, request=request, item=item)

    async def _fetch(self, request: Request) -> FileItem | None:
        """The file's item; None when the crawl is stopped before it is begun."""
        meta = request.meta[META_FETCH]
        progress = FileProgress(meta["name"])
        send_signal = self._crawler.signals.send_catch_log
        send_signal(file_started, progress=progress)
        try:
            ledger = await self._ledger(meta["out"])
            if ledger is None:
                return None
            job = FileJob(
                without_login(request),
                self._config.of_file(meta),
                self._crawler.engine.download_async,
                ledger,
                self._hosts,
                self._promises,
                self._disk,
                progress,
                self._bucket,
            )
            self._jobs.add(job)
            try:
                return await job.run()
            finally:
                self._jobs.discard(job)
        finally:
            send_signal(file_ended, progress=progress)

    def _give_back(self, request: Request) -> None:
        """Let the next run of a job folder take the request up again: to Scrapy, it is answered."""
        if self._crawler.settings.get("JOBDIR") and request.callback is not NO_CALLBACK:
            self._crawler.engine.crawl(request.replace(dont_filter=True))

    def stop(self) -> None:
        """End all transfers now; what they have is in their journals."""
        self._stopped = Stopped("stopped before the file was whole: the same command goes on")
        self._stopping.set()
        for job in tuple(self._jobs):
            job.stop(self._stopped)

    def close(self) -> None:
        """Release what is open."""
        for ledger in self._ledgers.values():
            ledger.close()
        self._ledgers.clear()

    async def _ledger(self, out: str) -> Ledger | None:
        """That of an output folder; None once the crawl is being stopped."""
        async with self._opening:
            if out not in self._ledgers:
                try:
                    opened = await run_in_thread(Ledger, Path(out), self._stopping)
                except Stopped:
                    return None
                self._ledgers[out] = opened
        return self._ledgers[out] if self._stopped is None else None
