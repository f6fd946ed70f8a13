"""An SQLite file that several processes and threads use at a time, and that may be lost.

In WAL mode: looking something up never waits for who is writing. Where the file is broken it is
made anew: what is in it is a convenience.
"""

from __future__ import annotations

import errno
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

from fetcher.disk.room import free_bytes
from fetcher.errors import DiskError, DiskFullError, ForeignFileError, Stopped

T = TypeVar("T")

BUSY_SECONDS = 30.0
"""How long to wait for another process that is writing."""

LOOK_SECONDS = 0.1
"""How often one who waits looks whether the run is being stopped."""

FULL_BYTES = 1 << 20
"""With less room than this a disk is taken to be full."""

_SUFFIXES = ("", "-wal", "-shm")
"""Of the files that SQLite keeps."""


class Database:
    """One file; none of the threads is that of an event loop.

    :param path: its folder is made where it is missing.
    :param prepare: makes the tables; called with a new connection, maybe more than once, and
        writes only where something is missing: who finds all there waits for nobody.
    :param stopping: set when the run is being stopped: nobody is waited for any more.
    :param durable: what is changed is on the disk before a call returns; otherwise a power cut may
        take the last changes away.
    :raises ForeignFileError: something stands there that would be written through, or waited for.
    :raises DiskError: when it can neither be opened nor be made anew.
    """

    def __init__(
        self,
        path: Path,
        prepare: Callable[[sqlite3.Connection], None],
        stopping: Event,
        *,
        durable: bool,
    ) -> None:
        self._path = path
        self._prepare = prepare
        self._stopping = stopping
        self._durable = durable
        self._lock = Lock()
        self._reading = Lock()
        self._reader: sqlite3.Connection | None = None
        try:
            self._check_ours()
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                self._db = self._made_anew(error)
        except (OSError, sqlite3.Error) as error:
            raise self._told("opened", error) from error

    def look_up(self, query: str, value: str) -> Any:
        """The first row; None for none, or where the file is broken."""
        try:
            with self._reading:
                if self._reader is None:
                    # One of its own: the other's lock is held by who waits for another process.
                    self._reader = self._connect()
                reader = self._reader
                return self._when_free(lambda: reader.execute(query, (value,)).fetchone())
        except sqlite3.Error:
            return None

    def select(self, query: str, value: str) -> list[Any]:
        """All rows, as this process has left them; none where the file is broken."""
        try:
            with self._lock:
                return self._db.execute(query, (value,)).fetchall()
        except sqlite3.DatabaseError:
            return []

    def each(self, query: str) -> Iterator[Any]:
        """All rows, one by one, over a connection of its own.

        Ends early where the file is broken.
        """
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(self._path)) as db:
            yield from db.execute(query)

    def change(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Make a change in one transaction; where the file turns out to be broken, in a new one.

        :raises DiskError: when that cannot be done.
        :raises Stopped: see :class:`Database`.
        """
        try:
            with self._lock:
                try:
                    return self._when_free(lambda: self._in_transaction(change))
                except sqlite3.DatabaseError as error:
                    broken, self._db = self._db, self._made_anew(error)
                    broken.close()
                    return self._in_transaction(change)
        except (OSError, sqlite3.Error) as error:
            raise self._told("written", error) from error

    def close(self) -> None:
        """Close the file; twice does no harm."""
        self._close_reader()
        with self._lock, suppress(sqlite3.Error):
            self._db.close()

    def _check_ours(self) -> None:
        if self._path.parent.is_symlink():
            raise ForeignFileError(f"{self._path.parent} is a symbolic link: remove it")
        for suffix in _SUFFIXES:
            path = Path(f"{self._path}{suffix}")
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(path.lstat().st_mode):
                    raise ForeignFileError(f"{path} is no regular file: remove it")

    def _close_reader(self) -> None:
        with self._reading, suppress(sqlite3.Error):
            if self._reader is not None:
                self._reader.close()
            self._reader = None

    def _in_transaction(self, change: Callable[[sqlite3.Connection], T]) -> T:
        with self._db:
            return change(self._db)

    def _when_free(self, work: Callable[[], T]) -> T:
        """Do what other processes may have to be waited for.

        :raises Stopped: they would have to be, and the run is being stopped.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            # SQLite itself does not wait at all in some cases.
            if self._stopping.wait(LOOK_SECONDS / 5):
                raise Stopped("stopped before the file was remembered: the same command goes on")

    def _made_anew(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """A power cut or another program broke the file; its content is a convenience.

        :raises sqlite3.DatabaseError: ``error``, when it is another one.
        """
        if _code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise error
        self._close_reader()
        for suffix in _SUFFIXES:
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        return self._open()

    def _open(self) -> sqlite3.Connection:
        db = self._connect()
        try:
            self._when_free(lambda: self._set_up(db))
        except BaseException:
            db.close()
            raise
        return db

    def _set_up(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
        self._prepare(db)

    def _told(self, what: str, error: Exception) -> DiskError:
        code = _code(error) if isinstance(error, sqlite3.Error) else 0
        with suppress(OSError):
            # Of the file that processes share, SQLite only says that it could not be written.
            full = code == sqlite3.SQLITE_IOERR and free_bytes(self._path.parent) < FULL_BYTES
            if full or code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) == errno.ENOSPC:
                return DiskFullError(
                    f"{self._path} cannot be {what}: its disk is full; make room and run again"
                )
        return DiskError(f"{self._path} cannot be {what}: {error}")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=LOOK_SECONDS, check_same_thread=False)


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors of the Python module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
