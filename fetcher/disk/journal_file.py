"""The file of a journal, ``name.part.json``: read with suspicion, written aside and renamed.

All of it may take long and belongs in a thread. That the part's folder is still the one in which it
was opened is for the part to see.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fetcher.disk.journal import MAX_BYTES, BadJournalError, Journal, decode
from fetcher.disk.syncing import sync_folder
from fetcher.rules.names import ASIDE_SUFFIX, PART_SUFFIX

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class JournalFile:
    """That of one part.

    :param part: the part's path.

    :ivar begun: whether there may be one, whole or written in part.
    """

    def __init__(self, part: Path) -> None:
        self.path = part.parent / (part.name + ".json")
        # As long as the journal's own name, which may be as long as the file system allows.
        self._aside = part.parent / (part.name.removesuffix(PART_SUFFIX) + ASIDE_SUFFIX)
        self.begun = True

    def read(self, name: str, size: int) -> Journal | None:
        """What it says, where that fits.

        :param name: the file that it has to be about.
        :param size: bytes of its part.
        :raises OSError: it cannot be read.
        """
        try:
            fd = os.open(self.path, _READ)
        except FileNotFoundError:
            self.begun = size > 0
            return None
        try:
            text = b""
            while len(text) <= MAX_BYTES and (block := os.read(fd, 1 << 20)):
                text += block
        finally:
            os.close(fd)
        try:
            journal = decode(text)
        except BadJournalError:
            return None
        if journal.name != name or (journal.ranges and journal.ranges[-1][1] > size):
            return None
        return journal

    def write(self, journal: Journal) -> None:
        """Put a journal in the place of the one before; all of it is on the disk by then.

        :raises OSError: that cannot be done; the one before stays.
        """
        self.begun = True
        self._aside.unlink(missing_ok=True)
        fd = os.open(self._aside, _WRITE, 0o600)
        try:
            left = memoryview(journal.encode())
            while left:
                left = left[os.write(fd, left) :]
            os.fdatasync(fd)
            self._aside.rename(self.path)
        except BaseException:
            self._aside.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)

    def drop(self) -> None:
        """Remove it for good.

        :raises OSError: that cannot be done.
        """
        self._aside.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.path.unlink()
            # It must not come back after a power cut, over bytes of another version.
            sync_folder(self.path.parent)

    def clean_up(self) -> None:
        """Remove it where it is of no use any more, and would do no harm.

        :raises OSError: that cannot be done.
        """
        if self.begun:
            self.path.unlink(missing_ok=True)
            self._aside.unlink(missing_ok=True)
