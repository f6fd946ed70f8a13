"""Compares the pieces of a file with their hashes as they complete."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from scrapy.utils.asyncio import run_in_thread

from fetcher.disk.part import Part
from fetcher.errors import Stopped
from fetcher.rules.pieces import Pieces
from fetcher.rules.ranges import Range

LOOK_BYTES = 64 << 20
LOOK_PIECES = 1 << 10
"""At most so much is hashed in one look, and one piece at least."""

NEAR = 64 << 10
"""Wrong pieces that are smaller than this, and nearer to each other, come again together: a request
costs more."""

_BLOCK = 2 << 20


class Wrong(NamedTuple):
    """Pieces that are to come again.

    :ivar start: where the first one begins.
    :ivar end: where the last one ends.
    :ivar times: how often the worst of them has been wrong.
    """

    start: int
    end: int
    times: int


class PieceCheck:
    """The pieces of one part.

    :param pieces: what the list says.
    :param part: the open part; its pieces are read back from the page cache.
    :param size: bytes of the file.
    :raises SizeMismatchError: a file of that size has other pieces.
    """

    def __init__(self, pieces: Pieces, part: Part, size: int) -> None:
        pieces.check_fits(part.name, size)
        self._failures: Counter[int] = Counter()
        self._pieces = pieces
        self._part = part
        self._size = size
        self._good = bytearray(len(pieces.hashes))
        self._stopped: Stopped | None = None

    @property
    def complete(self) -> bool:
        """Whether every piece has been found right."""
        return 0 not in self._good

    @property
    def front(self) -> int:
        """How far the file is right without a gap from its start."""
        first = self._good.find(0)
        return self._size if first < 0 else first * self._pieces.length

    def stop(self, reason: Stopped) -> None:
        """Break off; :meth:`look` raises ``reason``."""
        self._stopped = reason

    def ready(self, done: Iterable[Range]) -> bool:
        """Whether there is a piece to look at."""
        return next(self._unknown(done), None) is not None

    async def look(self, done: Sequence[Range]) -> list[Wrong]:
        """Hash some of the pieces that are there; those that are wrong.

        :param done: what is written and not being written to.
        :raises DiskError: they cannot be read.
        """
        most = min(LOOK_PIECES, -(-LOOK_BYTES // self._pieces.length))
        return self._together(await self._compare(islice(self._unknown(done), most)), done)

    async def are_right(self, start: int, end: int) -> bool:
        """Whether all pieces of a range that is there are right.

        :raises DiskError: they cannot be read.
        """
        length = self._pieces.length
        return not await self._compare(range(start // length, -(-end // length)))

    async def _compare(self, pieces: Iterable[int]) -> list[int]:
        """Those of the pieces that are wrong."""
        batch = list(pieces)
        wrong = await run_in_thread(self._hash, batch) if batch else []
        self._failures.update(wrong)
        return wrong

    def _unknown(self, done: Iterable[Range]) -> Iterator[int]:
        """The pieces that lie in what is done and have not been found right."""
        length = self._pieces.length
        for start, end in done if self._size else [(0, 0)]:
            first = -(-start // length)
            last = len(self._good) if end >= self._size else end // length
            at = self._good.find(0, first, last)
            while at >= 0:
                yield at
                at = self._good.find(0, at + 1, last)

    def _together(self, wrong: list[int], done: Sequence[Range]) -> list[Wrong]:
        """Wrong pieces, the small ones that are near to each other joined."""
        found: list[Wrong] = []
        for index in wrong:
            start, end = self._pieces.span(index, self._size)
            times = self._failures[index]
            if found and self._pieces.length < NEAR and start - found[-1].end < NEAR:
                last = found[-1]
                if any(first <= last.start and end <= behind for first, behind in done):
                    between = slice(last.end // self._pieces.length, index)
                    self._good[between] = bytes(len(self._good[between]))
                    found[-1] = Wrong(last.start, end, max(last.times, times))
                    continue
            found.append(Wrong(start, end, times))
        return found

    def _hash(self, batch: list[int]) -> list[int]:
        wrong = []
        for index in batch:
            with self._part.told("read back"):
                right = self._digest(index) == self._pieces.hashes[index]
            if right:
                self._good[index] = 1
            else:
                wrong.append(index)
        return wrong

    def _digest(self, index: int) -> str:
        digest = self._pieces.new_hash()
        at, end = self._pieces.span(index, self._size)
        while at < end:
            if self._stopped is not None:
                raise self._stopped
            data = os.pread(self._part.fd, min(_BLOCK, end - at), at)
            if not data:
                raise OSError(f"the file ends at {at} instead of {end}")
            digest.update(data)
            at += len(data)
        return str(digest.hexdigest())
