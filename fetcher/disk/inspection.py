"""One file of a folder, compared with what is said of it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import Any

from fetcher.disk.checklist import Entry
from fetcher.errors import Stopped

_BLOCK = 1 << 20

RIGHT, BY_SIZE, WRONG, MISSING, FAILED = "right", "right by size", "wrong", "missing", "failed"
"""What may come of it. ``BY_SIZE``: nobody has a checksum of it."""


class Inspection:
    """Compares one file; belongs in a thread.

    :param out: the folder, with no symbolic link in its path.
    :param entry: what is said of the file; its name may be anything.

    :ivar position: bytes that were read.
    :ivar verdict: see :data:`RIGHT`.
    :ivar problem: what is wrong, for a line after the name.
    """

    def __init__(self, out: Path, entry: Entry) -> None:
        self.entry = entry
        self.position = 0
        self.verdict = WRONG
        self.problem = ""
        self._out = out
        self._stopped = False

    def stop(self) -> None:
        """Break off; :meth:`run` raises :class:`Stopped`. May be called from another thread."""
        self._stopped = True

    def run(self) -> None:
        """Find the verdict.

        :raises Stopped: it was broken off.
        """
        if self.entry.failure is not None:
            self.verdict = FAILED
            self.problem = f"failed in the last run: {self.entry.failure}"
            return
        try:
            self.problem = self._compare()
        except (FileNotFoundError, NotADirectoryError):
            self.verdict, self.problem = MISSING, "missing"
        except OSError as error:
            self.problem = f"cannot be read: {error.strerror or error}"
        else:
            if not self.problem:
                self.verdict = RIGHT if self.entry.checksums else BY_SIZE

    def _compare(self) -> str:
        """What is wrong; empty for nothing."""
        name = self.entry.name
        if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
            return "is no name in this folder and is not looked at"
        path = Path(os.path.realpath(self._out / name, strict=True))
        if not path.is_relative_to(self._out):
            return "leads out of the folder by a link and is not looked at"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            # A socket, or a link that has come to stand there meanwhile.
            if error.errno in (errno.ENXIO, errno.ELOOP):
                return "is no regular file"
            raise
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return "is no regular file"
            if self.entry.size not in (None, found.st_size):
                return f"has {found.st_size} bytes, the report says {self.entry.size}"
            return self._compare_checksums(fd)
        finally:
            os.close(fd)

    def _compare_checksums(self, fd: int) -> str:
        stated = self.entry.checksums
        hashes: dict[str, Any] = {}
        for checksum in stated.values():
            algorithm = checksum.partition(":")[0]
            hashes[algorithm] = hashlib.new(algorithm, usedforsecurity=False)
        while hashes and (block := os.read(fd, _BLOCK)):
            if self._stopped:
                raise Stopped("stopped")
            for each in hashes.values():
                each.update(block)
            self.position += len(block)
        for source, checksum in stated.items():
            algorithm, _, digest = checksum.partition(":")
            computed = hashes[algorithm].hexdigest()
            if computed != digest:
                return f"{algorithm} differs, it is {computed}, {source} says {digest}"
        return ""
