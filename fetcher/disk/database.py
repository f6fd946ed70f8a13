"""An SQLite file that several processes and threads use at a time, and that may be lost.

In WAL mode, in which looking something up never waits for who is writing; but not where several
machines may have the file: that mode needs memory that all of them share
(https://www.sqlite.org/wal.html). Where the file is broken it is made anew: what is in it is a
convenience.
"""

from __future__ import annotations

import errno
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

from fetcher.disk.network import is_on_network
from fetcher.disk.room import free_bytes
from fetcher.errors import DiskError, DiskFullError, ForeignFileError, Stopped

T = TypeVar("T")


class Busy(Exception):  # noqa: N818 - an outcome, not an error
    """Somebody else is at it, and was not to be waited for."""


BUSY_SECONDS = 30.0
"""How long to wait for another process that is writing."""

FIRST_LOOK_SECONDS, LOOK_SECONDS = 0.001, 0.02
"""How soon one who waits looks again, at first and later."""

FULL_BYTES = 1 << 20
"""With less room than this a disk is taken to be full."""

_SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Of the files that SQLite keeps."""


class Database:
    """One file. In an event loop's thread nothing may be waited for: see ``wait``.

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
        # Who waits for others has this process's lock meanwhile: who does not has one of its own.
        self._readers = {wait: _Reader(self._connect) for wait in (True, False)}
        try:
            self._check_ours()
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                self._db = self._made_anew(error)
        except (OSError, sqlite3.Error) as error:
            raise self._told("opened", error) from error

    def look_up(self, query: str, *values: str, wait: bool = True) -> Any:
        """The first row; None for none, or where the file is broken.

        :raises Busy: somebody would have to be waited for.
        """
        return next(iter(self.select(query, *values, wait=wait)), None)

    def select(self, query: str, *values: str, wait: bool = True) -> list[Any]:
        """All rows; none where the file is broken.

        :raises Busy: somebody would have to be waited for.
        """
        try:
            with self._readers[wait].held(wait) as db:
                return self._when_free(lambda: db.execute(query, values).fetchall(), wait)
        except sqlite3.Error:
            return []

    def look_up_settled(self, query: str, value: str, *, wait: bool = True) -> Any:
        """The first row, None for none, once no change is under way; whoever else changes anything
        is done with it, or begins after this.

        :param query: a change, in one statement, that gives what is asked.
        :raises Busy: somebody would have to be waited for.
        :raises DiskError: when it cannot be told.
        :raises Stopped: see :class:`Database`.
        """

        def look(db: sqlite3.Connection) -> Any:
            return next(iter(db.execute(query, (value,)).fetchall()), None)

        try:
            with self._readers[wait].held(wait) as db:
                return self._when_free(lambda: look(db), wait)
        except sqlite3.Error as error:
            if not wait:
                raise Busy from error
            # Where the file is broken, that makes it anew.
            return self.change(look)

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
                    return self._when_free(lambda: _in_transaction(self._db, change))
                except sqlite3.DatabaseError as error:
                    broken, self._db = self._db, self._made_anew(error)
                    broken.close()
                    return _in_transaction(self._db, change)
        except (OSError, sqlite3.Error) as error:
            raise self._told("written", error) from error

    def close(self) -> None:
        """Close the file; twice does no harm."""
        self._close_readers()
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

    def _close_readers(self) -> None:
        for reader in self._readers.values():
            reader.close()

    def _when_free(self, work: Callable[[], T], wait: bool = True) -> T:
        """Do what other processes may have to be waited for.

        :raises Busy: they would have to be.
        :raises Stopped: they would have to be, and the run is being stopped.
        """
        deadline = time.monotonic() + BUSY_SECONDS
        pause = FIRST_LOOK_SECONDS
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                if not wait:
                    raise Busy from error
            if self._stopping.wait(pause):
                raise Stopped("stopped before the file was remembered: the same command goes on")
            pause = min(2 * pause, LOOK_SECONDS)

    def _made_anew(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """A power cut or another program broke the file; its content is a convenience.

        :raises sqlite3.DatabaseError: ``error``, when it is another one.
        """
        if _code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise error
        self._close_readers()
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
        mode = "TRUNCATE" if is_on_network(self._path.parent) else "WAL"
        db.execute(f"PRAGMA journal_mode={mode}")
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
        # SQLite itself would not wait in all cases, and knows nothing of a run that is stopped.
        # And what is one statement is done in one go: a transaction that this module begins by
        # itself stays open while its thread waits for Python's lock.
        return sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)


class _Reader:
    """A connection for looking only, opened when it is first needed."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._lock = Lock()
        self._db: sqlite3.Connection | None = None

    @contextmanager
    def held(self, wait: bool) -> Iterator[sqlite3.Connection]:
        """For this thread alone.

        :raises Busy: another thread has it, and is not to be waited for.
        """
        if not self._lock.acquire(blocking=wait):
            raise Busy
        try:
            if self._db is None:
                self._db = self._connect()
            yield self._db
        finally:
            self._lock.release()

    def close(self) -> None:
        with self._lock, suppress(sqlite3.Error):
            if self._db is not None:
                self._db.close()
            self._db = None


def _in_transaction(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    with db:
        return work(db)


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors of the Python module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
