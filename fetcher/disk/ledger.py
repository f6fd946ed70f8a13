"""What was completed in an output folder, remembered in ``.fetcher/`` for later runs.

An SQLite file in WAL mode: several processes may use it at a time, and looking up one name among
millions takes microseconds. Losing it loses no file: what is not remembered is asked for again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import astuple
from pathlib import Path
from threading import Lock
from typing import TypeVar

from fetcher.errors import DiskError
from fetcher.rules.existing import Completed
from fetcher.rules.names import STATE_FOLDER, numbered

T = TypeVar("T")

BUSY_SECONDS = 30.0
"""How long to wait for another process that is writing."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS completed (
    name TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    etag TEXT, last_modified TEXT, checksum TEXT, address TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS named (
    key TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


class Ledger:
    """The memory of one output folder; may be used from several threads.

    :raises DiskError: when it can neither be opened nor be made anew.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / STATE_FOLDER / "completed.sqlite3"
        self._lock = Lock()
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._db = self._open()
            except sqlite3.DatabaseError as error:
                self._db = self._made_anew(error)
        except (OSError, sqlite3.Error) as error:
            raise DiskError(f"{self._path} cannot be opened: {error}") from error

    def find(self, name: str) -> Completed | None:
        """What is remembered of a name."""
        try:
            with self._lock:
                row = self._db.execute(
                    "SELECT name, size, mtime_ns, etag, last_modified, checksum, address"
                    " FROM completed WHERE name = ?",
                    (name,),
                ).fetchone()
        except sqlite3.DatabaseError:
            return None
        return Completed(*row) if row else None

    def each(self) -> Iterator[Completed]:
        """All that is remembered, in the order of the names; over a connection of its own.

        Ends early where the file is broken.
        """
        with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(self._path)) as db:
            for row in db.execute(
                "SELECT name, size, mtime_ns, etag, last_modified, checksum, address"
                " FROM completed ORDER BY name"
            ):
                yield Completed(*row)

    def record(self, completed: Completed) -> None:
        """Remember a file; at once, so that a killed process has not forgotten it."""
        self._change(
            lambda: self._db.execute(
                "INSERT OR REPLACE INTO completed VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(completed)
            )
        )

    def server_name(self, key: str) -> str | None:
        """The name that a server gave to the row with this key."""
        try:
            with self._lock:
                row = self._db.execute("SELECT name FROM named WHERE key = ?", (key,)).fetchone()
        except sqlite3.DatabaseError:
            return None
        return str(row[0]) if row else None

    def owner(self, name: str) -> str | None:
        """The key of the row to which a server gave this name."""
        try:
            with self._lock:
                row = self._db.execute("SELECT key FROM named WHERE name = ?", (name,)).fetchone()
        except sqlite3.DatabaseError:
            return None
        return str(row[0]) if row else None

    def claim_server_name(
        self, key: str, name: str, occupied: Callable[[str], bool] = lambda _: False
    ) -> str:
        """Give the row with this key the name a server states, numbered if another row has it.

        The answer is the same in every run.

        :param occupied: whether a row is at a name that nothing is remembered of.
        :raises DiskError: when it cannot be remembered.
        """
        return self._change(lambda: self._claim(key, name, occupied))

    def _claim(self, key: str, name: str, occupied: Callable[[str], bool]) -> str:
        self._db.execute("BEGIN IMMEDIATE")
        number = 0
        while True:
            candidate = numbered(name, number)
            row = self._db.execute(
                "SELECT (SELECT key FROM named WHERE name = ?1),"
                " (SELECT count(*) FROM completed WHERE name = ?1)",
                (candidate,),
            ).fetchone()
            if row[0] == key:
                return candidate
            if row == (None, 0) and not occupied(candidate):
                self._db.execute("INSERT OR REPLACE INTO named VALUES (?, ?)", (key, candidate))
                return candidate
            number += 1

    def close(self) -> None:
        """Close the file; twice does no harm."""
        with self._lock, suppress(sqlite3.Error):
            self._db.close()

    def _change(self, change: Callable[[], T]) -> T:
        """Make a change in one transaction; where the file turns out to be broken, in a new one."""
        try:
            with self._lock:
                try:
                    with self._db:
                        return change()
                except sqlite3.DatabaseError as error:
                    broken, self._db = self._db, self._made_anew(error)
                    broken.close()
                    with self._db:
                        return change()
        except (OSError, sqlite3.Error) as error:
            raise DiskError(f"{self._path} cannot be written: {error}") from error

    def _made_anew(self, error: sqlite3.DatabaseError) -> sqlite3.Connection:
        """A power cut or another program broke the file; its content is a convenience.

        :raises sqlite3.DatabaseError: ``error``, when it is another one.
        """
        if _code(error) not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise error
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        return self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            _write_ahead(db)
            db.execute("PRAGMA synchronous=NORMAL")
            db.executescript(_SCHEMA)
            _add_address(db)
        except BaseException:
            db.close()
            raise
        return db


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to WAL mode; SQLite does not wait for another process by itself here."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


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
