"""Hashing a file while it arrives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Any

_BLOCK = 512 << 10
"""Bytes at a time; fits a processor's cache, and the interpreter lock is free most of the time."""


class Digester:
    """Hashes the contiguous front of an open file, following it as it grows.

    Reads what was written a moment ago, from the page cache; belongs in a thread, one call at a
    time. :mod:`hashlib` releases the interpreter lock for such blocks.

    :param fd: the open file; read with ``pread``, its offset is not touched.
    :param algorithms: names as :mod:`hashlib` has them.
    """

    def __init__(self, fd: int, algorithms: Iterable[str]) -> None:
        self._fd = fd
        self._hashes: dict[str, Any] = {
            name: hashlib.new(name, usedforsecurity=False) for name in sorted(set(algorithms))
        }
        self.position = 0
        self._stopped: BaseException | None = None

    def stop(self, reason: BaseException) -> None:
        """Break off; :meth:`follow` raises ``reason``. May be called from another thread."""
        self._stopped = reason

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What is computed."""
        return tuple(self._hashes)

    def follow(self, front: int) -> None:
        """Hash up to ``front``, an offset up to which the file is there.

        :raises OSError: when the file is shorter or cannot be read.
        """
        buffer = memoryview(bytearray(_BLOCK))
        while self._hashes and self.position < front:
            if self._stopped is not None:
                raise self._stopped
            wanted = buffer[: min(_BLOCK, front - self.position)]
            count = os.preadv(self._fd, [wanted], self.position)
            if not count:
                raise OSError(f"the file ends at {self.position} instead of {front}")
            for each in self._hashes.values():
                each.update(wanted[:count])
            self.position += count

    def checksums(self) -> dict[str, str]:
        """Algorithm to ``algorithm:hex`` of what was hashed."""
        return {name: f"{name}:{each.hexdigest()}" for name, each in self._hashes.items()}


def file_checksum(path: str | os.PathLike[str], algorithm: str) -> str:
    """``algorithm:hex`` of a file.

    :raises OSError: when it cannot be read.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - takes str and PathLike alike
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"
