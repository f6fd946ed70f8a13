"""What was completed in an output folder, remembered in ``.fetcher/`` for later runs.

An SQLite file in WAL mode: several processes may use it at a time, and looking up one name among
millions takes microseconds. Losing it loses no file: what is not remembered is asked for again.
"""

from __future__ import annotations

import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import astuple
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

from fetcher.errors import DiskError, ForeignFileError, Stopped
from fetcher.rules.existing import Completed
from fetcher.rules.names import STATE_FOLDER, first_free, fold_name, is_numbered, numbered
from fetcher.rules.unpacked import Packed, Unpacked

T = TypeVar("T")

BUSY_SECONDS = 30.0
"""How long to wait for another process that is writing."""

LOOK_SECONDS = 0.1
"""How often one who waits looks whether the run is being stopped."""

_VERSION = 1

_SUFFIXES = ("", "-wal", "-shm")
"""Of the files that SQLite keeps."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS completed (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    etag TEXT, last_modified TEXT, checksum TEXT, address TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS named (
    key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS unpacked (
    folder TEXT PRIMARY KEY,
    archive TEXT NOT NULL, size INTEGER NOT NULL, archive_mtime_ns INTEGER NOT NULL, checksum TEXT,
    inode TEXT NOT NULL, mtime_ns INTEGER NOT NULL, fingerprint TEXT NOT NULL, replaces TEXT,
    folded TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS unpacked_folded ON unpacked (folded);
"""


class Ledger:
    """The memory of one output folder; may be used from several threads, none of them that of an
    event loop.

    Looking something up never waits for who is writing.

    :param out: the output folder.
    :param stopping: set when the run is being stopped: nobody is waited for any more.
    :param durable: what is recorded is on the disk before a call returns; otherwise a power cut may
        take the last records away.
    :raises ForeignFileError: something stands there that would be written through, or waited for.
    :raises DiskError: when it can neither be opened nor be made anew.
    """

    def __init__(self, out: Path, stopping: Event | None = None, *, durable: bool = False) -> None:
        self._durable = durable
        self._path = out / STATE_FOLDER / "completed.sqlite3"
        self._stopping = stopping or Event()
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
            raise DiskError(f"{self._path} cannot be opened: {error}") from error

    def find(self, name: str) -> Completed | None:
        """What is remembered of a name."""
        row = self._look_up(
            "SELECT name, size, mtime_ns, etag, last_modified, checksum, address"
            " FROM completed WHERE name = ?",
            name,
        )
        return _completed(row) if row else None

    def each(self) -> Iterator[Completed]:
        """All that is remembered, in the order of the names; over a connection of its own.

        Ends early where the file is broken.
        """
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(self._path)) as db:
            for row in db.execute(
                "SELECT name, size, mtime_ns, etag, last_modified, checksum, address"
                " FROM completed ORDER BY name"
            ):
                yield _completed(row)

    def record(self, completed: Completed) -> None:
        """Remember a file; at once, so that a killed process has not forgotten it.

        :raises DiskError: when that cannot be done.
        :raises Stopped: see :class:`Ledger`.
        """
        *values, checksum, others, address = astuple(completed)
        checksums = " ".join((checksum or "", *others)) if others else checksum
        values += [checksums, address]
        self._change(
            lambda: self._db.execute(
                "INSERT OR REPLACE INTO completed VALUES (?, ?, ?, ?, ?, ?, ?)", values
            )
        )

    def server_name(self, key: str) -> str | None:
        """The name that a server gave to the row with this key."""
        row = self._look_up("SELECT name FROM named WHERE key = ?", key)
        return str(row[0]) if row else None

    def owner(self, name: str) -> str | None:
        """The key of the row to which a server gave this name."""
        row = self._look_up("SELECT key FROM named WHERE name = ?", name)
        return str(row[0]) if row else None

    def claim_server_name(
        self, key: str, name: str, occupied: Callable[[str], bool] = lambda _: False
    ) -> str:
        """Give the row with this key the name a server states, numbered if another row has it.

        The answer is the same in every run.

        :param occupied: whether a row is at a name that nothing is remembered of.
        :raises DiskError: when it cannot be remembered.
        :raises Stopped: see :class:`Ledger`.
        """
        return self._change(lambda: self._claim(key, name, occupied))

    def may_take(self, key: str, name: str) -> bool:
        """Whether no server has given the name to another row than that with this key.

        Asked by who has opened the part of that name: a claim under way is waited for, and a later
        one finds the name occupied. So no two rows are at one name, whichever process has them.

        :raises DiskError: when it cannot be told.
        """
        return self._change(lambda: self._may_take(key, name))

    def _may_take(self, key: str, name: str) -> bool:
        self._db.execute("BEGIN IMMEDIATE")
        row = self._db.execute("SELECT key FROM named WHERE name = ?", (name,)).fetchone()
        return row is None or row[0] == key

    def _claim(self, key: str, name: str, occupied: Callable[[str], bool]) -> str:
        self._db.execute("BEGIN IMMEDIATE")
        row = self._db.execute("SELECT name FROM named WHERE key = ?", (key,)).fetchone()
        if row is not None and is_numbered(row[0], name):
            return str(row[0])

        def is_free(number: int) -> bool:
            candidate = numbered(name, number)
            row = self._db.execute(
                "SELECT EXISTS (SELECT 1 FROM named WHERE name = ?1)"
                " OR EXISTS (SELECT 1 FROM completed WHERE name = ?1)",
                (candidate,),
            ).fetchone()
            return row == (0,) and not occupied(candidate)

        given = numbered(name, first_free(is_free))
        self._db.execute("INSERT OR REPLACE INTO named VALUES (?, ?)", (key, given))
        return given

    def unpacked(self, folder: str) -> Unpacked | None:
        """What is remembered of a folder that an archive was unpacked to."""
        found = self._unpacked("SELECT * FROM unpacked WHERE folder = ?", folder)
        return found[0] if found else None

    def unpacked_like(self, folder: str) -> list[Unpacked]:
        """Folders that may be this one, in some file systems: see :func:`fold_name`."""
        return self._unpacked("SELECT * FROM unpacked WHERE folded = ?", fold_name(folder))

    def _unpacked(self, query: str, value: str) -> list[Unpacked]:
        try:
            with self._lock:
                rows = self._db.execute(query, (value,)).fetchall()
        except sqlite3.DatabaseError:
            return []
        return [Unpacked(row[0], Packed(*row[1:5]), *row[5:9]) for row in rows]

    def record_unpacked(self, unpacked: Unpacked) -> None:
        """Remember a folder, and what was unpacked to it."""
        values = (
            unpacked.folder,
            *astuple(unpacked.archive),
            unpacked.inode,
            unpacked.mtime_ns,
            unpacked.fingerprint,
            unpacked.replaces,
            fold_name(unpacked.folder),
        )
        self._change(
            lambda: self._db.execute(
                "INSERT OR REPLACE INTO unpacked VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values
            )
        )

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

    def _look_up(self, query: str, value: str) -> Any:
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

    def _close_reader(self) -> None:
        with self._reading, suppress(sqlite3.Error):
            if self._reader is not None:
                self._reader.close()
            self._reader = None

    def _change(self, change: Callable[[], T]) -> T:
        """Make a change in one transaction; where the file turns out to be broken, in a new one."""
        try:
            with self._lock:
                try:
                    return self._when_free(lambda: self._in_transaction(change))
                except sqlite3.DatabaseError as error:
                    broken, self._db = self._db, self._made_anew(error)
                    broken.close()
                    return self._in_transaction(change)
        except (OSError, sqlite3.Error) as error:
            raise DiskError(f"{self._path} cannot be written: {error}") from error

    def _in_transaction(self, change: Callable[[], T]) -> T:
        with self._db:
            return change()

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
            self._when_free(lambda: _prepare(db, durable=self._durable))
        except BaseException:
            db.close()
            raise
        return db

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=LOOK_SECONDS, check_same_thread=False)


def _completed(row: Sequence[Any]) -> Completed:
    name, size, mtime_ns, etag, last_modified, checksums, address = row
    checksum, *others = (checksums or "").split(" ")
    return Completed(
        name, size, mtime_ns, etag, last_modified, checksum or None, tuple(others), address
    )


def _prepare(db: sqlite3.Connection, *, durable: bool) -> None:
    """Writes only where something is missing: who finds all there waits for nobody."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
    db.executescript(_SCHEMA)
    _add_address(db)
    if db.execute("PRAGMA user_version").fetchone() != (_VERSION,):
        db.execute(f"PRAGMA user_version = {_VERSION}")


def _add_address(db: sqlite3.Connection) -> None:
    """Earlier versions have not noted it."""
    if _has_address(db):
        return
    with db:
        # Another process may be about to do the same.
        db.execute("BEGIN IMMEDIATE")
        if not _has_address(db):
            db.execute("ALTER TABLE completed ADD COLUMN address TEXT")


def _has_address(db: sqlite3.Connection) -> bool:
    return "address" in [row[1] for row in db.execute("PRAGMA table_info(completed)")]


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors of the Python module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
