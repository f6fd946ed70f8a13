"""Which file an ``ftp://``, ``ftps://`` or ``sftp://`` address names. Pure."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from fetcher.errors import InvalidURLError

FTP_SCHEMES = ("ftp", "ftps")
SCHEMES = (*FTP_SCHEMES, "sftp")

_TYPE = re.compile(r";type=([a-z])\Z", re.IGNORECASE)
_LINE_BREAK = re.compile(rb"[\x00\r\n]")


def ftp_path(url: str) -> bytes:
    """The argument of ``RETR``: relative to the folder that the login leads to (RFC 1738, 3.2.2).

    ``%2F`` at its start makes it absolute.
    """
    return unquote_to_bytes(_TYPE.sub("", _path(urlsplit(url))).removeprefix("/"))


def sftp_path(url: str) -> bytes:
    """The absolute path, or after ``/~/`` one relative to the login's home, as curl has it."""
    return unquote_to_bytes(_path(urlsplit(url))).removeprefix(b"/~/")


def path_name(parts: SplitResult) -> str:
    """The path without what says only how to transfer it (``;type=i``), still percent-encoded."""
    return _TYPE.sub("", parts.path) if parts.scheme.lower() in FTP_SCHEMES else parts.path


def check_remote(parts: SplitResult, shown: str) -> None:
    """Check what HTTP leaves to its servers.

    :param shown: the address as it may be shown.
    :raises InvalidURLError: it names no file, wants another transfer than a binary one, or would
        smuggle a second command into the first.
    """
    if _LINE_BREAK.search(unquote_to_bytes(f"{parts.netloc} {_path(parts)}")):
        raise InvalidURLError(f"{shown!r} holds control characters; take them out")
    if path_name(parts).endswith("/") or not parts.path:
        raise InvalidURLError(f"{shown!r} names a folder; give the address of a file")
    kind = _TYPE.search(parts.path)
    if parts.scheme.lower() in FTP_SCHEMES and kind is not None and kind[1].lower() != "i":
        raise InvalidURLError(f"{shown!r} asks for a text transfer; write ;type=i or leave it out")


def _path(parts: SplitResult) -> str:
    """A question mark is a character like any other where there are no queries."""
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
