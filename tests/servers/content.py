"""Bytes to serve: as large as a test likes, the same on every run, and never all in memory."""

import hashlib
import random
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_BLOCK = 1 << 16
_CELL = 64
_CELLS = _BLOCK // _CELL


@dataclass(frozen=True)
class Source(ABC):
    """Something of a known size that can be read at any offset."""

    size: int

    @property
    @abstractmethod
    def tag(self) -> str:
        """Tells this content from any other; a server's default ETag is made of it."""

    @abstractmethod
    def read(self, start: int, end: int) -> bytes:
        """The bytes at the offsets from `start` up to, not including, `end`, as `bytes[start:end]`
        would give them."""

    def blocks(self, block_size: int = 256 << 10) -> Iterator[bytes]:
        for start in range(0, self.size, block_size):
            yield self.read(start, start + block_size)

    @property
    def sha256(self) -> str:
        return self.digest("sha256")

    def digest(self, algorithm: str) -> str:
        """Hexadecimal; reckoned once, without holding the content."""
        return _digest(self, algorithm)

    def write_to(self, path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(self.blocks())

    def first_difference(self, path: Path) -> int | None:
        """The first offset at which the file differs (its end, where it is too short; the
        content's end, where it is too long), or None where it is the same."""
        offset = 0
        with path.open("rb") as file:
            for expected in self.blocks():
                found = file.read(len(expected))
                if found != expected:
                    same = zip(found, expected, strict=False)
                    return offset + next(
                        (at for at, (left, right) in enumerate(same) if left != right), len(found)
                    )
                offset += len(expected)
            return offset if file.read(1) else None


@dataclass(frozen=True)
class Content(Source):
    """Pseudo-random bytes, different for every seed.

    Each cell of 64 bytes begins with its own number, so no stretch of more than a cell is found
    twice: bytes that land at a wrong offset change the checksum. Small seeds and sizes are prefixes
    of large ones: `Content(10, 1)` begins `Content(20, 1)`.
    """

    seed: int = 0

    @property
    def tag(self) -> str:
        return f"{self.seed:x}-{self.size:x}"

    def read(self, start: int, end: int) -> bytes:
        end = min(end, self.size)
        if start >= end:
            return b""
        first, last = start // _BLOCK, (end - 1) // _BLOCK
        offset = start - first * _BLOCK
        if first == last:
            return _block(self.seed, first)[offset : offset + end - start]
        blocks = [_block(self.seed, number) for number in range(first, last + 1)]
        blocks[0] = blocks[0][offset:]
        blocks[-1] = blocks[-1][: end - last * _BLOCK]
        return b"".join(blocks)


@dataclass(frozen=True)
class Bytes(Source):
    """Given bytes, for lists, error pages and compressed bodies."""

    data: bytes
    size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.data))

    @property
    def tag(self) -> str:
        return self.sha256[:16]

    def read(self, start: int, end: int) -> bytes:
        return self.data[start:end]


@lru_cache(maxsize=256)
def _digest(source: Source, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for block in source.blocks():
        digest.update(block)
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _pattern(seed: int) -> bytes:
    """One block, with the number within the block at the front of each cell."""
    block = bytearray(random.Random(seed).randbytes(_BLOCK))
    numbers = struct.pack(f">{_CELLS}H", *range(_CELLS))
    block[6::_CELL] = numbers[0::2]
    block[7::_CELL] = numbers[1::2]
    return bytes(block)


@lru_cache(maxsize=64)
def _block(seed: int, number: int) -> bytes:
    """The pattern, with the block's number before the cell's in each cell."""
    block = bytearray(_pattern(seed))
    for place, value in enumerate(number.to_bytes(6)):
        block[place::_CELL] = bytes([value]) * _CELLS
    return bytes(block)
