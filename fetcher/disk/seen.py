"""A set of texts that costs no memory."""

from __future__ import annotations

import sqlite3
from hashlib import blake2b
from threading import Lock


class Seen:
    """Remembers which texts it has seen, in a temporary database; from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA cache_size = -1024;"
            "CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID; BEGIN;"
        )

    def add(self, text: str) -> None:
        """Remember a text."""
        with self._lock:
            self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (_digest(text),))

    def __contains__(self, text: str) -> bool:
        query = "SELECT 1 FROM seen WHERE digest = ?"
        with self._lock:
            return self._db.execute(query, (_digest(text),)).fetchone() is not None

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            self._db.close()


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
