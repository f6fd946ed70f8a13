"""A file that the crawl itself needs, and that lies on a server: its list, or its checksums.

It comes the way the files of a list come, only that it is none of them: it lies in the state
folder, and what becomes of it is in no report.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from scrapy import Request
from scrapy.utils.asyncio import run_in_thread

from fetcher.config import Config
from fetcher.contract import META_FETCH, FileProgress, Send, plain_row
from fetcher.disk.ledger import Ledger
from fetcher.disk.part import Part
from fetcher.disk.promises import Promises
from fetcher.errors import FetchError, InvalidListError, Stopped
from fetcher.items import FileItem
from fetcher.rules.headers import merge_headers
from fetcher.rules.names import JOURNAL_SUFFIX, PART_SUFFIX, STATE_FOLDER, safe_name
from fetcher.rules.urls import last_segment
from fetcher.spiders.credentials import Credentials
from fetcher.transfer.completion import Completion
from fetcher.transfer.disk_work import DiskWork
from fetcher.transfer.hosts import Hosts
from fetcher.transfer.job import FileJob

_FOLDERS = {"list": "lists", "file of checksums": "checksums"}
_MOST_OF_A_NAME = 150
"""Bytes of the address' last segment that are part of the stored name."""


class RemoteFile:
    """Fetched anew whenever its server does not say that it is as it was.

    :param address: checked.
    :param kind: what it is: one of :data:`fetcher.contract.LISTED`.
    :param out: the crawl's output folder.
    :param config: the settings of the crawl's files.
    :param share: tells this process from others that share the folder: each has a copy of its own.
    :param headers: names and values for the requests to the origin of the address.

    :ivar path: where it lies once it has been fetched.
    """

    def __init__(
        self,
        address: str,
        kind: str,
        out: Path,
        config: Config,
        credentials: Credentials,
        share: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.address = address
        self._kind = kind
        self._folder = out / STATE_FOLDER / _FOLDERS[kind]
        url, authorization = credentials.split(address)
        known = (("Authorization", authorization), ("Cookie", credentials.cookies(url)))
        logins = tuple((name, value) for name, value in known if value)
        self._request = Request(
            url, headers=merge_headers(logins, tuple(headers)), dont_filter=True
        )
        # Nobody states its checksum; and its own tells this version from another.
        policy = "off" if config.checksum == "off" else "auto"
        self._config = replace(config, checksum=policy, record_checksum="sha256")
        self._mine, self._others = _names(url, share)
        self.path = self._folder / self._mine
        self._hosts = Hosts()
        self._job: FileJob | None = None
        self._completion: Completion | None = None
        self._stopped: Stopped | None = None

    async def fetch(self, send: Send) -> str:
        """Bring it here.

        :param send: asks a server, through Scrapy's downloader middlewares.
        :return: its checksum: another one is another version.
        :raises InvalidListError: why it is not there, in one sentence.
        :raises Stopped: see :meth:`stop`.
        """
        try:
            ledger = await run_in_thread(Ledger, self._folder)
            try:
                run = partial(self._run, send, ledger)
                self._completion = Completion(run)
                item = await self._completion.complete(await run(self._request))
            finally:
                await run_in_thread(ledger.close)
            if isinstance(item.exception, FetchError):
                raise item.exception
        except Stopped:
            raise
        except FetchError as error:
            reason = error.message
            raise InvalidListError(f"the {self._kind} cannot be fetched: {reason}") from error
        return item.checksum or ""

    def stop(self) -> None:
        """End it now; :meth:`fetch` raises :class:`Stopped`. What is there is in the journal."""
        self._stopped = Stopped(f"stopped before the {self._kind} was there")
        if self._job is not None:
            self._job.stop(self._stopped)
        if self._completion is not None:
            self._completion.stop()

    def forget_others(self) -> None:
        """Remove what other addresses have left under the same name, such as one that was signed
        for an earlier run; waits for the disk."""
        endings = (JOURNAL_SUFFIX, PART_SUFFIX, "")
        with suppress(OSError):
            found = {
                next(path.name.removesuffix(end) for end in endings if path.name.endswith(end))
                for path in self._folder.iterdir()
            }
            for name in filter(self._others.fullmatch, found - {self._mine}):
                _remove(self._folder, name)

    def forget(self) -> None:
        """Remove it, where the next run would not find it; waits for the disk."""
        _remove(self._folder, self._mine)

    async def _run(self, send: Send, ledger: Ledger, request: Request) -> FileItem:
        meta = plain_row(self._mine, str(self._folder))
        job = FileJob(
            request.replace(meta={META_FETCH: meta}),
            replace(self._config, if_exists=await run_in_thread(self._policy, ledger)),
            send,
            ledger,
            self._hosts,
            Promises(),
            DiskWork(),
            FileProgress(self._mine),
        )
        self._job = job
        if self._stopped is not None:
            job.stop(self._stopped)
        return await job.run()

    def _policy(self, ledger: Ledger) -> str:
        """Only what is as it was completed may be asked after: nobody else's file lies here."""
        remembered = ledger.find(self._mine)
        with suppress(OSError):
            if remembered is not None and remembered.describes(self.path.lstat()):
                return "update"
        return "overwrite"


def _names(url: str, share: str) -> tuple[str, re.Pattern[str]]:
    """The stored name for an address, and a pattern of those for others of the same last segment.

    Two addresses never share one: what a server says of changes is about the address it was asked
    for.
    """
    name = (safe_name(last_segment(url)) or "index").encode()[-_MOST_OF_A_NAME:]
    rest = f".{name.decode(errors='ignore')}"
    if share:
        rest = f"-{share}{rest}"
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return digest + rest, re.compile("[0-9a-f]{16}" + re.escape(rest))


def _remove(folder: Path, name: str) -> None:
    # Another process may be at it.
    with suppress(FetchError):
        part = Part(folder, name)
        try:
            part.discard()
            part.final.unlink(missing_ok=True)
        finally:
            part.close()
