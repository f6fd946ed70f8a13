"""The members of a zip archive, as :mod:`zipfile` reads them."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING, cast

from fetcher.disk.archive import BLOCK, Archive
from fetcher.disk.tree import Content
from fetcher.errors import FetchError, UnpackError
from fetcher.rules.members import Kind, Member, damaged, member_path, refused

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_UNIX = (3, 19)
"""Systems (APPNOTE, section 4.4.2) whose entries have a Unix mode: Unix, and macOS."""

_ENCRYPTED = 0x1 | 0x40 | 0x2000
_STORED, _DEFLATED = 0, 8
_LONGEST_TARGET = 4096


def zip_members(archive: Archive) -> Iterator[tuple[Member, Content]]:
    """Each entry with its content, to be read before the next one is asked for.

    :raises UnpackError: it is damaged or ends early, or an entry is not to be unpacked.
    """
    import zipfile

    with _told(), zipfile.ZipFile(cast("IO[bytes]", archive)) as opened:
        packed = sum(info.compress_size for info in opened.filelist)
        if packed > archive.found.st_size:
            # One bomb of 10 MB has 281 TB by that: a quarter of a million files share their bytes.
            raise UnpackError("its entries overlap, as those of a bomb do: unpack it by hand")
        for info in opened.filelist:
            _check(info)
        for info in opened.filelist:
            with _told():
                member = _member(opened, info)
            yield member, _content(opened, info)


def _check(info: ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise UnpackError("it is encrypted: unpack it by hand, with its password")
    if info.compress_type not in (_STORED, _DEFLATED):
        # The module would unpack a block of these as a whole, however much comes out.
        raise UnpackError(
            f"it is compressed in a way that is not known here (method {info.compress_type}): "
            "unpack it by hand"
        )


def _member(opened: ZipFile, info: ZipInfo) -> Member:
    # The module cuts a name at a NUL byte.
    path = member_path(info.orig_filename)
    mode = info.external_attr >> 16 if info.create_system in _UNIX else 0
    form = stat.S_IFMT(mode)
    if info.is_dir() or form == stat.S_IFDIR:
        return Member(path, Kind.FOLDER)
    if form == stat.S_IFLNK:
        return Member(path, Kind.SYMLINK, target=_target(opened, info))
    if form not in (0, stat.S_IFREG):
        raise refused(info.filename, "is a device or a pipe")
    return Member(path, Kind.FILE, mode & 0o7777 or 0o644, _mtime(info), info.file_size)


def _target(opened: ZipFile, info: ZipInfo) -> str:
    if info.file_size > _LONGEST_TARGET:
        raise refused(info.filename, "is a link whose target is too long")
    return b"".join(bytes(block) for _, block in _content(opened, info)).decode(
        "utf-8", "surrogateescape"
    )


def _mtime(info: ZipInfo) -> float | None:
    # In the local time of whoever made it; of all clocks, ours is the likeliest.
    try:
        return datetime(*info.date_time).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _content(opened: ZipFile, info: ZipInfo) -> Content:
    """:raises UnpackError: it has not the size or the checksum that are stated."""
    with _told(), opened.open(info) as file:
        offset = 0
        while block := file.read(BLOCK):
            yield offset, block
            offset += len(block)
        if offset != info.file_size:
            raise damaged(f"{info.filename!r} has {offset} bytes instead of {info.file_size}")


@contextmanager
def _told() -> Iterator[None]:
    """The module raises whatever the bytes make of it: its own, zlib's, EOFError, ValueError."""
    try:
        yield
    except FetchError:
        raise
    except Exception as error:
        raise damaged(error) from error
