"""The members of an archive: which of them may be unpacked, and as what. Pure.

The rules are those of Python's ``data`` filter (PEP 706), made stricter: what looks as if it was
meant to leave the folder is refused with the whole archive, not made to fit.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from fetcher.errors import UnpackError
from fetcher.rules.names import MAX_BYTES, MAX_DEPTH, MAX_PATH

MemberPath = tuple[str, ...]
"""Folders and name of a member, beneath the archive's folder; empty for that folder itself."""

MAX_HEADERS = 1 << 20
"""Bytes of headers before one member of a tar; the limit of libarchive."""

_MAX_DIGITS = 128
_MAX_RECORDS = 10_000
_MAX_TIME = 2**33
_SHOWN = 80
_REASON = 200
_DRIVE = re.compile(r"[A-Za-z]:")
_RECORD = re.compile(rb"(\d{1,7}) [^=\n]+=")
_DIGITS = re.compile(rb"\d{%d}" % (_MAX_DIGITS + 1))


class Kind(Enum):
    """What a member is."""

    FILE = auto()
    FOLDER = auto()
    SYMLINK = auto()
    HARDLINK = auto()


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of an archive.

    :param path: where it belongs.
    :param mode: permission bits as the archive has them.
    :param mtime: seconds since 1970; None where it is not told.
    :param size: bytes of a file, holes included.
    :param target: of a symbolic link, the text; of a hard link, the name of another member.
    """

    path: MemberPath
    kind: Kind
    mode: int = 0o644
    mtime: float | None = None
    size: int = 0
    target: str = ""

    @property
    def file_mode(self) -> int:
        """Permission bits for the file, before the umask.

        Without setuid, setgid and sticky bit; its owner can read and write it.
        """
        bits = self.mode & 0o777
        if not bits & 0o100:
            bits &= 0o666
        return bits | 0o600

    @property
    def mtime_ns(self) -> int | None:
        """Nanoseconds since 1970; None where no file system could hold them."""
        if self.mtime is None or not 0 <= self.mtime < _MAX_TIME:
            return None
        return int(self.mtime * 1_000_000_000)


def shown(name: str) -> str:
    """A member's name, or a link's target, for a sentence."""
    # repr() escapes what steers a terminal, and what is no character.
    return repr(name if len(name) <= _SHOWN else name[:_SHOWN] + "…")


def member_path(name: str) -> MemberPath:
    """Where a member belongs.

    :raises UnpackError: its name leaves the folder or cannot be a name.
    """
    if "\0" in name:
        raise refused(name, "has a name with a NUL byte in it")
    if name.startswith("/") or _DRIVE.match(name):
        raise refused(name, "has an absolute name")
    if "\\" in name:
        raise refused(name, "has backslashes in its name")
    path = tuple(segment for segment in name.split("/") if segment not in ("", "."))
    if ".." in path:
        raise refused(name, "leaves the folder")
    try:
        # Bytes that are no UTF-8 come as lone surrogates, and are written as they were.
        sizes = [len(segment.encode("utf-8", "surrogateescape")) for segment in path]
    except UnicodeEncodeError as error:
        raise refused(name, "has a name that is no text") from error
    if any(size > MAX_BYTES for size in sizes) or sum(sizes) + len(sizes) > MAX_PATH:
        raise refused(name, "has too long a name")
    if len(path) > MAX_DEPTH:
        raise refused(name, f"is more than {MAX_DEPTH} folders deep")
    return path


def link_target(path: MemberPath, target: str) -> str:
    """The text of a symbolic link: ``..`` only at its front, and not above the archive's folder.

    No link is ever on the way to a link's own place, so that what is in front of its target is
    reckoned from there; and behind it only names follow, each of which may be another link, for
    which the same holds. So no chain of links leaves the folder. (CVE-2025-4517 was one that did:
    ``link/..`` is not where the link stands.)

    :param path: of the link.
    :raises UnpackError: it leaves the folder.
    """
    if not target or "\0" in target:
        raise refused("/".join(path), "is a link to nothing")
    text = posixpath.normpath(target)
    ups = text.split("/").count("..")
    if text.startswith("/") or ups >= len(path):
        raise refused("/".join(path), f"is a link to {shown(target)}, outside of its folder")
    return text


def extents(sparse: Sequence[tuple[int, int]], size: int) -> Iterable[tuple[int, int]]:
    """Offsets and lengths of what a sparse file has between its holes.

    :param size: of the file, holes included.
    :raises UnpackError: they are not in their order, or not in the file.
    """
    position = 0
    for offset, length in sparse:
        # Old maps are filled up with empty extents.
        if length == 0:
            continue
        if length < 0 or offset < position or offset + length > size:
            raise damaged("a sparse file contradicts itself")
        yield offset, length
        position = offset + length


def check_records(header: bytes) -> None:
    """Look through a pax header (POSIX.1-2024, pax, "Extended Header") before it is parsed.

    Each record states its own length. Python's parser takes hours over one that is made for it
    (CVE-2024-6232), and so do its regular expressions over very long numbers.

    :raises UnpackError: it is none.
    """
    if _DIGITS.search(header):
        raise damaged("a header has a number without end")
    position = count = 0
    while position < len(header) and header[position]:
        match = _RECORD.match(header, position, position + MAX_PATH)
        end = position + int(match[1]) if match else 0
        if match is None or end < match.end() or header[end - 1 : end] != b"\n":
            raise damaged("an extended header is none")
        position, count = end, count + 1
        if count > _MAX_RECORDS:
            raise damaged("an extended header has too many records")


def damaged(reason: object) -> UnpackError:
    """The archive is not what its name says.

    :param reason: a text, or the error of whoever read it.
    """
    text = str(reason) or type(reason).__name__
    if len(text) > _REASON:
        text = text[:_REASON] + "…"
    return UnpackError(
        f"it is damaged, not complete, or no archive ({text}): compare it with its source"
    )


def refused(name: str, why: str) -> UnpackError:
    """The archive has a member that is not to be unpacked.

    :param why: what it is or does.
    """
    return UnpackError(
        f"its member {shown(name)} {why}: look into it, and unpack it by hand if you trust it"
    )
