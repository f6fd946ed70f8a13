"""Which name each file of a list gets, the same on every run."""

from __future__ import annotations

import os
import sqlite3
from hashlib import blake2b
from threading import Lock

from fetcher.errors import DiskError
from fetcher.lists.rows import Row
from fetcher.rules import names

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4096;
CREATE TABLE names (key TEXT PRIMARY KEY, owner BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE numbers (key TEXT PRIMARY KEY, next INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE renamed (owner BLOB PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
BEGIN;
"""
_TAKE = "INSERT OR IGNORE INTO names (key, owner) VALUES (?, ?)"


class Naming:
    """Gives the rows of one list their names, in the list's order.

    What was given is kept in a temporary database of its own, so that a list of a million rows
    costs no more memory than one of ten. It may be used from any thread.

    :param fold: names that differ only in case or in Unicode form are one, as in some file systems
        (:func:`fetcher.disk.folding.folds_names`).
    """

    def __init__(self, *, fold: bool = False) -> None:
        self._fold = fold
        self._lock = Lock()
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Throw the database away."""
        with self._lock:
            self._database.close()

    def assign(self, row: Row, folder: str = "") -> str | None:
        """The row's final name, or None when the very same row was there before.

        The name is the list's, else the last segment of the URL, else ``index``; a name that was
        given before gets the first free number.

        :param folder: where rows go into several, that of this one, spelled in one way: absolute
            and without links. Names of two folders never meet.
        """
        given, is_new = self._take(row.name or names.url_name(row.url), identity(row), folder)
        return given if is_new else None

    def _take(self, wanted: str, identity: str, folder: str) -> tuple[str, bool]:
        """The name that is given, and whether its owner is new."""
        text = f"{folder}\n{identity}".encode(errors="surrogatepass")
        owner = blake2b(text, digest_size=16).digest()
        with self._lock:
            try:
                return self._first_free(wanted, owner, folder)
            except sqlite3.OperationalError as error:
                raise DiskError(
                    f"the names of the list cannot be kept in the temporary folder: {error};"
                    " make room there"
                ) from error

    def _first_free(self, wanted: str, owner: bytes, folder: str) -> tuple[str, bool]:
        execute = self._database.execute
        key = self._key(wanted, folder)
        if execute(_TAKE, (key, owner)).rowcount == 1:
            return wanted, True
        (first_owner,) = execute("SELECT owner FROM names WHERE key = ?", (key,)).fetchone()
        if first_owner == owner:
            return wanted, False
        given = execute("SELECT name FROM renamed WHERE owner = ?", (owner,)).fetchone()
        if given:
            return given[0], False
        name = self._numbered(wanted, owner, folder)
        execute("INSERT INTO renamed VALUES (?, ?)", (owner, name))
        return name, True

    def _numbered(self, wanted: str, owner: bytes, folder: str) -> str:
        execute = self._database.execute
        least = 1
        while True:
            # Long names are cut to make room for a number. Those that become one have one counter
            # for all numbers of as many digits, so that none is tried twice.
            counter = self._key(names.numbered(wanted, least), folder)
            row = execute("SELECT next FROM numbers WHERE key = ?", (counter,)).fetchone()
            for number in range(row[0] if row else least, 10 * least):
                name = names.numbered(wanted, number)
                if execute(_TAKE, (self._key(name, folder), owner)).rowcount == 1:
                    execute("INSERT OR REPLACE INTO numbers VALUES (?, ?)", (counter, number + 1))
                    return name
            execute("INSERT OR REPLACE INTO numbers VALUES (?, ?)", (counter, 10 * least))
            least *= 10

    def _key(self, name: str, folder: str) -> str:
        """What two names share that cannot both be in one folder."""
        if folder:
            # What is no UTF-8 in it, SQLite would not take.
            name = os.fsencode(f"{folder}/{name}").decode(errors="backslashreplace")
        return names.fold_name(name) if self._fold else name


def identity(row: Row) -> str:
    """What two rows share that are the very same one: fetched once, into one file."""
    name = row.name or names.url_name(row.url)
    size = "" if row.size is None else str(row.size)
    # Names, addresses and headers hold no line feed.
    texts = [name, row.url, size, row.checksum or "", *row.mirrors]
    if row.headers:
        texts += ["", *(f"{key}: {value}" for key, value in row.headers)]
    return "\n".join(texts)
