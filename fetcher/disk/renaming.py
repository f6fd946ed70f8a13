"""Gives a folder its name without ever replacing what stands there, or by exchanging both at once.

By Linux's ``renameat2``; where system or file system do not have it, by what comes nearest.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_AT_FDCWD = -100
_NO_REPLACE, _EXCHANGE = 1, 2
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def _find() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = (
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_uint,
        )
    return function


_renameat2 = _find()


def rename_new(source: Path, target: Path) -> None:
    """Rename a folder to where nothing stands.

    :raises FileExistsError: something does.
    """
    if not _rename(source, target, _NO_REPLACE):
        # The empty folder is there for a moment; a rename replaces it, and nothing else.
        target.mkdir()
        try:
            source.rename(target)
        except OSError:
            with suppress(OSError):
                target.rmdir()
            raise


def replace_folder(source: Path, target: Path, aside: Path) -> Path:
    """Put a folder in the place of another one; where the other one is now.

    :param source: the new folder.
    :param target: the old one.
    :param aside: a free name for the old one.
    """
    if _rename(source, target, _EXCHANGE):
        return source
    target.rename(aside)
    try:
        rename_new(source, target)
    except OSError:
        rename_new(aside, target)
        raise
    return aside


def _rename(source: Path, target: Path, flag: int) -> bool:
    """Whether it can be done like this."""
    if _renameat2 is None:
        return False
    names = os.fsencode(source), os.fsencode(target)
    if _renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))
