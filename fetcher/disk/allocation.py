"""Reserves disk space for a file before its bytes come.

A full disk shows at once, and the file lies in one piece. By Linux's ``fallocate`` itself:
``posix_fallocate`` writes into the file where the file system cannot reserve, under the feet of
whoever else writes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from typing import Any

_KEEP_SIZE = 1
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM)


def _find() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    function = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return function


_fallocate = _find()


def allocate(fd: int, offset: int, length: int) -> bool:
    """Reserve space for a range of an open file; its bytes and its size stay as they are.

    May take long and belongs in a thread.

    :return: whether the system and the file system can do that.
    :raises OSError: there is no room.
    """
    if _fallocate is None:
        return False
    while _fallocate(fd, _KEEP_SIZE, offset, length) != 0:
        code = ctypes.get_errno()
        if code in _CANNOT:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True
