"""A list that can be read only once, kept for several processes."""

from __future__ import annotations

import os
import select
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

from fetcher.errors import DiskError, InvalidListError
from fetcher.lists.stream import STDIN, label
from fetcher.rules.urls import looks_like_url

_BLOCK = 1 << 20
_DESCRIPTORS = ("/dev/fd/", "/dev/stdin", "/proc/")
"""Where names stand for open files of this process, which others do not have."""


def reads_once(location: str) -> bool:
    """Whether only one reader gets what is in a list: standard input, a pipe."""
    if location == STDIN:
        return True
    if looks_like_url(location):
        return False
    path = Path(location).absolute()
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        if not stat.S_ISDIR(mode):
            return not stat.S_ISREG(mode) or str(path).startswith(_DESCRIPTORS)
    return False


class Spool:
    """A copy of a list, in a temporary file that is gone when the last descriptor is closed.

    Its name is removed before anything is in it, so that nothing can be left behind; its mode is
    0600, as a list may hold logins.

    :param location: the list, which is read to its end.
    :param readers: how many there will be.
    :raises FetchError: it cannot be read, or not be kept.

    :ivar descriptors: one for each reader, at the beginning of the list.
    """

    def __init__(self, location: str, readers: int) -> None:
        self.descriptors: list[int] = []
        try:
            with self._make(readers) as copy:
                _copy(location, copy)
        except OSError as error:
            self.close()
            raise DiskError(
                f"{label(location)} cannot be kept in {tempfile.gettempdir()} for several "
                f"processes: {error.strerror}; make room there, or set TMPDIR"
            ) from error
        except BaseException:
            self.close()
            raise

    def _make(self, readers: int) -> BinaryIO:
        descriptor, name = tempfile.mkstemp(prefix="fetcher-list-")
        try:
            for _ in range(readers):
                self.descriptors.append(os.open(name, os.O_RDONLY | os.O_CLOEXEC))
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            Path(name).unlink()
        return os.fdopen(descriptor, "wb", buffering=0)

    def close(self) -> None:
        """Close all descriptors; twice does no harm."""
        while self.descriptors:
            os.close(self.descriptors.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _copy(location: str, copy: BinaryIO) -> None:
    try:
        source = os.dup(0) if location == STDIN else os.open(location, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(location, error) from error
    try:
        while block := _read(location, source):
            left = memoryview(block)
            while left:
                left = left[copy.write(left) :]
    finally:
        os.close(source)


def _read(location: str, source: int) -> bytes:
    while True:
        try:
            return os.read(source, _BLOCK)
        except BlockingIOError:
            # Somebody else has made the pipe non-blocking.
            select.select([source], [], [])
        except OSError as error:
            raise _unreadable(location, error) from error


def _unreadable(location: str, error: OSError) -> InvalidListError:
    return InvalidListError(f"{label(location)} cannot be read: {error.strerror}")
