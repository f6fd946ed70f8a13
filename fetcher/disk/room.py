"""How much room a disk has, and how much of it is not for files."""

from __future__ import annotations

import os
from pathlib import Path

from fetcher.errors import DiskFullError

CHECK_BYTES = 8 << 20
"""How many bytes may be written until the room is looked at again."""

_MOST_KEPT = 64 << 20


def free_bytes(folder: Path) -> int:
    """Bytes that files may still take in a folder's file system.

    A reserve is kept, so that a body without end leaves room for journals and the report, and for
    others: 64 MiB, or a twentieth of a small file system.
    """
    usage = os.statvfs(folder)
    kept = min(_MOST_KEPT, usage.f_blocks * usage.f_frsize // 20)
    return usage.f_bavail * usage.f_frsize - kept


def check_room(path: Path) -> None:
    """Before a file without a known size goes on to grow; waits for the disk.

    :raises DiskFullError: no more than the reserve is left.
    """
    if free_bytes(path.parent) <= 0:
        raise DiskFullError(f"{path} has no more room on its disk: make room and run again")
