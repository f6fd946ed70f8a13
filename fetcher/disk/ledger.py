"""What was completed in an output folder, remembered in ``.fetcher/`` for later runs.

Looking up one name among millions takes microseconds. Losing it loses no file: what is not
remembered is asked for again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from threading import Event
from typing import Any

from fetcher.disk.database import Database
from fetcher.rules.existing import Completed
from fetcher.rules.names import STATE_FOLDER, first_free, fold_name, is_numbered, numbered
from fetcher.rules.unpacked import Packed, Unpacked

_VERSION = 1

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

_COMPLETED = "SELECT name, size, mtime_ns, etag, last_modified, checksum, address FROM completed"


class Ledger:
    """The memory of one output folder; may be used from several threads.

    Looking something up never waits for who is writing. In an event loop's thread nobody at all may
    be waited for: what is asked there with ``wait=False`` raises
    :class:`fetcher.disk.database.Busy` instead.

    :param out: the output folder.
    :param stopping: set when the run is being stopped: nobody is waited for any more.
    :param durable: what is recorded is on the disk before a call returns; otherwise a power cut may
        take the last records away.
    :raises ForeignFileError: something stands there that would be written through, or waited for.
    :raises DiskError: when it can neither be opened nor be made anew.
    """

    def __init__(self, out: Path, stopping: Event | None = None, *, durable: bool = False) -> None:
        path = out / STATE_FOLDER / "completed.sqlite3"
        self._database = Database(path, _prepare, stopping or Event(), durable=durable)

    def find(self, name: str, *, wait: bool = True) -> Completed | None:
        """What is remembered of a name."""
        row = self._database.look_up(_COMPLETED + " WHERE name = ?", name, wait=wait)
        return _completed(row) if row else None

    def find_all(self, names: Sequence[str]) -> dict[str, Completed]:
        """What is remembered of names: of those of which anything is."""
        found = map(_completed, self._among(_COMPLETED + " WHERE name IN", names))
        return {each.name: each for each in found}

    def server_names(self, keys: Sequence[str]) -> dict[str, str]:
        """The names that servers gave to the rows with these keys, by the key."""
        return dict(self._among("SELECT key, name FROM named WHERE key IN", keys))

    def owners(self, names: Sequence[str]) -> dict[str, str]:
        """The keys of the rows to which servers gave these names, by the name."""
        return dict(self._among("SELECT name, key FROM named WHERE name IN", names))

    def has_unpacked(self) -> bool:
        """Whether any archive was unpacked here."""
        return self._database.look_up("SELECT 1 FROM unpacked") is not None

    def each(self) -> Iterator[Completed]:
        """All that is remembered, in the order of the names; over a connection of its own.

        Ends early where the file is broken.
        """
        return map(_completed, self._database.each(_COMPLETED + " ORDER BY name"))

    def record(self, *completed: Completed) -> None:
        """Remember files; at once, so that a killed process has not forgotten them.

        :raises DiskError: when that cannot be done.
        :raises Stopped: see :class:`Ledger`.
        """
        rows = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * len(completed))
        statement = f"INSERT OR REPLACE INTO completed VALUES {rows}"  # noqa: S608 - no values
        values = [value for each in completed for value in _values(each)]
        self._database.change(lambda db: db.execute(statement, values))

    def server_name(
        self, key: str, name: str, *, wait: bool = True
    ) -> tuple[str | None, str | None]:
        """The name that a server gave to the row with this key, and to which row one gave that name
        or, where the first has none, ``name``.
        """
        row = self._database.look_up(
            "SELECT given, (SELECT key FROM named WHERE name = COALESCE(given, ?2))"
            " FROM (SELECT (SELECT name FROM named WHERE key = ?1) AS given)",
            key,
            name,
            wait=wait,
        )
        return row or (None, None)

    def claim_server_name(
        self, key: str, name: str, occupied: Callable[[str], bool] = lambda _: False
    ) -> str:
        """Give the row with this key the name a server states, numbered if another row has it.

        The answer is the same in every run.

        :param occupied: whether a row is at a name that nothing is remembered of.
        :raises DiskError: when it cannot be remembered.
        :raises Stopped: see :class:`Ledger`.
        """
        return self._database.change(lambda db: _claim(db, key, name, occupied))

    def may_take(self, key: str, name: str, *, wait: bool = True) -> bool:
        """Whether no server has given the name to another row than that with this key.

        Asked by who has opened the part of that name: a claim under way is waited for, and a later
        one finds the name occupied. So no two rows are at one name, whichever process has them.

        :raises DiskError: when it cannot be told.
        """
        # Of a change, even of one that changes nothing, there is one at a time.
        query = "UPDATE named SET key = key WHERE name = ? RETURNING key"
        row = self._database.look_up_settled(query, name, wait=wait)
        return row is None or row[0] == key

    def unpacked(self, folder: str) -> Unpacked | None:
        """What is remembered of a folder that an archive was unpacked to."""
        found = _unpacked(self._database, "SELECT * FROM unpacked WHERE folder = ?", folder)
        return found[0] if found else None

    def unpacked_like(self, folder: str, *, wait: bool = True) -> list[Unpacked]:
        """Folders that may be this one, in some file systems: see :func:`fold_name`."""
        query = "SELECT * FROM unpacked WHERE folded = ?"
        return _unpacked(self._database, query, fold_name(folder), wait=wait)

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
        self._database.change(
            lambda db: db.execute(
                "INSERT OR REPLACE INTO unpacked VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values
            )
        )

    def close(self) -> None:
        """Close the file; twice does no harm."""
        self._database.close()

    def _among(self, query: str, values: Sequence[str]) -> list[Any]:
        places = ", ".join("?" * len(values))
        return self._database.select(f"{query} ({places})", *values)


def _values(completed: Completed) -> list[Any]:
    *values, checksum, others, address = astuple(completed)
    checksums = " ".join((checksum or "", *others)) if others else checksum
    return [*values, checksums, address]


def _completed(row: Sequence[Any]) -> Completed:
    name, size, mtime_ns, etag, last_modified, checksums, address = row
    checksum, *others = (checksums or "").split(" ")
    return Completed(
        name, size, mtime_ns, etag, last_modified, checksum or None, tuple(others), address
    )


def _unpacked(database: Database, query: str, folder: str, *, wait: bool = True) -> list[Unpacked]:
    rows = database.select(query, folder, wait=wait)
    return [Unpacked(row[0], Packed(*row[1:5]), *row[5:9]) for row in rows]


def _claim(db: sqlite3.Connection, key: str, name: str, occupied: Callable[[str], bool]) -> str:
    db.execute("BEGIN IMMEDIATE")
    row = db.execute("SELECT name FROM named WHERE key = ?", (key,)).fetchone()
    if row is not None and is_numbered(row[0], name):
        return str(row[0])

    def is_free(number: int) -> bool:
        candidate = numbered(name, number)
        row = db.execute(
            "SELECT EXISTS (SELECT 1 FROM named WHERE name = ?1)"
            " OR EXISTS (SELECT 1 FROM completed WHERE name = ?1)",
            (candidate,),
        ).fetchone()
        return row == (0,) and not occupied(candidate)

    given = numbered(name, first_free(is_free))
    db.execute("INSERT OR REPLACE INTO named VALUES (?, ?)", (key, given))
    return given


def _prepare(db: sqlite3.Connection) -> None:
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
