"""``SHA256SUMS`` of an output folder: what goes into it, and whether it is ours to replace."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from heapq import merge
from io import BufferedReader, FileIO
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any

from fetcher.errors import ForeignFileError, LockedError
from fetcher.rules.existing import Completed
from fetcher.rules.names import STATE_FOLDER
from fetcher.rules.sums import parse_sums_line

NAME = "SHA256SUMS"

_PREFIX = "sha256:"
_LOCK_LOOK = 0.02
_BLOCK = 1 << 20
_TOGETHER = 256
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Neither a link is followed nor a pipe waited for."""


class Found:
    """What one run has found out, in a temporary database: memory does not grow with it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._new: dict[str, str | None] = {}
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA cache_size = -4096;"
            "CREATE TABLE found (name TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID; BEGIN;"
        )

    def add(self, name: str, digest: str | None) -> None:
        """Note a file's digest; None where it has a new content and its digest is not known."""
        with self._lock:
            self._new[name] = digest
            if len(self._new) >= _TOGETHER:
                self._put_down()

    def each(self) -> Iterator[tuple[str, str | None]]:
        """Names and digests in the order of the names; while nothing is added."""
        with self._lock:
            self._put_down()
        yield from self._db.execute("SELECT name, digest FROM found ORDER BY name")

    def close(self) -> None:
        """Throw the database away."""
        with self._lock:
            self._db.close()

    def _put_down(self) -> None:
        self._db.executemany("INSERT OR REPLACE INTO found VALUES (?, ?)", self._new.items())
        self._new.clear()


class SumsFile:
    """The file as it stands in a folder; call its methods within :meth:`locked`.

    It is ours when it is, byte for byte, what we wrote: its hash is kept in ``.fetcher/``.

    :param out: the output folder.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / NAME
        self._lock_path = out / STATE_FOLDER / "sums.lock"
        self._mark_path = out / STATE_FOLDER / "sums.sha256"

    @contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Keep other processes out.

        :raises LockedError: one of them did not make room for so long.
        """
        fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise LockedError(f"another process is writing {self.path}") from None
                    time.sleep(_LOCK_LOOK)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def ours(self) -> Iterator[tuple[BufferedReader[FileIO] | None, str]]:
        """The file, open at its start, and its hash; None and an empty text where there is none.

        :raises ForeignFileError: it is somebody's, and has to stay as it is.
        """
        try:
            fd = os.open(self.path, _READ)
        except FileNotFoundError:
            yield None, ""
            return
        except OSError as error:
            raise self._foreign() from error
        with BufferedReader(FileIO(fd), _BLOCK) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise self._foreign()
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest not in self._marks():
                raise self._foreign()
            file.seek(0)
            yield file, digest

    def remember(self, *digests: str) -> None:
        """The hashes of what is ours from now on: before and after it is exchanged."""
        aside = self._mark_path.with_name(f"{self._mark_path.name}.{os.getpid()}")
        aside.unlink(missing_ok=True)
        try:
            with aside.open("x", encoding="ascii") as file:
                file.write("\n".join(digests))
            aside.rename(self._mark_path)
        except BaseException:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise

    def _marks(self) -> set[str]:
        try:
            fd = os.open(self._mark_path, _READ)
        except FileNotFoundError:
            return set()
        with FileIO(fd) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise self._foreign()
            return set(file.read(_BLOCK).decode("ascii", "replace").split())

    def _foreign(self) -> ForeignFileError:
        return ForeignFileError(
            f"{self.path} is not as this program wrote it and is left alone: move it away to have "
            "one written"
        )


def read_sums(file: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Names and digests of the lines that can be read."""
    for line in file:
        with suppress(UnicodeDecodeError):
            name, checksum = parse_sums_line(line.decode().removesuffix("\n")) or ("", None)
            digest = sha256_of(checksum)
            if digest is not None:
                yield name, digest


def merged(
    found: Iterable[tuple[str, str | None]],
    remembered: Iterable[Completed],
    before: Iterable[tuple[str, str]],
    describes: Callable[[Completed], bool],
) -> Iterator[tuple[str, str]]:
    """Names and digests of the new file, in the order of the names, as all the sources are.

    :param found: what this run knows; it has the last word.
    :param remembered: what this and earlier runs completed.
    :param before: the file before.
    :param describes: whether the file on disk still is the remembered one; asked only where what is
        remembered and the file before say different things.
    """
    sources: list[Iterator[tuple[str, int, Any]]] = [
        ((name, 0, digest) for name, digest in found),
        ((completed.name, 1, completed) for completed in remembered),
        ((name, 2, digest) for name, digest in before),
    ]
    for name, group in groupby(merge(*sources, key=itemgetter(0, 1)), key=itemgetter(0)):
        facts = {source: fact for _, source, fact in group}
        digest = facts[0] if 0 in facts else _older(facts.get(1), facts.get(2), describes)
        if digest:
            yield name, digest


def sha256_of(checksum: str | None) -> str | None:
    """The digits of ``sha256:…``; None for any other checksum."""
    if checksum is None or not checksum.startswith(_PREFIX):
        return None
    return checksum.removeprefix(_PREFIX)


def _older(
    completed: Completed | None, before: str | None, describes: Callable[[Completed], bool]
) -> str | None:
    if completed is None:
        return before
    digest = sha256_of(completed.checksum)
    # A killed run may have fetched a newer version without having come to write its digest down.
    return digest if digest == before or describes(completed) else before
