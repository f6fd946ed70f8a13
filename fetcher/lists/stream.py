"""The bytes of a list, wherever it lies, unzipped."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import select
import stat
import zlib

from fetcher.errors import InvalidListError, Stopped
from fetcher.rules.pages import looks_like_page
from fetcher.rules.urls import looks_like_url, redact

STDIN = "-"
HEAD_SIZE = 8192
"""Bytes at the beginning that tell a text from something else."""

_BUFFER_SIZE = 256 * 1024
_GZIP_MAGIC = b"\x1f"  # The first of two bytes; no text begins with it.


def label(location: str, kind: str = "list") -> str:
    """What an error calls a list, or another kind of file."""
    if looks_like_url(location):
        location = redact(location)
    return "standard input" if location == STDIN else f"the {kind} {location!r}"


class ListStream(io.BufferedReader):
    """The list's bytes, unzipped, given out as soon as they are there.

    :param location: a path, or ``-`` for standard input, which stays open after :meth:`close`.
    :param called: what an error calls it.
    :raises InvalidListError: it cannot be opened; also from a later read, when the disk fails or a
        gzip file is damaged or cut short.
    """

    def __init__(self, location: str, called: str) -> None:
        self.location = location
        self.called = called
        self._file = _File(location, called)
        self.version = self._file.version
        """Tells the file from what it is after a change; None where it is no plain file."""
        try:
            raw: io.RawIOBase = self._file
            if self._file.is_zipped():
                raw = _Unzipped(self._file, called)
            super().__init__(raw, _BUFFER_SIZE)
        except BaseException:
            self._file.close()
            raise

    def head(self) -> bytes:
        """What stands at its beginning, as much of it as is there already: a pipe may be slow."""
        return self.peek(HEAD_SIZE)

    def check_text(self) -> None:
        """:raises InvalidListError: unless it begins as a text in UTF-8 does, and no web page."""
        head = self.head()[:HEAD_SIZE]
        try:
            # Not final: the head may end within a character.
            codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
        except UnicodeDecodeError as error:
            raise InvalidListError(
                f"{self.called} is no text in UTF-8; save it as UTF-8"
            ) from error
        if b"\0" in head:
            raise InvalidListError(f"{self.called} is no text but binary; give a list of URLs")
        self.check_no_page()

    def check_no_page(self) -> None:
        """:raises InvalidListError: it is a web page, as servers send instead of a file."""
        if looks_like_page(self.head()):
            raise InvalidListError(
                f"{self.called} is a web page; look at it in a browser, it may want a login"
            )

    def interrupt(self) -> None:
        """A thread that waits in a read gets :class:`Stopped`."""
        self._file.interrupt()

    def close(self) -> None:
        """Close the file, after :meth:`interrupt`."""
        self.interrupt()
        super().close()


class _File(io.RawIOBase):
    """A file, or descriptor 0 without a buffer that others would miss bytes from."""

    def __init__(self, location: str, called: str) -> None:
        self._label = called
        self._first = b""
        try:
            self._file = io.FileIO(0, closefd=False) if location == STDIN else io.FileIO(location)
        except FileNotFoundError as error:
            raise InvalidListError(f"{self._label} does not exist; check the path") from error
        except IsADirectoryError as error:
            raise InvalidListError(f"{self._label} is a folder; give a file") from error
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        found = os.fstat(self._file.fileno())
        # Only what is no plain file can make a reader wait.
        waits = not stat.S_ISREG(found.st_mode)
        self._wake = os.pipe() if waits else None
        self.version = None if waits else f"{found.st_size}-{found.st_mtime_ns}"

    def _unreadable(self, error: Exception) -> InvalidListError:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return InvalidListError(f"{self._label} cannot be read: {reason}")

    def is_zipped(self) -> bool:
        """Whether this is a gzip file; what is read to see that is given out again."""
        self._first = self.read(HEAD_SIZE) or b""
        return self._first.startswith(_GZIP_MAGIC)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._first:
            count = min(len(buffer), len(self._first))
            buffer[:count], self._first = self._first[:count], self._first[count:]
            return count
        try:
            self._wait()
            # None: somebody made the pipe non-blocking, and another reader was faster.
            while (received := self._file.readinto(buffer)) is None:
                self._wait()
        except OSError as error:
            raise self._unreadable(error) from error
        return received

    def _wait(self) -> None:
        if self._wake is None:
            return
        poll = select.poll()
        poll.register(self._file, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        if any(descriptor == self._wake[0] for descriptor, _ in poll.poll()):
            raise Stopped(f"{self._label} was closed while it was read")

    def interrupt(self) -> None:
        """End a read that waits in another thread."""
        if self._wake is not None and not self.closed:
            os.write(self._wake[1], b"\0")

    def close(self) -> None:
        if not self.closed and hasattr(self, "_wake"):
            self._file.close()
            for descriptor in self._wake or ():
                os.close(descriptor)
        super().close()


class _Unzipped(io.RawIOBase):
    """What a gzip file holds."""

    def __init__(self, file: _File, label: str) -> None:
        self._file = file
        self._label = label
        self._gzip = gzip.GzipFile(fileobj=file, mode="rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._gzip.read1(len(buffer))
        except (EOFError, OSError, zlib.error) as error:
            raise InvalidListError(
                f"{self._label} is a gzip file that is damaged or cut short; get it anew"
            ) from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._gzip.close()
            self._file.close()
        super().close()
