"""Where an archive is unpacked to before its folder gets its name: ``.fetcher/unpacking/``.

One place for each folder, locked while somebody is at it. What a killed run has left there is
removed by the next one that unpacks anything.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from fetcher.errors import Stopped, UnpackError
from fetcher.rules.names import STATE_FOLDER

_BATCH = 1000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_SUFFIX = ".lock"

_PATIENCE = 1.0
"""Seconds to wait for a lock: somebody may only be looking whether anybody has it."""

_LOCK_LOOK = 0.02


class Workspace:
    """A locked place for one folder; leaving the `with` block removes what is left in it.

    :param out: the output folder.
    :param folder: what is made here, relative to it.
    :param check: called often; what it raises ends the removal of what is there.
    :raises UnpackError: somebody else is at this folder.
    :raises OSError: it cannot be made.

    :ivar new: an empty folder.
    :ivar aside: a free name.
    """

    def __init__(self, out: Path, folder: str, check: Callable[[], None]) -> None:
        self._check = check
        self._all = out / STATE_FOLDER / "unpacking"
        self._all.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = blake2b(folder.encode(), digest_size=16).hexdigest()
        self._path = self._all / key
        self._lock_path = self._all / (key + _SUFFIX)
        self.new, self.aside = self._path / "new", self._path / "old"
        self._fd = fd = self._lock(out / folder)
        try:
            self._path.mkdir(exist_ok=True)
            self._take_over_leftovers()
            self._empty()
            self.new.mkdir()
        except BaseException:
            os.close(fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Where there is no time for it, or it cannot be done, the next run does it.
        with suppress(OSError, Stopped):
            self._empty()
            self._path.rmdir()
            self._lock_path.unlink()
        os.close(self._fd)

    def _lock(self, target: Path) -> int:
        deadline = time.monotonic() + _PATIENCE
        while (fd := _locked(self._lock_path)) is None:
            if time.monotonic() > deadline:
                raise UnpackError(
                    f"another archive or another process is just unpacking to {target}: wait for "
                    "it and run again, and give two archives two names"
                )
            self._check()
            time.sleep(_LOCK_LOOK)
        return fd

    def _take_over_leftovers(self) -> None:
        """Move here, to be removed, what runs have left that are no more."""
        for path in self._all.glob(f"*{_SUFFIX}"):
            if path == self._lock_path:
                continue
            with suppress(OSError):
                fd = _locked(path)
                if fd is not None:
                    try:
                        left = path.with_suffix("")
                        with suppress(FileNotFoundError):
                            left.rename(self._path / left.name)
                        path.unlink()
                    finally:
                        os.close(fd)

    def _empty(self) -> None:
        fd = os.open(self._path, _FOLDER)
        try:
            _remove_all(fd, self._check)
        finally:
            os.close(fd)


def _locked(path: Path) -> int | None:
    """The open lock; None where somebody else has it."""
    while True:
        fd = os.open(path, _LOCK, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Who had the lock may have removed the file meanwhile.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), path.lstat()):
                    return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _remove_all(fd: int, check: Callable[[], None]) -> None:
    """Remove what is in an open folder, following no link; memory does not grow with it."""
    while True:
        with os.scandir(fd) as entries:
            batch = [
                (entry.name, entry.is_dir(follow_symlinks=False))
                for entry in islice(entries, _BATCH)
            ]
        if not batch:
            return
        for name, is_folder in batch:
            check()
            if not is_folder:
                os.unlink(name, dir_fd=fd)
                continue
            inner = os.open(name, _FOLDER, dir_fd=fd)
            try:
                _remove_all(inner, check)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=fd)
