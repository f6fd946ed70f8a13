"""Somebody's file under a row's name: compared with what servers and list say, and let be."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from scrapy import Request
from scrapy.utils.asyncio import run_in_thread

from fetcher.config import Config
from fetcher.contract import META_FETCH, Answer, FileMeta, Send, listed_checksums
from fetcher.disk.digest import FileHash
from fetcher.errors import ForeignFileError, ServerError, Stopped
from fetcher.transfer.addresses import addresses
from fetcher.transfer.hosts import Hosts
from fetcher.transfer.probe import Probe, stated_size


class Comparison:
    """Asks for a file's size; neither fetches nor touches a byte.

    :param request: the file's own request.
    :param config: the settings.
    :param send: see :data:`fetcher.contract.Send`.
    :param hosts: what is known of the servers.
    """

    def __init__(self, request: Request, config: Config, send: Send, hosts: Hosts) -> None:
        self._meta: FileMeta = request.meta[META_FETCH]
        self._request = request
        self._config = config
        self._send = send
        self._hosts = hosts
        self._size: int | None = None
        self._running: Probe | FileHash | None = None
        self._stopped: Stopped | None = None

    def stop(self, reason: Stopped) -> None:
        """End it now; what runs raises ``reason``."""
        self._stopped = reason
        if self._running is not None:
            self._running.stop(reason)

    async def ask(self) -> Answer:
        """The answer of the first address that has the file.

        :raises FetchError: none has it; what is wrong with the first.
        """
        first, *mirrors = addresses(self._request)
        try:
            return await self._ask(first)
        except ServerError:
            for mirror in mirrors:
                with suppress(ServerError):
                    return await self._ask(mirror)
            raise

    async def _ask(self, request: Request) -> Answer:
        probe = Probe(request, self._config, self._send, self._hosts.of(request.url))
        self._begin(probe)
        answer = await probe.answer()
        self._size = stated_size(answer)
        return answer

    async def check(self, path: Path, found: os.stat_result) -> list[str]:
        """What has been compared, for the report.

        :param found: the file as it stands there, links not followed.
        :raises ForeignFileError: it is another one than the servers or the list have.
        :raises DiskError: it cannot be read.
        """
        checksums = listed_checksums(self._meta).values()
        # The size of a compressed answer says nothing of the file, but the list may.
        size = self._meta["size"] if self._size is None else self._size
        verified = ["size"] if size is not None else []
        same = stat.S_ISREG(found.st_mode)
        same = same and (size == found.st_size or (size is None and bool(checksums)))
        for checksum in checksums if same else ():
            algorithm = checksum.partition(":")[0]
            hashing = FileHash(path, algorithm)
            self._begin(hashing)
            same = same and await run_in_thread(hashing.checksum) == checksum
            verified.append(algorithm)
        if not same:
            raise ForeignFileError(
                f"another file stands under the name {path}: overwrite or rename it "
                "(FETCHER_IF_EXISTS=overwrite or rename), or move it away"
            )
        return verified

    def _begin(self, step: Probe | FileHash) -> None:
        self._running = step
        if self._stopped is not None:
            raise self._stopped
