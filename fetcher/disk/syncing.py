"""Waits until what was written is on the disk, so that a power cut does not take it away."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def _find() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is not None:
        function.argtypes = (ctypes.c_int,)
    return function


_syncfs = _find()


def sync_folder(folder: Path) -> None:
    """Sync a folder itself: which names are in it."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Some network file systems cannot sync a folder; the rename itself has happened.
        with suppress(OSError):
            os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(fd: int) -> None:
    """Sync all of the file system that an open file or folder is in.

    For many small files: an ``fsync`` of each would take a hundred times as long.

    :raises OSError: something could not be written.
    """
    if _syncfs is None:
        os.sync()
    elif _syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
