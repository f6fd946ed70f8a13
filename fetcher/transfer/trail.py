"""Which address brought which bytes of a file, so that the one that lied can be named."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from threading import Event
from typing import NamedTuple

from fetcher.rules.ranges import Claim

_BLOCK = 1 << 20


class _Mark:
    """Bytes that one address brought in a row.

    :ivar crc: their CRC-32: enough to tell by whom a difference came that is already proven.
    """

    __slots__ = ("address", "crc", "end", "start")

    def __init__(self, address: str, start: int) -> None:
        self.address = address
        self.start = self.end = start
        self.crc = 0


class Brought(NamedTuple):
    """What is known of some bytes of a wrong file."""

    address: str
    start: int
    end: int
    crc: int


class Trail:
    """Notes bytes as they come; one entry for each range and connection."""

    def __init__(self) -> None:
        self._marks: list[_Mark] = []
        self._open: dict[Claim, _Mark] = {}

    def note(self, address: str, claim: Claim, position: int, data: bytes | memoryview) -> None:
        """``data`` came from ``address``, and went to ``position``."""
        mark = self._open.get(claim)
        if mark is None or mark.end != position or mark.address != address:
            mark = self._open[claim] = _Mark(address, position)
            self._marks.append(mark)
        mark.crc = zlib.crc32(data, mark.crc)
        mark.end += len(data)

    def close(self, claim: Claim) -> None:
        """Nothing more comes for this claim."""
        self._open.pop(claim, None)

    def brought(self, start: int, end: int) -> set[str]:
        """Who brought bytes of this range, the last ones before all."""
        found: set[str] = set()
        missing = [(start, end)]
        for mark in reversed(self._marks):
            rest = []
            for first, last in missing:
                if mark.end <= first or last <= mark.start:
                    rest.append((first, last))
                    continue
                found.add(mark.address)
                rest += [(first, mark.start)] if first < mark.start else []
                rest += [(mark.end, last)] if mark.end < last else []
            missing = rest
        return found

    def all(self) -> list[Brought]:
        """All that was noted."""
        return [Brought(each.address, each.start, each.end, each.crc) for each in self._marks]


def liars(wrong: list[Brought], right: Path, stop: Event) -> list[str]:
    """The addresses that brought other bytes than those of the right file; reads all of it.

    :param stop: breaks off, with those that were found.
    :raises OSError: it cannot be read.
    """
    found: dict[str, None] = {}
    with right.open("rb") as file:
        for each in wrong:
            if each.address in found:
                continue
            crc, at = 0, each.start
            while at < each.end and not stop.is_set():
                data = os.pread(file.fileno(), min(_BLOCK, each.end - at), at)
                if not data:
                    break
                crc = zlib.crc32(data, crc)
                at += len(data)
            if not stop.is_set() and (at < each.end or crc != each.crc):
                found[each.address] = None
    return list(found)
