"""The item pipeline's step for archives, where ``FETCHER_UNPACK`` is on: unpacks what was fetched,
or was there already."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from scrapy import signals
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured
from scrapy.utils.asyncio import run_in_thread

from fetcher.config import Config
from fetcher.contract import file_ended, file_started, stopping
from fetcher.disk.ledger import Ledger
from fetcher.errors import FetchError, Stopped
from fetcher.items import FileItem
from fetcher.rules.archives import folder_of

if TYPE_CHECKING:
    from fetcher.disk.unpacking import Unpacking

PARALLEL = 2
"""Archives at a time: so a small one need not wait for a large one, and the others' transfers and
checksums still have a processor."""


class UnpackPipeline:
    """Unpacks archives in threads; meanwhile other files are transferred."""

    def __init__(self, crawler: Crawler, config: Config) -> None:
        self._crawler = crawler
        self._config = config
        self._turns = asyncio.Semaphore(PARALLEL)
        self._ledgers: dict[Path, Ledger] = {}
        self._open: set[Unpacking] = set()
        self._stopped: Stopped | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        config = Config.from_settings(crawler.settings)
        if not config.unpack:
            raise NotConfigured
        pipeline = cls(crawler, config)
        crawler.signals.connect(pipeline.stop, signal=stopping)
        crawler.signals.connect(pipeline.close, signal=signals.engine_stopped)
        return pipeline

    async def process_item(self, item: object) -> object:
        """See Scrapy's documentation of item pipelines."""
        if not isinstance(item, FileItem) or item.status == "failed":
            return item
        if item.path is None or item.out is None or folder_of(item.path) is None:
            return item
        began = time.monotonic()
        try:
            item.unpacked = await self._unpack(item.out, item.path, item.checksum)
        except FetchError as error:
            # The file itself is verified, which stays in the report.
            item.fetched, item.status, item.exception = item.status, "failed", error
            item.error = {"type": type(error).__name__, "message": error.message, "line": item.line}
        item.seconds = round(item.seconds + time.monotonic() - began, 3)
        return item

    def stop(self) -> None:
        """Break off; what is not complete is not there."""
        self._stopped = Stopped("stopped before it was unpacked: the same command goes on")
        for unpacking in self._open:
            unpacking.stop(self._stopped)

    def close(self) -> None:
        """Release what is open."""
        for ledger in self._ledgers.values():
            ledger.close()
        self._ledgers.clear()

    async def _unpack(self, out: Path, name: str, checksum: str | None) -> str:
        """The folder."""
        from fetcher.disk.unpacking import Unpacking

        ledger = self._ledger(out)
        unpacking = Unpacking(out, name, checksum, ledger, self._config.max_size)
        if self._stopped is not None:
            raise self._stopped
        self._open.add(unpacking)
        try:
            # Who has nothing to do need not wait for a turn.
            if await run_in_thread(unpacking.needed):
                async with self._turns:
                    await self._run(unpacking)
        finally:
            self._open.discard(unpacking)
        return unpacking.folder

    async def _run(self, unpacking: Unpacking) -> None:
        send_signal = self._crawler.signals.send_catch_log
        send_signal(file_started, progress=unpacking.progress)
        try:
            await run_in_thread(unpacking.run)
        finally:
            send_signal(file_ended, progress=unpacking.progress)

    def _ledger(self, out: Path) -> Ledger:
        if out not in self._ledgers:
            # What is not remembered of a folder makes it somebody else's.
            self._ledgers[out] = Ledger(out, durable=True)
        return self._ledgers[out]
