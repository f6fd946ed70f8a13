"""How much room a disk has, and how much of it is not for files."""

from __future__ import annotations

import os
from pathlib import Path

from fetcher.errors import DiskFullError

CHECK_BYTES = 8 << 20
"""At most so many bytes are written until the room is looked at again."""

_MOST_KEPT = 64 << 20
_LEAST_KEPT = 4 << 20


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written in a folder's file system."""
    return _free(os.statvfs(folder))


def usable_bytes(folder: Path) -> int:
    """Bytes that files of known sizes may take: without room for their journals, the memory of what
    is completed and the report, what has been fetched could not be gone on with."""
    usage = os.statvfs(folder)
    return max(0, _free(usage) - _reserve(usage, _LEAST_KEPT))


def _free(usage: os.statvfs_result) -> int:
    return usage.f_bavail * usage.f_frsize


def _reserve(usage: os.statvfs_result, most: int = _MOST_KEPT) -> int:
    """Bytes that a body without end leaves for all that, and for others."""
    return min(most, usage.f_blocks * usage.f_frsize // 20)


def spare_bytes(folder: Path) -> int:
    """Bytes that may be written into a folder's file system, but for the reserve."""
    usage = os.statvfs(folder)
    return _free(usage) - _reserve(usage)


def spare_files(folder: Path) -> int | None:
    """How many files may be made there, but for a reserve; None where the system sets no limit."""
    usage = os.statvfs(folder)
    return usage.f_favail - usage.f_files // 20 if usage.f_files else None


class Growth:
    """Watches over the room for a file that grows to an unknown size.

    :param path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = 0

    def grow(self, count: int) -> None:
        """Before ``count`` bytes are written.

        :raises DiskFullError: no more than the reserve is left.
        """
        self._left -= count
        if self._left >= 0:
            return
        free = spare_bytes(self._path.parent)
        if free <= count:
            raise DiskFullError(
                f"{self._path} has no more room on its disk, but for a reserve: make room and "
                "run again"
            )
        # On a small disk sooner: others write to it, too.
        self._left = min(CHECK_BYTES, free // 4)
