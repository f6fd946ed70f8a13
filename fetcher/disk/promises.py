"""Room on the disk that files of known sizes are promised until they occupy it."""

from __future__ import annotations

import os
from contextlib import suppress

from fetcher.disk.part import Part
from fetcher.disk.room import usable_bytes
from fetcher.errors import DiskFullError


class Promises:
    """Those of a crawl: files that begin at a time do not fill the disk together."""

    def __init__(self) -> None:
        self._sizes: dict[Part, int] = {}

    def give(self, part: Part, size: int) -> None:
        """Promise a part the room for all of its bytes.

        :raises DiskFullError: there is not so much that nobody else has been promised.
        """
        self.take_back(part)
        needed = size - part.allocated()
        folder = part.path.parent
        usable = usable_bytes(folder)
        # Only where it gets tight is it worth asking how much of it all is there by now.
        if needed + sum(self._sizes.values()) > usable:
            usable = max(0, usable - self._outstanding(os.fstat(part.fd).st_dev))
        if needed > usable:
            raise DiskFullError(
                f"{part.path} needs {needed} bytes more, but {folder} has room for only {usable}: "
                "make room and run again"
            )
        self._sizes[part] = size

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
