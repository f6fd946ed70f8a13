"""Files that earlier crawls have stored: whether their servers are to be asked for them again."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from fetcher.disk.ledger import Ledger
from fetcher.rules.urls import without_query

_DAY = 24 * 60 * 60


class Stored:
    """All of it waits for the disk, in any thread.

    :param folder: where they are.
    :param expires: days after which one is asked for again, ``FILES_EXPIRES``.
    :param told_apart: whether two addresses never have one path.
    """

    def __init__(self, folder: Path, expires: float, *, told_apart: bool) -> None:
        self._folder = folder
        self._expires = expires * _DAY
        self._told_apart = told_apart
        self._lock = Lock()
        self._ledger: Ledger | None = None

    def must_ask(self, name: str, url: str) -> bool:
        """Whether it may be another file by now, or may always have been that of another address.

        :raises DiskError: what is remembered of it cannot be looked up.
        """
        try:
            # Its modification time is the server's; this is when it was put there, or confirmed.
            since = (self._folder / name).lstat().st_ctime
        except OSError:
            return False
        if time.time() - since > self._expires:
            return True
        if self._told_apart:
            return False
        with self._lock:
            self._ledger = self._ledger or Ledger(self._folder)
        remembered = self._ledger.find(name)
        # Of a query it is not remembered: most often it is a signature.
        return remembered is None or remembered.address != without_query(url) or "?" in url

    def confirm(self, name: str) -> None:
        """It has just been asked for: that changes the inode's time, and no other."""
        with suppress(OSError):
            path = self._folder / name
            found = path.lstat()
            os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)

    def close(self) -> None:
        """Release what is open."""
        if self._ledger is not None:
            self._ledger.close()
