"""Tells a folder as it was unpacked from one that somebody has changed since."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from fetcher.rules.names import MAX_DEPTH

_SIZE = 16
_NONE = ""


def fingerprint(folder: Path, check: Callable[[], None]) -> str:
    """What is in a folder: names, kinds, sizes, modification times and the targets of links.

    As with a single file, size and time stand for the bytes. Empty for a folder that has more
    folders in one another than any archive may have.

    :param check: called often; what it raises ends this.
    :raises OSError: something cannot be looked at.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        total = _sum(fd, b"", 0, check)
    except _TooDeepError:
        return _NONE
    finally:
        os.close(fd)
    return f"{total % (1 << 8 * _SIZE):0{2 * _SIZE}x}"


class _TooDeepError(Exception):
    """Nothing that this project has made."""


def _sum(fd: int, above: bytes, depth: int, check: Callable[[], None]) -> int:
    # A sum has no order, so nothing has to be sorted, and memory does not grow with the folder.
    if depth > MAX_DEPTH:
        raise _TooDeepError
    total = 0
    with os.scandir(fd) as entries:
        for entry in entries:
            check()
            found = entry.stat(follow_symlinks=False)
            path = above + os.fsencode(entry.name)
            facts = [stat.S_IFMT(found.st_mode)]
            if stat.S_ISREG(found.st_mode):
                facts += [found.st_size, found.st_mtime_ns]
            target = b""
            if entry.is_symlink():
                target = os.fsencode(os.readlink(entry.name, dir_fd=fd))
            text = b"\0".join((path, target, repr(facts).encode()))
            total += int.from_bytes(blake2b(text, digest_size=_SIZE).digest())
            if entry.is_dir(follow_symlinks=False):
                inner = os.open(
                    entry.name,
                    os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                    dir_fd=fd,
                )
                try:
                    total += _sum(inner, path + b"/", depth + 1, check)
                finally:
                    os.close(inner)
    return total
