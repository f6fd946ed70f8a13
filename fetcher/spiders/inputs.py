"""What a crawl reads its rows from: brought here where it lies elsewhere, and opened."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

from scrapy.utils.asyncio import run_in_thread

from fetcher.contract import Send
from fetcher.errors import InvalidListError, InvalidRowError, Stopped
from fetcher.lists import (
    BadRow,
    ListSource,
    ListStream,
    Row,
    SumsIndex,
    identity,
    label,
    open_list,
    open_sums,
)
from fetcher.spiders.assignment import Assignment
from fetcher.spiders.remote import RemoteFile


class Inputs:
    """The rows of an assignment, and what its file of checksums says of them.

    :ivar version: tells the list from another version of it; None where there is no list, or where
        that cannot be told.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._remote = [
            each for each in (assignment.source, assignment.sums) if isinstance(each, RemoteFile)
        ]
        self._source: ListSource | None = None
        self.version: str | None = None
        if isinstance(assignment.source, ListSource):
            self._source, self.version = assignment.source, assignment.source.version
        self.sums: SumsIndex | None = None
        self._stream = assignment.sums if isinstance(assignment.sums, ListStream) else None
        self._sums_path = self._stream.location if self._stream is not None else None
        self._receiving: asyncio.Future[None] | None = None
        self._stopped = False
        self._read = False

    def __iter__(self) -> Iterator[Row | BadRow]:
        yield from self._assignment.rows
        if self._source is not None:
            if self._read:
                self._source.close()
                self._source = self._source.reopen()
            self._read = True
            yield from self._source

    @property
    def ready(self) -> bool:
        """Whether there is nothing to wait for."""
        return not self._remote and self._assignment.sums is None

    def digest(self) -> str:
        """Tells these rows from others, wherever they are read; after :meth:`receive`.

        It reads the files once more, in a thread.

        :raises InvalidListError: one of them cannot be read.
        """
        digest = hashlib.sha256()
        for row in self._assignment.rows:
            text = identity(row) if isinstance(row, Row) else row.error.message
            digest.update(text.encode(errors="surrogatepass") + b"\0")
        source = self._source
        digest.update(f"{source.format if source else ''}\0".encode())
        for path in (source.location if source else None, self._sums_path):
            if path is not None:
                digest.update(_file_digest(path))
        return digest.hexdigest()

    async def receive(self, send: Send) -> None:
        """Wait for what is not there yet.

        It has a task of its own: who waits may be cancelled, and :meth:`close` lets it end.

        :param send: asks a server, through Scrapy's downloader middlewares.
        :raises InvalidListError: it cannot be used.
        :raises DiskError: there is no room for it.
        :raises Stopped: see :meth:`stop`.
        """
        if self._stopped:
            raise Stopped("stopped before the list was there: the same command goes on")
        self._receiving = asyncio.ensure_future(self._receive(send))
        await asyncio.shield(self._receiving)

    def note(self, row: BadRow) -> None:
        """The list has a row of this name, though it cannot be used."""
        if row.name and self.sums is not None:
            self.sums.note(row.name)

    def checksum_beside(self, row: Row, name: str) -> str | None:
        """What the file of checksums says of a row that the list does not say: ``algorithm:hex``.

        :param name: the row's final name.
        :raises InvalidRowError: it contradicts itself, or the list.
        """
        if self.sums is None:
            return None
        found = self.sums.find(name)
        for each in found:
            same_algorithm = _algorithm(each.checksum) == _algorithm(row.checksum)
            if same_algorithm and each.checksum != row.checksum:
                place = f"line {row.line} of the list" if row.line else "the option --checksum"
                raise InvalidRowError(
                    f"{place} says {row.checksum} of {name}, but line {each.line} of "
                    f"{self.sums.name} says {each.checksum}: correct one of them"
                )
        strongest = found[0].checksum if found else None
        return None if strongest == row.checksum else strongest

    def stop(self) -> None:
        """Wait no longer."""
        self._stopped = True
        if self._receiving is None or self._receiving.done():
            return
        for remote in self._remote:
            remote.stop()
        if self.sums is not None:
            self.sums.stop()
        if self._stream is not None:
            self._stream.interrupt()

    async def close(self) -> None:
        """Close what is read from; a thread that waits for the next row is let go."""
        self.stop()
        if self._receiving is not None:
            await asyncio.wait({self._receiving})
        for each in (self._source, self._stream):
            if each is not None:
                await run_in_thread(each.close)

    def forget(self) -> None:
        """Throw away what was read, when no thread asks for it any more."""
        if self.sums is not None:
            self.sums.close()
        if self._assignment.queue is not None:
            for remote in self._remote:
                remote.forget()

    async def _receive(self, send: Send) -> None:
        source, sums = self._assignment.source, self._assignment.sums
        if isinstance(source, RemoteFile):
            self.version = await source.fetch(send)
            self._source = await run_in_thread(
                open_list, str(source.path), self._assignment.format, source.address
            )
        if isinstance(sums, RemoteFile):
            await sums.fetch(send)
            self._sums_path = str(sums.path)
            self._stream = await run_in_thread(open_sums, self._sums_path, sums.address)
            self.sums = SumsIndex(sums.address)
        elif sums is not None:
            self.sums = SumsIndex(sums.location)
        if self.sums is not None and self._stream is not None:
            if self._stopped:
                self.sums.stop()
            await run_in_thread(self.sums.read, self._stream)
        for remote in self._remote:
            await run_in_thread(remote.forget_others)


def _file_digest(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InvalidListError(f"{label(path)} cannot be read: {error.strerror}") from error


def _algorithm(checksum: str | None) -> str:
    return (checksum or "").partition(":")[0]
