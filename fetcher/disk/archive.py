"""An archive as it is read: in blocks, stoppable, and never much of it at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from fetcher.contract import FileProgress
from fetcher.errors import DiskError, UnpackError

BLOCK = 1 << 18
"""Bytes that are read, unpacked and written at a time."""

MOST = 16 << 20
"""Bytes that a library may read at a time: the list of a zip's entries, which it takes as a
whole, and which becomes ten times as large in memory."""


class Archive:
    """An open archive.

    :param path: where it stands; no symbolic link.
    :param progress: kept up to date.
    :param check: called for each block; what it raises ends the reading.
    :raises DiskError: it cannot be opened.
    """

    def __init__(self, path: Path, progress: FileProgress, check: Callable[[], None]) -> None:
        self._path = path
        self._progress = progress
        self._check = check
        self._position = 0
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags)
        except OSError as error:
            raise self._unreadable(error) from error
        self.found = os.fstat(self._fd)

    def blocks(self) -> Iterator[bytes]:
        """All of it from the start."""
        self._position = 0
        while block := self.read(BLOCK):
            yield block

    def head(self, count: int) -> bytes:
        """Its first bytes."""
        return self._pread(count, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    # --- as a file, for zipfile -----------------------------------------------------------------

    def read(self, size: int = -1) -> bytes:
        """See :class:`io.RawIOBase`.

        :raises UnpackError: that is too much at a time.
        """
        left = max(0, self.found.st_size - self._position)
        size = left if size < 0 else min(size, left)
        if size > MOST:
            raise UnpackError(
                "its list of entries is too long to be kept in memory: unpack it by hand"
            )
        data = self._pread(size, self._position)
        self._position += len(data)
        self._progress.done += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See :class:`io.RawIOBase`."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.found.st_size}
        position = start[whence] + offset
        if position < 0:
            raise OSError("before the start of the file")
        self._position = position
        return position

    def tell(self) -> int:
        """See :class:`io.RawIOBase`."""
        return self._position

    def seekable(self) -> bool:
        """See :class:`io.RawIOBase`."""
        return True

    def _pread(self, size: int, offset: int) -> bytes:
        self._check()
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> DiskError:
        return DiskError(f"{self._path} cannot be read ({error.strerror or error}): run again")
