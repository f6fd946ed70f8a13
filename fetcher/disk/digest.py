"""Hashing a file while it arrives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fetcher.errors import DiskError

_BLOCK = 2 << 20
"""Bytes at a time: large enough to leave the interpreter lock to the reactor most of the time."""


class Digester:
    """Hashes the contiguous front of an open file, following it as it grows.

    Reads what was written a moment ago, from the page cache; belongs in a thread, one call at a
    time. :mod:`hashlib` releases the interpreter lock for such blocks.

    :param fd: the open file; read with ``pread``, its offset is not touched.
    :param algorithms: names as :mod:`hashlib` has them.
    """

    def __init__(self, fd: int, algorithms: Iterable[str]) -> None:
        self.fd = fd
        self._hashes: dict[str, Any] = {
            name: hashlib.new(name, usedforsecurity=False) for name in sorted(set(algorithms))
        }
        self.position = 0
        self._stopped: BaseException | None = None
        self._paused = False

    def pause(self) -> None:
        """Let :meth:`follow` return before it has come to the front, now and until
        :meth:`go_on`. May be called from another thread."""
        self._paused = True

    def go_on(self) -> None:
        """From now on :meth:`follow` goes up to the front again."""
        self._paused = False

    def stop(self, reason: BaseException) -> None:
        """Break off; :meth:`follow` raises ``reason``. May be called from another thread."""
        self._stopped = reason

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What is computed."""
        return tuple(self._hashes)

    def follow(self, front: int) -> None:
        """Hash up to ``front``, an offset up to which the file is there, unless paused.

        :raises OSError: when the file is shorter or cannot be read.
        """
        buffer = memoryview(bytearray(max(0, min(_BLOCK, front - self.position))))
        while self._hashes and self.position < front and not self._paused:
            if self._stopped is not None:
                raise self._stopped
            wanted = buffer[: front - self.position]
            count = os.preadv(self.fd, [wanted], self.position)
            if not count:
                raise OSError(f"the file ends at {self.position} instead of {front}")
            for each in self._hashes.values():
                each.update(wanted[:count])
            self.position += count

    def checksums(self) -> dict[str, str]:
        """Algorithm to ``algorithm:hex`` of what was hashed."""
        return {name: f"{name}:{each.hexdigest()}" for name, each in self._hashes.items()}


class FileHash:
    """The checksum of a whole file, which can be broken off.

    :param path: of a file that is not being written.
    :param algorithm: as :mod:`hashlib` has it.
    """

    def __init__(self, path: Path, algorithm: str) -> None:
        self._path = path
        self._algorithm = algorithm
        self._digester = Digester(-1, (algorithm,))

    def stop(self, reason: BaseException) -> None:
        """Break off; :meth:`checksum` raises ``reason``. May be called from another thread."""
        self._digester.stop(reason)

    def checksum(self) -> str:
        """``algorithm:hex``; belongs in a thread.

        :raises DiskError: when the file cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                self._digester.fd = file.fileno()
                self._digester.follow(os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise DiskError(f"{self._path} cannot be read: {error.strerror or error}") from error
        return self._digester.checksums()[self._algorithm]
