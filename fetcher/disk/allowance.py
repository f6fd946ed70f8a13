"""How much an archive may put on the disk: a bomb is small until it is unpacked."""

from __future__ import annotations

from pathlib import Path

from fetcher.disk.room import Growth, spare_bytes, spare_files
from fetcher.errors import DiskFullError, UnpackError

MAX_MEMBERS = 10_000_000
"""Files, folders and links of one archive."""

_FULL = "there is not room enough on its disk, of which some is kept free: make room and run again"


class Allowance:
    """Counts what is unpacked of one archive.

    :param folder: where it is put.
    :param max_size: bytes, what ``DOWNLOAD_MAXSIZE`` allows; 0 for no limit.
    """

    def __init__(self, folder: Path, max_size: int) -> None:
        self._max_size = max_size
        self._size = 0
        self._room = spare_bytes(folder)
        self._growth = Growth(folder / "member")
        files = spare_files(folder)
        self._most = MAX_MEMBERS if files is None else max(0, min(files, MAX_MEMBERS))
        self._count = 0

    def one_more(self) -> None:
        """Before another file, folder or link is made.

        :raises UnpackError: there are too many.
        """
        self._count += 1
        if self._count > self._most:
            raise UnpackError(
                f"it has more than {self._most} members, which is the most that there may be or "
                "that its disk has room for: unpack it by hand"
            )

    def hole(self, count: int) -> None:
        """Before a file gets so many bytes that take no room, but will for whoever copies it.

        :raises UnpackError: they are too many.
        """
        self._size += count
        if self._max_size and self._size > self._max_size:
            raise UnpackError(
                f"it holds more than DOWNLOAD_MAXSIZE allows ({self._max_size} bytes): raise that, "
                "or unpack it by hand"
            )
        if self._size > self._room:
            raise UnpackError(_FULL)

    def write(self, count: int) -> None:
        """Before so many bytes are written.

        :raises UnpackError: they are too many, or there is no room for them any more.
        """
        self.hole(count)
        try:
            self._growth.grow(count)
        except DiskFullError as error:
            raise UnpackError(_FULL) from error
