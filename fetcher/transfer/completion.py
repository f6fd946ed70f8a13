"""What follows the transfer of a file: verified, and begun anew where its bytes are wrong; then it
gets its final name."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from scrapy import Request
from scrapy.utils.asyncio import run_in_thread

from fetcher.errors import ChecksumMismatchError, DecodeError, FetchError, Stopped
from fetcher.items import FileItem
from fetcher.rules.urls import redact
from fetcher.transfer.commit import commit
from fetcher.transfer.download import Download

_WRONG = (ChecksumMismatchError, DecodeError)
"""Bytes that are not kept: the file is begun anew, once."""


class Completion:
    """Completes files, any number at a time.

    :param fetch: fetches a file anew, from its request; gives its item, or None when its turn did
        not come.
    """

    def __init__(self, fetch: Callable[[Request], Awaitable[FileItem | None]]) -> None:
        self._fetch = fetch
        self._open: set[Download] = set()
        self._stopped: Stopped | None = None

    async def complete(self, item: FileItem) -> FileItem:
        """The item of the file once it has its name, or has failed; no error leaves here."""
        return item if item.download is None else await self._finish(item, item.download)

    def stop(self) -> None:
        """Break off verifications; what is there is in the journals."""
        self._stopped = Stopped("stopped before the file was verified: the same command goes on")
        for download in self._open:
            download.stop(self._stopped)

    async def _finish(self, item: FileItem, download: Download) -> FileItem:
        try:
            return await self._commit(item, download)
        except _WRONG as error:
            await run_in_thread(download.discard)
            item = _failed(item, error)
        for request in download.others():
            again = await self._fetch_again(item, request)
            if again is None:
                return _failed(item, self._stopped or Stopped("stopped: run again"))
            item, second = again, again.download
            if second is None:
                continue
            try:
                item = await self._commit(item, second)
            except _WRONG as error:
                await run_in_thread(second.discard)
                if download.brought:
                    item.notes.append(_lied(second.address))
                item = _failed(item, error)
            else:
                if item.status == "ok" and download.brought:
                    known = set(item.notes)
                    blamed = await self._blame(download, second.path)
                    item.notes += [note for note in blamed if note not in known]
                return item
        return item

    async def _blame(self, wrong: Download, right: Path) -> list[str]:
        """Who brought the wrong bytes, a sentence each."""
        self._open.add(wrong)
        try:
            return [_lied(address) for address in await run_in_thread(wrong.liars, right)]
        except FetchError:
            # The file itself is whole and right.
            return []
        finally:
            self._open.discard(wrong)

    async def _commit(self, item: FileItem, download: Download) -> FileItem:
        began = time.monotonic()
        item.download = None
        self._open.add(download)
        try:
            if self._stopped is not None:
                download.stop(self._stopped)
            item.verified_by = await download.verify()
            await commit(download)
        except _WRONG:
            item.download = download
            raise
        except FetchError as error:
            item = _failed(item, error)
        finally:
            self._open.discard(download)
            if item.download is None:
                download.close()
            item.seconds = round(item.seconds + time.monotonic() - began, 3)
        item.size, item.checksum = download.size, download.checksum
        return item

    async def _fetch_again(self, item: FileItem, request: Request) -> FileItem | None:
        """The bytes are wrong: begin the file anew; None when its turn did not come."""
        again = await self._fetch(request)
        if again is None:
            return None
        again.received += item.received
        again.retries += item.retries
        again.restarts += item.restarts + 1
        again.seconds += item.seconds
        again.notes = item.notes + again.notes
        return again


def _failed(item: FileItem, error: FetchError) -> FileItem:
    item.status = "failed"
    item.download = None
    item.verified_by = []
    item.exception = error
    item.error = {"type": type(error).__name__, "message": error.message, "line": item.line}
    return item


def _lied(address: str) -> str:
    return f"{redact(address)} served wrong bytes"
