"""Hashes of a file's pieces, as Metalink lists them (RFC 5854, section 4.2.12)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fetcher.errors import ChecksumMismatchError, SizeMismatchError
from fetcher.rules.checksums import parse_checksum

MAX_PIECES = 1 << 20
"""Of one file."""

_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


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
        # One by one they would take seconds.
        if len(set(map(len, self.hashes))) != 1 or not _HEX.fullmatch("".join(self.hashes)):
            raise ValueError("not all hashes of the pieces are of one kind")
        parse_checksum(f"{self.algorithm}:{self.hashes[0]}")

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

    def check_fits(self, name: str, size: int) -> None:
        """:raises SizeMismatchError: the file has ``size`` bytes, and so other pieces."""
        if not self.fits(size):
            raise SizeMismatchError(
                f"the list has the hashes of {len(self.hashes)} pieces of {self.length} bytes for "
                f"{name}, but the server's has {size} bytes: correct the list"
            )

    def new_hash(self) -> Any:
        """For the bytes of one piece."""
        return hashlib.new(self.algorithm, usedforsecurity=False)

    def span(self, index: int, size: int) -> tuple[int, int]:
        """Where a piece begins and ends in a file of ``size`` bytes."""
        start = index * self.length
        return start, min(start + self.length, size)


class PieceReader:
    """Compares the pieces of a file while its bytes pass by in their order.

    :param pieces: what the list says.
    :param name: the file's, for the errors.
    """

    def __init__(self, pieces: Pieces, name: str) -> None:
        self._pieces = pieces
        self._name = name
        self._at = 0
        self._hash = pieces.new_hash()

    def read(self, block: bytes) -> None:
        """The next bytes.

        :raises ChecksumMismatchError: a piece is wrong.
        """
        left, length = memoryview(block), self._pieces.length
        while left:
            part = left[: length - self._at % length]
            self._hash.update(part)
            self._at += len(part)
            left = left[len(part) :]
            if self._at % length == 0:
                self._compare()

    def end(self) -> None:
        """There are no more.

        :raises ChecksumMismatchError: the last piece is wrong.
        :raises SizeMismatchError: a file of that size has other pieces.
        """
        self._pieces.check_fits(self._name, self._at)
        if self._at % self._pieces.length or not self._at:
            self._compare()

    def _compare(self) -> None:
        start = max(0, self._at - 1) // self._pieces.length * self._pieces.length
        index = start // self._pieces.length
        found, self._hash = self._hash.hexdigest(), self._pieces.new_hash()
        if index < len(self._pieces.hashes) and found != self._pieces.hashes[index]:
            raise ChecksumMismatchError(
                f"bytes {start} to {self._at} of {self._name} do not have their hash: check the "
                "list, or try again later"
            )
