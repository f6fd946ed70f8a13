"""One row of the list, from its turn to what is handed to the pipeline.

Decides about what already stands there, opens the part, runs the transfer, and tells all of it as
a :class:`FileItem`; no error leaves here but bugs.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from scrapy import Request

from fetcher.config import Config
from fetcher.contract import (
    META_FETCH,
    Answer,
    FileMeta,
    FileProgress,
    Send,
    listed_checksums,
)
from fetcher.disk.digest import FileHash
from fetcher.disk.ledger import Ledger
from fetcher.disk.part import Part
from fetcher.disk.promises import Promises
from fetcher.errors import FetchError, Stopped
from fetcher.items import FileItem
from fetcher.rules.answers import Version, version_of
from fetcher.rules.bucket import Bucket
from fetcher.rules.existing import Action, Completed
from fetcher.rules.resource import Resource
from fetcher.rules.urls import redact
from fetcher.transfer.addresses import addresses
from fetcher.transfer.comparison import Comparison
from fetcher.transfer.coordinator import Transfer
from fetcher.transfer.counts import Counts
from fetcher.transfer.disk_work import DiskWork
from fetcher.transfer.download import Download
from fetcher.transfer.expectations import Expectations
from fetcher.transfer.hosts import Hosts
from fetcher.transfer.intake import Intake
from fetcher.transfer.opening import Opening, Start
from fetcher.transfer.server_name import ServerName
from fetcher.transfer.source import Source

MIRROR_ROUNDS = 4
"""How often each connection to a file with mirrors takes a range, at least: the faster ones come
back sooner and take more."""


class NotModified(Exception):  # noqa: N818 - an outcome, not an error
    """The server says that the file has not changed (status 304)."""


class Renamed(Exception):  # noqa: N818 - an outcome, not an error
    """The server gives the file a name under which something already stands."""


class Hashed(Exception):  # noqa: N818 - an outcome, not an error
    """What the list asks for is known of the file by now."""


class FileJob:
    """Fetches one row.

    :param request: the row's request; ``meta["fetch"]`` is its :class:`FileMeta`.
    :param config: the settings.
    :param send: asks a server, see :class:`fetcher.transfer.coordinator.Transfer`.
    :param ledger: what earlier runs completed in the output folder.
    :param hosts: what is known of the servers.
    :param promises: what room on the disk is spoken for.
    :param disk: does what waits for a disk.
    :param progress: kept up to date for displays.
    :param bucket: the rate that all connections of the crawl share; None for no limit.
    """

    def __init__(
        self,
        request: Request,
        config: Config,
        send: Send,
        ledger: Ledger,
        hosts: Hosts,
        promises: Promises,
        disk: DiskWork,
        progress: FileProgress,
        bucket: Bucket | None = None,
    ) -> None:
        meta: FileMeta = request.meta[META_FETCH]
        self._request = request
        self._meta = meta
        self._config = config
        self._send = send
        self._ledger = ledger
        self._hosts = hosts
        self._promises = promises
        self._disk = disk
        self._promised: Part | None = None
        self._progress = progress
        self._bucket = bucket
        self._out = Path(meta["out"])
        self._server = ServerName(meta, request.url, ledger)
        self._opening = Opening(meta, config, ledger, self._server.key)
        self._name = meta["name"]
        self._remembered: Completed | None = None
        self._known: Completed | None = None
        self._expectations = Expectations(meta, config)
        self._transfer: Transfer | None = None
        self._comparison: Comparison | None = None
        self._hashing: FileHash | None = None
        self._counts = Counts()
        self._stopped: Stopped | None = None

    async def run(self) -> FileItem:
        """The file's item: ``unchanged``, ``failed``, or ``ok`` with the download to verify."""
        began = time.monotonic()
        try:
            item = await self._fetch()
        except FetchError as error:
            item = self._item("failed")
            item.exception = error
            item.error = {
                "type": type(error).__name__,
                "message": error.message,
                "line": self._meta["line"],
            }
        finally:
            if self._promised is not None:
                self._promises.take_back(self._promised)
        item.seconds = round(time.monotonic() - began, 3)
        return item

    def stop(self, reason: Stopped) -> None:
        """End it now; the item is a failure of the type ``Stopped``."""
        self._stopped = reason
        for running in (self._transfer, self._comparison, self._hashing):
            if running is not None:
                running.stop(reason)

    def _check_stopped(self) -> None:
        if self._stopped is not None:
            raise self._stopped

    # --- before the first byte ------------------------------------------------------------------

    async def _fetch(self) -> FileItem:
        start = await self._disk.run_brief(self._first_start)
        while True:
            try:
                return await self._fetch_from(start)
            except (Renamed, Hashed):
                start = await self._disk.run(self._opening.start, self._name)

    def _first_start(self, wait: bool) -> Start:
        return self._opening.start(self._server.first(wait=wait), wait=wait)

    async def _fetch_from(self, start: Start) -> FileItem:
        self._name, self._remembered = start.name, start.remembered
        if start.action is Action.HASH:
            await self._hash()
            raise Hashed
        if start.part is None:
            return self._unchanged() if start.action is Action.KEEP else await self._compare()
        try:
            return await self._fetch_into(start.part, start)
        except BaseException:
            await self._server.close()
            await self._disk.run(self._leave, start.part)
            raise

    def _leave(self, part: Part) -> None:
        """Close the part; one without a byte of the file is not worth keeping."""
        if self._transfer is not None:
            part = self._transfer.intake.part
        try:
            if self._transfer is not None and part.fd >= 0:
                if self._transfer.intake.received or part.has_journal:
                    part.release_spare()
                else:
                    part.discard()
        finally:
            part.close()

    # --- the transfer ---------------------------------------------------------------------------

    def _begin(self, part: Part) -> Transfer:
        requests = addresses(self._request)
        conditions = [self._known.condition(each.url) if self._known else {} for each in requests]
        resource = Resource(conditions[0])
        intake = Intake(
            requests[0].url,
            resource,
            part,
            self._config,
            self._progress,
            self._expectations,
            self._on_first,
            self._opening.pieces,
            rounds=MIRROR_ROUNDS if len(requests) > 1 else 1,
        )
        sources: list[Source] = []
        for request, condition in zip(requests, conditions, strict=True):
            known = Resource() if sources else resource
            host = self._hosts.of(request.url)
            source = Source(
                request,
                self._send,
                host,
                self._progress,
                intake,
                known,
                condition,
                self._before_first,
                self._bucket,
            )
            sources.append(source)
        return Transfer(intake, sources, self._config)

    async def _fetch_into(self, part: Part, start: Start) -> FileItem:
        self._known = start.known
        transfer = self._begin(part)
        intake = transfer.intake
        self._transfer = transfer
        self._counts = intake.counts
        if start.journal is not None:
            intake.resource.verifiable = self._expectations.verifiable
            intake.resume(start.journal)
            self._compute(intake, start.journal.version)
        self._check_stopped()
        try:
            await transfer.run()
        except NotModified:
            await self._disk.run(intake.part.discard)
            intake.part.close()
            return self._unchanged()
        return self._fetched(transfer, start.replaces)

    def _on_first(self, answer: Answer, version: Version) -> None:
        """Judge the first answer of a version; see :class:`Transfer`."""
        if answer.status == 304 or self._has_nothing_new(version):
            raise NotModified
        self._expectations.meet(self._name, answer, version)
        self._take_server_name()
        if self._transfer is not None:
            intake = self._transfer.intake
            if version.size is not None:
                self._promised = intake.part
                self._promises.give(intake.part, version.size)
            self._compute(intake, version)
            intake.resource.verifiable = self._expectations.verifiable

    def _has_nothing_new(self, version: Version) -> bool:
        """Whether an address that could not be asked by its own validators has the known file."""
        if self._known is None or self._transfer is None:
            return False
        asked = self._transfer.sources.lead.condition
        return not asked and self._known.resembles(version)

    def _compute(self, intake: Intake, version: Version) -> None:
        """Hash the file as it comes; a compressed one is hashed when it is decoded."""
        intake.safekeeping.compute(() if version.codings else self._expectations.algorithms)

    async def _before_first(self, answer: Answer) -> None:
        """What the first answer calls the file matters as long as nothing has been written."""
        if self._transfer is not None and not self._transfer.intake.received:
            await self._server.find_place(answer, self._name, self._opening)

    def _take_server_name(self) -> None:
        """Go on under the name that the server gives, as long as nothing has been written."""
        intake = self._transfer.intake if self._transfer is not None else None
        place = self._server.take_place()
        if intake is None or place is None:
            return
        self._name = self._progress.name = place.name
        if place.part is None:
            raise Renamed
        intake.part.discard()
        intake.part.close()
        intake.adopt(place.part)

    # --- what stands there ------------------------------------------------------------------------

    async def _hash(self) -> None:
        """Compute the list's kind of checksum of a file of ours, and remember it."""
        remembered = self._remembered
        if remembered is None:
            return
        others = remembered.others
        for checksum in listed_checksums(self._meta).values():
            if remembered.known(checksum) is None:
                others += (await self._checksum(checksum.partition(":")[0]),)
        await self._disk.run(self._ledger.record, replace(remembered, others=others))

    async def _checksum(self, algorithm: str) -> str:
        self._hashing = FileHash(self._out / self._name, algorithm)
        self._check_stopped()
        return await self._disk.run(self._hashing.checksum)

    async def _compare(self) -> FileItem:
        """Ask the servers for the size; nothing of the file that stands there is touched."""
        comparison = Comparison(self._request, self._config, self._send, self._hosts)
        self._comparison = comparison
        self._check_stopped()
        name = await self._server.given(await comparison.ask(), self._name, self._opening)
        if name is not None:
            self._name = name
            raise Renamed
        found = self._opening.standing(self._name)
        if found is None:
            raise Renamed
        verified = await comparison.check(self._out / self._name, found)
        item = self._unchanged()
        item.size, item.verified_by = found.st_size, verified
        item.checksum = next(iter(listed_checksums(self._meta).values()), None)
        return item

    # --- items ----------------------------------------------------------------------------------

    def _item(self, status: str) -> FileItem:
        counts = self._counts
        url = self._transfer.url if self._transfer is not None else self._request.url
        item = FileItem(
            status=status,
            name=self._name,
            path=self._name,
            url=redact(url),
            size=self._progress.size,
            received=counts.received,
            resumed=counts.resumed,
            connections=counts.connections,
            retries=counts.retries,
            restarts=counts.restarts,
        )
        item.line, item.number = self._meta["line"], self._meta.get("number")
        item.out = self._out
        unused, mirrors = self._meta.get("unused"), self._meta.get("mirrors") or ()
        if unused and self._meta.get("only") is None:
            item.notes.append(f"{unused} of its mirrors are not used: {len(mirrors)} are enough")
        if self._transfer is not None:
            item.notes += self._transfer.sources.notes
        return item

    def _unchanged(self) -> FileItem:
        item = self._item("unchanged")
        if self._remembered is not None:
            item.size, item.checksum = self._remembered.size, self._remembered.checksum
        return item

    def _fetched(self, transfer: Transfer, replaces: os.stat_result | None) -> FileItem:
        intake = transfer.intake
        version = intake.resource.version or version_of(Answer(transfer.url, 200), None)
        item = self._item("ok")
        item.download = Download(
            request=self._request,
            source=transfer.sources.lead.address,
            part=intake.part,
            version=version,
            resumable=intake.resumable(version),
            safekeeping=intake.safekeeping,
            pieces=intake.pieces,
            brought=transfer.trail.all() if transfer.sources.several else [],
            stated=self._expectations.stated,
            record=self._config.record_checksum,
            listed_size=self._meta["size"],
            max_size=self._config.max_size,
            ledger=self._ledger,
            disk=self._disk,
            replaces=replaces,
        )
        return item
