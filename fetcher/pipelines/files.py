"""The item pipeline for other Scrapy projects: large files in the place of Scrapy's files."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, cast
from urllib.parse import urlsplit

from scrapy import Request, Spider
from scrapy.crawler import Crawler
from scrapy.pipelines.files import FilesPipeline, FSFilesStore
from scrapy.pipelines.media import FileException, FileInfo
from scrapy.utils.asyncio import run_in_thread
from scrapy.utils.misc import arg_to_iter
from scrapy.utils.python import global_object_name
from scrapy.utils.request import referer_str
from twisted.python.failure import Failure

from fetcher.config import Config
from fetcher.contract import FileMeta, stopping
from fetcher.disk.folding import folds_names
from fetcher.disk.owners import Owner, Owners
from fetcher.errors import (
    FetchError,
    FilteredError,
    InvalidNameError,
    InvalidSettingError,
    Stopped,
)
from fetcher.items import FileItem
from fetcher.pipelines.count import count
from fetcher.pipelines.rows import file_request, row
from fetcher.pipelines.stored import Stored
from fetcher.rules.urls import redact
from fetcher.transfer.completion import Completion

RANGES = "fetcher.middlewares.ranges.RangeMiddleware"
_log = logging.getLogger(__name__)


class LargeFileInfo(FileInfo):
    """What an item gets for each of its files: Scrapy's fields, and two more.

    ``checksum`` is ``algorithm:hex``, ``status`` is ``downloaded`` or ``uptodate``.
    """

    size: int | None
    """Bytes."""
    verified_by: list[str]
    """What was compared: ``size``, ``etag``, ``sha256``, ..."""


Result: TypeAlias = tuple[Literal[True], LargeFileInfo] | tuple[Literal[False], Failure]


class LargeFilesPipeline(FilesPipeline):
    """Scrapy's :class:`FilesPipeline`, whose files are streamed, split, resumed and verified.

    ``FILES_STORE`` (a local folder), ``FILES_URLS_FIELD``, ``FILES_RESULT_FIELD``,
    ``FILES_EXPIRES``, :meth:`get_media_requests`, :meth:`file_path` (there is no response yet when
    it is asked) and :meth:`item_completed` are as there. What is known of a file may stand in
    ``meta["fetch"]`` of its request: ``size``, ``checksum``, ``splits``, ``tries``, ``if_exists``,
    see :class:`fetcher.contract.FileMeta`.
    """

    def __init__(self, store_uri: str | os.PathLike[str], *, crawler: Crawler) -> None:
        super().__init__(store_uri, crawler=crawler)
        self._folder = Path(cast("FSFilesStore", self.store).basedir).absolute()
        self._if_exists = Config.from_settings(crawler.settings).if_exists
        # Scrapy's own makes a path of the whole address.
        own_path = type(self).file_path is not FilesPipeline.file_path
        self._stored = Stored(self._folder, self.expires, told_apart=not own_path)
        self._owners = Owners(fold=folds_names(self._folder))
        self._completion = Completion(self._send)
        self._running: dict[tuple[str, bytes], asyncio.Future[Result]] = {}

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components.

        :raises InvalidSettingError: ``FILES_STORE`` is no local folder, or the add-on is missing.
        """
        store = str(crawler.settings.get("FILES_STORE") or "")
        if not Path(store).is_absolute() and urlsplit(store).scheme not in ("", "file"):
            raise InvalidSettingError(
                f"FILES_STORE={redact(store)}: {cls.__name__} needs a local folder, since a file "
                "that breaks off is gone on with there"
            )
        components = crawler.settings.getdict("DOWNLOADER_MIDDLEWARES")
        if RANGES not in {c if isinstance(c, str) else global_object_name(c) for c in components}:
            raise InvalidSettingError(
                f'{cls.__name__} needs the add-on: set ADDONS = {{"fetcher.Addon": 500}}'
            )
        pipeline = super().from_crawler(crawler)
        crawler.signals.connect(pipeline.stop, signal=stopping)
        return pipeline

    async def process_item(self, item: Any, spider: Spider | None = None) -> Any:
        """See Scrapy's documentation of item pipelines."""
        info = self.spiderinfo
        requests = arg_to_iter(self.get_media_requests(item, info))
        results = await asyncio.gather(*(self._result(each, info, item) for each in requests))
        return self.item_completed(cast("list[Any]", results), item, info)

    def close_spider(self) -> None:
        """See Scrapy's documentation of item pipelines."""
        self._owners.close()
        self._stored.close()

    def stop(self) -> None:
        """See :meth:`Completion.stop`."""
        self._completion.stop()

    async def _result(
        self, request: Request, info: FilesPipeline.SpiderInfo, item: object
    ) -> Result:
        """What :meth:`item_completed` is told of a file; one that is just on its way for another
        item, is that one."""
        try:
            path = str(self.file_path(request, info=info, item=item))
            address = self.crawler.request_fingerprinter.fingerprint(request)
        except Exception:  # noqa: BLE001 - whatever the project's file_path() raises
            return self._broken(request)
        key = path, address
        if key not in self._running:
            running = asyncio.ensure_future(self._settled(request, path, address))
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key))
        return await self._running[key]

    async def _settled(self, request: Request, path: str, address: bytes) -> Result:
        try:
            return True, await self._fetch(request, path, address)
        except FetchError as error:
            filtered = isinstance(error, FilteredError | Stopped)
            level = logging.INFO if filtered else logging.WARNING
            _log.log(
                level,
                "File (failed): %(reason)s, referred in <%(referer)s>",
                {"reason": error.message, "referer": redact(referer_str(request) or "None")},
                extra={"spider": self.crawler.spider},
            )
            failed = FileException(error.message)
            failed.__cause__ = error
            return False, Failure(failed)
        except Exception:  # noqa: BLE001 - a bug here, or in a middleware of the project
            return self._broken(request)

    def _broken(self, request: Request) -> Result:
        """A file that an error nobody has foreseen keeps from its item; the item's others come."""
        extra = {"spider": self.crawler.spider}
        _log.exception("File (failed): %s", redact(request.url), extra=extra)
        return False, Failure()

    async def _fetch(self, request: Request, path: str, address: bytes) -> LargeFileInfo:
        """:raises FetchError: why the file is not there, in one sentence."""
        meta = row(request, path, self._folder)
        owner = self._owners.take(meta["name"], address)
        if owner is Owner.OTHER:
            raise InvalidNameError(
                f"{redact(request.url)} would be {path}, which another address of this crawl is: "
                "let file_path() tell them apart"
            )
        ask = False
        if meta["if_exists"] is None and owner is Owner.SAME:
            # What has come in this crawl is not asked for twice, whatever the settings say.
            meta["if_exists"] = "skip"
        elif meta["if_exists"] is None and self._if_exists == "skip":
            ask = await run_in_thread(self._stored.must_ask, meta["name"], request.url)
            meta["if_exists"] = "update" if ask else "skip"
        item = await self._send(file_request(request, meta))
        if item is None:
            raise Stopped(f"stopped before the turn of {path}: run again")
        item = await self._completion.complete(item)
        count(self.crawler.stats, item)
        if item.status == "failed":
            if isinstance(item.exception, FetchError):
                raise item.exception
            raise FetchError((item.error or {}).get("message", f"{path} has failed"))
        if item.status == "unchanged" and ask:
            await run_in_thread(self._stored.confirm, meta["name"])
        return self._info(request, path, meta, item)

    def _info(self, request: Request, path: str, meta: FileMeta, item: FileItem) -> LargeFileInfo:
        status = "downloaded" if item.status == "ok" else "uptodate"
        self.inc_stats(status)
        _log.debug(
            "File (%(status)s): %(url)s, referred in <%(referer)s>",
            {
                "status": status,
                "url": redact(request.url),
                "referer": redact(referer_str(request) or "None"),
            },
            extra={"spider": self.crawler.spider},
        )
        return LargeFileInfo(
            url=request.url,
            path=path if item.path in (None, meta["name"]) else str(item.path),
            checksum=item.checksum,
            status=status,
            size=item.size,
            verified_by=item.verified_by,
        )

    async def _send(self, request: Request) -> FileItem | None:
        response = await self.crawler.engine.download_async(request)
        return getattr(response, "item", None)
