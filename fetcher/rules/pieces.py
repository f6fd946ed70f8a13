"""Hashes of a file's pieces, as Metalink lists them (RFC 5854, section 4.2.12)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fetcher.rules.checksums import parse_checksum

MAX_PIECES = 1 << 20
"""Of one file."""


@dataclass(frozen=True, slots=True)
class Pieces:
    """The hashes of all pieces of a file, in order.

    :param length: bytes of each piece but the last, which may be shorter.
    :param algorithm: one of :data:`fetcher.rules.checksums.ALGORITHMS`.
    :param hashes: in hexadecimal digits, lower case.
    :raises ValueError: no file has such pieces.
    """

    length: int
    algorithm: str
    hashes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.length < 1 or not 1 <= len(self.hashes) <= MAX_PIECES:
            raise ValueError(f"{len(self.hashes)} pieces of {self.length} bytes are none")
        for digits in self.hashes:
            parse_checksum(f"{self.algorithm}:{digits}")

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any] | None) -> Pieces | None:
        """What :meth:`plain` has made."""
        return None if plain is None else cls(**{**plain, "hashes": tuple(plain["hashes"])})

    def plain(self) -> dict[str, Any]:
        """Plain values, to travel in a request."""
        return {"length": self.length, "algorithm": self.algorithm, "hashes": list(self.hashes)}

    def fits(self, size: int) -> bool:
        """Whether they are those of a file of that many bytes."""
        return len(self.hashes) == max(1, -(-size // self.length))

    def span(self, index: int, size: int) -> tuple[int, int]:
        """Where a piece begins and ends in a file of ``size`` bytes."""
        start = index * self.length
        return start, min(start + self.length, size)
