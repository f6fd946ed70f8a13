"""Room on the disk that files of known sizes are promised until they occupy it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from fetcher.disk.part import Part
from fetcher.disk.room import usable_bytes
from fetcher.errors import DiskFullError

SMALL = 1 << 20
"""Bytes: files up to this size are not looked after one by one where there is :data:`ROOMY` left,
and was within :data:`ROOMY_SECONDS`."""

ROOMY = 1 << 30
ROOMY_SECONDS = 0.1


class Promises:
    """Those of a crawl: files that begin at a time do not fill the disk together."""

    def __init__(self) -> None:
        self._sizes: dict[Part, int] = {}
        self._roomy: tuple[Path, float] | None = None

    def give(self, part: Part, size: int) -> None:
        """Promise a part the room for all of its bytes.

        :raises DiskFullError: there is not so much that nobody else has been promised.
        """
        self.take_back(part)
        if size > SMALL or not self._is_roomy(part.folder):
            self._check(part, size)
        self._sizes[part] = size

    def _is_roomy(self, folder: Path) -> bool:
        """Whether small files need not be looked after; for a moment that is remembered."""
        now = time.monotonic()
        if self._roomy is None or self._roomy[0] != folder or self._roomy[1] < now:
            roomy = usable_bytes(folder) - sum(self._sizes.values()) > ROOMY
            self._roomy = (folder, now + ROOMY_SECONDS) if roomy else None
        return self._roomy is not None

    def _check(self, part: Part, size: int) -> None:
        needed = size - part.allocated()
        folder = part.folder
        usable = usable_bytes(folder)
        # Only where it gets tight is it worth asking how much of it all is there by now.
        if needed + sum(self._sizes.values()) > usable:
            usable = max(0, usable - self._outstanding(os.fstat(part.fd).st_dev))
        if needed > usable:
            raise DiskFullError(
                f"{part.path} needs {needed} bytes more, but {folder} has room for only {usable}: "
                "make room and run again"
            )

    def take_back(self, part: Part) -> None:
        """The part has its room, or has been given up."""
        self._sizes.pop(part, None)

    def _outstanding(self, device: int) -> int:
        total = 0
        for part, size in self._sizes.items():
            with suppress(OSError):  # it has just been closed
                if os.fstat(part.fd).st_dev == device:
                    total += max(0, size - part.allocated())
        return total
