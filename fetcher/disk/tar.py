"""The members of a tar archive, one after the other, as :mod:`tarfile` reads its headers.

Compressed or not, it is read from its front to its end and never kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fetcher.disk.archive import BLOCK
from fetcher.disk.tree import Content
from fetcher.errors import DecodeError, FetchError, UnpackError
from fetcher.rules.members import (
    MAX_HEADERS,
    Kind,
    Member,
    check_records,
    damaged,
    extents,
    member_path,
    refused,
)

if TYPE_CHECKING:
    from tarfile import TarFile, TarInfo

_UNIT = 512
_SIZE, _TYPE = slice(124, 135), slice(156, 157)
_EXTENDED, _LONG = (b"x", b"g", b"X"), (b"L", b"K")
"""Types of headers behind which comes more of the headers, not a file."""

_PADDING = 16 << 20
"""Bytes behind the end that are looked through: with them, compressions end, and their checksums
are compared."""


def tar_members(blocks: Iterator[bytes]) -> Iterator[tuple[Member, Content]]:
    """Each member with its content, to be read before the next one is asked for.

    :param blocks: the archive, its compression undone; may raise :class:`DecodeError`.
    :raises UnpackError: it is damaged or ends early, or a member is not to be unpacked.
    """
    import tarfile

    stream = _Stream(blocks)
    try:
        stream.begin_headers()
        archive: TarFile = tarfile.TarFile(
            fileobj=stream,  # type: ignore[arg-type] # all that is needed of a file is there
            encoding="utf-8",
            errors="surrogateescape",
        )
        while (info := _next(archive, stream)) is not None:
            member = _member(info)
            yield member, _content(stream, info)
        stream.check_end()
    except DecodeError as error:
        raise damaged(error) from error
    except FetchError:
        raise
    except Exception as error:
        # The module raises whatever a header makes of it: ValueError, OverflowError,
        # RecursionError, its own.
        raise damaged(error) from error


def _next(archive: TarFile, stream: _Stream) -> TarInfo | None:
    stream.begin_headers()
    info = archive.next()
    # It keeps all members, and all global headers, which are for nothing of what is used here.
    kept: Any = archive
    kept.members.clear()
    kept.pax_headers = {}
    return info


def _member(info: TarInfo) -> Member:
    path, kind = member_path(info.name), _kind(info)
    if info.size < 0:
        raise damaged("a size is negative")
    size = info.size if kind is Kind.FILE else 0
    return Member(path, kind, info.mode, float(info.mtime), size, info.linkname)


def _kind(info: TarInfo) -> Kind:
    if info.isreg():
        return Kind.FILE
    if info.isdir():
        return Kind.FOLDER
    if info.issym():
        return Kind.SYMLINK
    if info.islnk():
        return Kind.HARDLINK
    what = "a device or a pipe" if info.isdev() else f"of an unknown kind ({info.type!r})"
    raise refused(info.name, f"is {what}")


def _content(stream: _Stream, info: TarInfo) -> Content:
    sparse = getattr(info, "sparse", None)
    whole = [(0, info.size)] if sparse is None else extents(sparse, info.size)
    for offset, length in whole:
        end = offset + length
        while offset < end:
            try:
                piece = stream.piece(min(BLOCK, end - offset))
            except DecodeError as error:
                raise damaged(error) from error
            if not piece:
                raise damaged("it ends in the middle of a file")
            yield offset, piece
            offset += len(piece)


class _Stream:
    """A file that can only be read on, for :class:`tarfile.TarFile`.

    :param blocks: its bytes.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._block = memoryview(b"")
        self._position = 0
        self._left = 0
        self._last = b""
        self._head = b""

    def begin_headers(self) -> None:
        """What is read from here on is the headers of one member."""
        self._left, self._head = MAX_HEADERS, b""

    def piece(self, most: int) -> memoryview:
        """The next bytes, at most so many; none at the end."""
        while not self._block:
            block = next(self._blocks, None)
            if block is None:
                return self._block
            self._block = memoryview(block)
        piece, self._block = self._block[:most], self._block[most:]
        self._position += len(piece)
        return piece

    def check_end(self) -> None:
        """Look through what follows the last member.

        Headers that cannot be read are an end for the module, too; and an archive that was cut
        between two members lacks nothing but its mark.

        :raises UnpackError: this is not where the archive was meant to end.
        """
        if self._last != bytes(_UNIT):
            raise damaged("its end is not marked")
        end = self._position + _PADDING
        while self._position < end and self.piece(BLOCK):
            pass

    # --- as a file ------------------------------------------------------------------------------

    def read(self, size: int) -> bytes:
        """Headers; more of them than one member may have are no headers."""
        if not 0 <= size <= self._left:
            raise UnpackError(
                f"a member has more than {MAX_HEADERS} bytes of headers: unpack it by hand"
            )
        self._left -= size
        data = b""
        while len(data) < size and (piece := self.piece(size - len(data))):
            data += piece
        if self._head:
            if self._head[_TYPE] in _EXTENDED:
                self._check_records(data)
            self._head = b""
        elif size == _UNIT and data[_TYPE] in _EXTENDED + _LONG:
            self._head = data
        self._last = data
        return data

    def _check_records(self, data: bytes) -> None:
        length = len(data)
        with suppress(ValueError):
            # Behind it is padding, which may be anything.
            length = int(self._head[_SIZE], 8)
        check_records(data[:length])

    def seek(self, position: int) -> int:
        """Only onwards."""
        if position < self._position:
            raise damaged("a member begins before the end of the one before it")
        while self._position < position and self.piece(min(BLOCK, position - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        """Bytes that have been read."""
        return self._position
