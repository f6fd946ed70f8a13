"""A fetched file on its way to its final name: verified, then committed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Event

from scrapy import Request

from fetcher.contract import LISTED
from fetcher.disk.decoding import Decoding
from fetcher.disk.journal import Journal
from fetcher.disk.ledger import Ledger
from fetcher.disk.part import Part
from fetcher.errors import ChecksumMismatchError, DiskError, SizeMismatchError, Stopped
from fetcher.rules.answers import Version
from fetcher.rules.existing import Completed
from fetcher.rules.pieces import Pieces
from fetcher.rules.urls import without_query
from fetcher.transfer.addresses import addresses, alone
from fetcher.transfer.disk_work import DiskWork
from fetcher.transfer.safekeeping import Safekeeping
from fetcher.transfer.trail import Brought, liars


@dataclass(eq=False)
class Download:
    """A part that is whole as far as its server says.

    :param request: the file's request, to ask again when the bytes turn out wrong.
    :param source: the address whose version it is.
    :param part: the open, locked part.
    :param version: the resource's size and validators.
    :param resumable: the same, as a journal may state it.
    :param safekeeping: has hashed the file as far as it went.
    :param pieces: the hashes of its pieces, if the list says; they have been compared on the way,
        but for those of a file that came compressed.
    :param brought: who brought which bytes, where there is more than one address.
    :param stated: what the checksums are compared with: who states it, to ``algorithm:hex``.
    :param record: algorithm to compute for the report, empty for none.
    :param listed_size: bytes, if the list says.
    :param max_size: bytes, what ``DOWNLOAD_MAXSIZE`` allows; 0 for no limit.
    :param ledger: remembers the file once it is committed.
    :param disk: does what waits for a disk.
    :param replaces: the file under the final name that may be replaced.
    """

    request: Request
    source: str
    part: Part
    version: Version
    resumable: Version
    safekeeping: Safekeeping
    pieces: Pieces | None
    brought: list[Brought]
    stated: dict[str, str]
    record: str
    listed_size: int | None
    max_size: int
    ledger: Ledger
    disk: DiskWork
    replaces: os.stat_result | None
    checksum: str | None = field(default=None, init=False)
    _others: tuple[str, ...] = field(default=(), init=False)
    _decoding: Decoding | None = field(default=None, init=False)
    _stopping: Event = field(default_factory=Event, init=False)

    @property
    def address(self) -> str:
        """Where it came from, or first of all came from."""
        return addresses(self.request)[0].url

    @property
    def path(self) -> Path:
        """The final name."""
        return self.part.final

    @property
    def size(self) -> int | None:
        """Bytes of the final file, as far as known."""
        return self.version.size if self._decoding is None else self._decoding.size

    async def verify(self) -> list[str]:
        """Compare size and checksums; what was compared, for the report.

        :raises SizeMismatchError: nobody said how long the file is, or the list says otherwise.
        :raises DecodeError: it came compressed, and cannot be decoded.
        :raises ChecksumMismatchError: naming both digests.
        """
        size = self.version.size
        if size is None:
            raise SizeMismatchError(f"the size of {self.part.name} is not known: run again")
        try:
            if self.version.codings:
                computed = await self._decode(size)
            else:
                computed = await self.safekeeping.checksums(size)
        except Stopped:
            await self.disk.run(self.keep)
            raise
        self.checksum = computed.get(self.record) or next(iter(computed.values()), None)
        self._others = tuple(each for each in computed.values() if each != self.checksum)
        verified = ["size"]
        if self.version.validator:
            verified.append(self.version.validator)
        if self.pieces is not None:
            verified.append("pieces")
        for source, expected in self.stated.items():
            algorithm = expected.partition(":")[0]
            if computed[algorithm] != expected:
                raise ChecksumMismatchError(
                    f"the checksum of {self.part.name} is {computed[algorithm]}, but the {source} "
                    f"says {expected}: check both, the bytes are not kept"
                )
            verified.append(algorithm if source in LISTED else source.lower())
        return verified

    def stop(self, reason: Stopped) -> None:
        """Break off a verification; :meth:`verify` raises ``reason``."""
        self._stopping.set()
        self.safekeeping.stop(reason)
        if self._decoding is not None:
            self._decoding.stop(reason)

    def others(self) -> Iterator[Request]:
        """Requests that fetch the file anew when its bytes are wrong, one after the other.

        Where it has several addresses, each is asked alone: then it is clear whose bytes are wrong.
        """
        count = len(addresses(self.request))
        for index in range(count):
            yield alone(self.request, index if count > 1 else None)

    def liars(self, right: Path) -> list[str]:
        """The addresses that brought other bytes than those of the right file; reads it all.

        :raises DiskError: when it cannot be read.
        """
        try:
            return liars(self.brought, right, self._stopping)
        except OSError as error:
            raise DiskError(f"{right} cannot be read: {error.strerror or error}") from error

    def discard(self) -> None:
        """Remove the part: its bytes are wrong. Where that cannot be done, they are found to be
        wrong again by the next run."""
        with suppress(DiskError):
            self.part.discard()
        self.part.close()

    def close(self) -> None:
        """Release the part; what is on disk stays."""
        self.part.close()

    async def _decode(self, size: int) -> dict[str, str]:
        algorithms = {value.partition(":")[0] for value in self.stated.values()}
        algorithms |= {self.record} - {""}
        self._decoding = Decoding(
            self.part, size, self.version.codings, algorithms, self.max_size, self.pieces
        )
        computed = await self.disk.run(self._decoding.run)
        if self.listed_size not in (None, self._decoding.size):
            raise SizeMismatchError(
                f"the list says that {self.part.name} has {self.listed_size} bytes, but the "
                f"server's has {self._decoding.size}: correct the list"
            )
        return computed

    def keep(self) -> None:
        """All of it is there: so say the journal; in a thread."""
        size = self.version.size
        self.part.checkpoint(Journal(self.part.name, self.resumable, ((0, size),) if size else ()))

    def make_final(self) -> Completed:
        """All but the final name, in a thread; what is to be remembered of the file.

        :raises DiskError: when that cannot be done.
        """
        self.part.cut(self.version.size or 0)
        final = self.part.make_final(_seconds(self.version.last_modified), self.replaces)
        return Completed(
            name=self.part.name,
            size=final.st_size,
            mtime_ns=final.st_mtime_ns,
            etag=self.version.etag,
            last_modified=self.version.last_modified,
            checksum=self.checksum,
            others=self._others,
            address=without_query(self.source),
        )


def _seconds(last_modified: str | None) -> float | None:
    """Seconds since 1970 of an HTTP date; None for none, or for one no file system can hold."""
    try:
        seconds = parsedate_to_datetime(last_modified or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if 0 <= seconds < 2**33 else None
