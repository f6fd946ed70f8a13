"""What of a file is done, in flight and left; pure bookkeeping without any input or output.

Offsets are bytes from the file's start, ranges are half-open: ``[start, end)``.
"""

from __future__ import annotations

from collections.abc import Iterable

UNKNOWN = 1 << 62
"""Stands for the size until a server states it; larger than any file."""

Range = tuple[int, int]


class Claim:
    """A range that one connection is filling.

    :ivar start: where it began.
    :ivar position: the next byte; everything before it is written.
    :ivar end: where to stop; may move down when another connection takes the rest over.
    :ivar whole: no other connection may take a part of it over.
    """

    __slots__ = ("end", "position", "start", "whole")

    def __init__(self, start: int, end: int, *, whole: bool = False) -> None:
        self.start = start
        self.position = start
        self.end = end
        self.whole = whole

    @property
    def remaining(self) -> int:
        """Bytes still to come."""
        return self.end - self.position

    def advance(self, count: int) -> None:
        """Note that ``count`` more bytes are written."""
        if not 0 <= count <= self.remaining:
            raise ValueError(f"{count} bytes into {self}")
        self.position += count

    def __repr__(self) -> str:
        return f"<Claim {self.start}..{self.position}..{self.end}>"


class Ranges:
    """The ranges of one file.

    At any moment the done, the claimed and the free bytes are disjoint and together are the file.

    :param size: bytes, or None until it is known.
    :param done: ranges that are already there.
    :raises ValueError: when ``done`` is unsorted, overlaps or reaches beyond ``size``.
    """

    def __init__(self, size: int | None = None, done: Iterable[Range] = ()) -> None:
        self._size = UNKNOWN if size is None else size
        self._done: list[Range] = []
        self._claims: list[Claim] = []
        self._free: list[Range] = []
        at = 0
        for start, end in done:
            if not at <= start < end <= self._size:
                raise ValueError(f"range {start}-{end} of {size} after {at}")
            self._done.append((start, end))
            self._free.append((at, start))
            at = end
        self._done = _joined(self._done)
        self._free = [free for free in (*self._free, (at, self._size)) if free[0] < free[1]]

    @property
    def size(self) -> int | None:
        """Bytes of the whole file, None while unknown."""
        return None if self._size == UNKNOWN else self._size

    @property
    def complete(self) -> bool:
        """Whether every byte is there and the size is known."""
        return self.size is not None and self.received == self._size

    @property
    def received(self) -> int:
        """Bytes that are there."""
        done = sum(end - start for start, end in self._done)
        return done + sum(claim.position - claim.start for claim in self._claims)

    @property
    def done(self) -> tuple[Range, ...]:
        """What is there and no connection is at any more, in order and joined."""
        return tuple(self._done)

    @property
    def front(self) -> int:
        """How far the file is there without a gap from its start."""
        there = self.snapshot()
        return there[0][1] if there and there[0][0] == 0 else 0

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The ranges in flight."""
        return tuple(self._claims)

    @property
    def free(self) -> int:
        """Bytes that are neither there nor in flight."""
        return sum(end - start for start, end in self._free)

    def snapshot(self) -> list[Range]:
        """The ranges that are there now, in order and joined; what a journal may say."""
        parts = [(claim.start, claim.position) for claim in self._claims]
        return _joined(self._done + [part for part in parts if part[0] < part[1]])

    def set_size(self, size: int) -> None:
        """The size has become known; what was free or claimed beyond it is dropped.

        :raises ValueError: when there are already bytes beyond it.
        """
        there = self.snapshot()
        if there and there[-1][1] > size:
            raise ValueError(f"size {size}, but {there[-1][1]} are there")
        self._size = size
        self._free = [(start, min(end, size)) for start, end in self._free if start < size]
        for claim in self._claims:
            claim.end = max(claim.position, min(claim.end, size))

    def claim(self, most: int, least: int = 0) -> Claim | None:
        """Take the first free bytes, at most ``most``; None when nothing is free.

        A rest behind them of fewer than ``least`` goes along, so that it needs no request of its
        own.
        """
        if not self._free:
            return None
        start, end = self._free[0]
        cut = end if end - start < most + least else start + most
        if cut < end:
            self._free[0] = (cut, end)
        else:
            del self._free[0]
        claim = Claim(start, cut)
        self._claims.append(claim)
        return claim

    def extend(self, claim: Claim) -> None:
        """Let a claim run on over the free bytes behind it (a server that sends all it has)."""
        for index, (start, end) in enumerate(self._free):
            if start == claim.end:
                claim.end = end
                del self._free[index]
                return

    def steal(self, victim: Claim, count: int) -> Claim | None:
        """Take the last ``count`` bytes of a range in flight; None where it has not so many left,
        or is to stay whole."""
        if not 0 < count <= victim.remaining or victim.whole or victim not in self._claims:
            return None
        claim = Claim(victim.end - count, victim.end)
        victim.end = claim.start
        self._claims.append(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """A connection is through with its claim: what it wrote is done, the rest is free."""
        self._claims.remove(claim)
        if claim.start < claim.position:
            self._add_done(claim.start, claim.position)
        if claim.position < claim.end:
            self._free = _joined([*self._free, (claim.position, claim.end)])

    def lose(self, start: int, end: int) -> None:
        """These bytes, which were done, are to come again.

        :raises ValueError: when they are not all done.
        """
        self._undo(start, end)
        self._free = _joined([*self._free, (start, end)])

    def reclaim(self, start: int, end: int) -> Claim:
        """Take these bytes, which were done, to fill them again, from one connection.

        :raises ValueError: when they are not all done.
        """
        self._undo(start, end)
        claim = Claim(start, end, whole=True)
        self._claims.append(claim)
        return claim

    def _undo(self, start: int, end: int) -> None:
        for index, (first, last) in enumerate(self._done):
            if first <= start < end <= last:
                rest = [(first, start), (end, last)]
                self._done[index : index + 1] = [each for each in rest if each[0] < each[1]]
                return
        raise ValueError(f"{start}-{end} is not done")

    def rewind(self, claim: Claim) -> None:
        """The claim's bytes are to come again from its start."""
        claim.position = claim.start

    def _add_done(self, start: int, end: int) -> None:
        self._done = _joined([*self._done, (start, end)])


def _joined(ranges: list[Range]) -> list[Range]:
    """Sorted, with neighbours made one."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
