"""A file of checksums, joined to the rows of a list by their names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import PurePath

from fetcher.errors import DiskError, InvalidListError, InvalidRowError, Stopped
from fetcher.lists.stream import STDIN, ListStream, label
from fetcher.lists.text import read_lines
from fetcher.rules.checksums import ALGORITHMS
from fetcher.rules.sums import parse_sums_line
from fetcher.rules.urls import last_segment, looks_like_url, redact_text

KIND = "file of checksums"
SHOWN = 5
"""Names that a warning gives as examples."""

_LONGEST = 200
"""Characters of a name that are shown."""

_CHUNK = 2000
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4096;
CREATE TABLE sums (backward TEXT, rank INTEGER, digest BLOB, line INTEGER);
CREATE TABLE taken (backward TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID;
BEGIN;
"""
_ADD = "INSERT INTO sums VALUES (?, ?, ?, ?)"
_SORT = "CREATE INDEX by_path ON sums (backward, rank, digest)"

_Entry = tuple[str, int, bytes, int]
"""Path, read backward; place in :data:`ALGORITHMS`; digest; line."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What the file says of a name.

    :param checksum: ``algorithm:hex``.
    :param line: where it says so; the first line is 1.
    """

    checksum: str
    line: int


def open_sums(location: str, address: str | None = None) -> ListStream:
    """Open a file of checksums.

    :param location: a path, or ``-`` for standard input; gzipped or not.
    :param address: where the file was fetched from.
    :raises InvalidListError: it is missing, unreadable, or a web page.
    """
    stream = ListStream(location, label(address or location, KIND))
    try:
        stream.check_no_page()
    except BaseException:
        stream.close()
        raise
    return stream


class SumsIndex:
    """The entries of one file, in a temporary database: memory does not grow with it.

    Paths are kept backward, so that those which end alike stand together.

    :param location: a path, ``-``, or an address: messages call the file by the last part of it.
    """

    def __init__(self, location: str) -> None:
        name = last_segment(location) if looks_like_url(location) else PurePath(location).name
        self.name = "standard input" if location == STDIN else _shown(name) or f"the {KIND}"
        self._bad = self._first_bad = 0
        self._shared = ""
        self._stopped = False
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.executescript(_SCHEMA)

    def read(self, stream: ListStream) -> None:
        """Take up all entries; belongs in a thread. Lines that are none are passed over.

        :raises InvalidListError: it cannot be read, or has no entry.
        :raises DiskError: there is no room for them.
        :raises Stopped: see :meth:`stop`.
        """
        entries = self._entries(stream)
        with self._kept():
            while chunk := list(islice(entries, _CHUNK)):
                self._database.executemany(_ADD, chunk)
                if self._stopped:
                    raise Stopped(f"stopped while {stream.called} was read")
            # Sorted once, at the end, it takes a fifth of the time.
            self._database.execute(_SORT)
        if not self._database.execute("SELECT EXISTS (SELECT 1 FROM sums)").fetchone()[0]:
            raise InvalidListError(
                f"{stream.called} has no line of a checksum and a name; give what sha256sum writes"
            )

    def find(self, name: str) -> list[Listed]:
        """What the file says of a file's final name, an algorithm each, the strongest first.

        The path of an entry is the name, or one of the two is the end of the other, from a slash
        on, and there is no second entry of that kind. What another name was taken for is not taken
        for this one.

        :raises InvalidRowError: it says two things.
        :raises DiskError: there is no room in the temporary folder.
        """
        with self._kept():
            backward = self._path_of(name)
            if backward is None:
                return []
            execute = self._database.execute
            execute("INSERT OR REPLACE INTO taken VALUES (?, ?)", (backward, name))
            rows = execute(
                "SELECT rank, digest, min(line) FROM sums WHERE backward = ?"
                " GROUP BY rank, digest ORDER BY rank, min(line)",
                (backward,),
            ).fetchall()
        found = [Listed(f"{ALGORITHMS[rank]}:{digest.hex()}", line) for rank, digest, line in rows]
        for (one, other), (a, b) in zip(pairwise(found), pairwise(rows), strict=True):
            if a[0] == b[0]:
                raise InvalidRowError(
                    f"{self.name} says two things of {name}, {one.checksum} in line {one.line} and "
                    f"{other.checksum} in line {other.line}: correct it"
                )
        return found

    def note(self, name: str) -> None:
        """A row has this name, but cannot be fetched."""
        with suppress(InvalidRowError, UnicodeEncodeError):
            self.find(name)

    def leftovers(self) -> list[str]:
        """A sentence each on what did not find its place, once all names have been asked for."""
        execute = self._database.execute
        sentences = [self._shared] if self._shared else []
        count, taken = execute(
            "SELECT count(DISTINCT backward), (SELECT count(*) FROM taken) FROM sums"
        ).fetchone()
        if count > taken:
            rows = execute(
                "SELECT backward FROM sums WHERE backward NOT IN (SELECT backward FROM taken)"
                " ORDER BY rowid"
            )
            names: dict[str, None] = {}
            for (path,) in rows:
                names[_shown(path[::-1])] = None
                if len(names) == SHOWN:
                    break
            more = ", …" if count - taken > SHOWN else ""
            sentences.append(
                f"{count - taken} of {count} entries of {self.name} match no file of the list: "
                f"{', '.join(names)}{more}"
            )
        return sentences

    @property
    def bad_lines(self) -> str:
        """A sentence on the lines that are no entries; empty where there are none."""
        if not self._bad:
            return ""
        lines = "1 line of" if self._bad == 1 else f"{self._bad} lines of"
        return (
            f"{lines} {self.name} without a checksum and a name, the first of them line "
            f"{self._first_bad}: passed over"
        )

    def stop(self) -> None:
        """End a :meth:`read` in another thread."""
        self._stopped = True

    def close(self) -> None:
        """Throw the database away."""
        self._database.close()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise DiskError(
                f"the entries of {self.name} cannot be kept in the temporary folder: {error}; "
                "make room there"
            ) from error

    def _entries(self, stream: ListStream) -> Iterator[_Entry]:
        for number, text in read_lines(stream):
            line = text if isinstance(text, str) else "?"
            entry = parse_sums_line(line.removesuffix("\n").removesuffix("\r"))
            if entry is not None:
                path, checksum = entry
                algorithm, _, digits = checksum.partition(":")
                yield path[::-1], ALGORITHMS.index(algorithm), bytes.fromhex(digits), number
            elif line.strip() and not line.startswith("#"):
                self._bad += 1
                self._first_bad = self._first_bad or number

    def _path_of(self, name: str) -> str | None:
        """The path, backward, of the entry for a name."""
        backward = name[::-1]
        if self._has(backward):
            return backward
        # The ends of the name, from the shortest on.
        found = [
            backward[:place]
            for place, character in enumerate(backward)
            if character == "/" and self._has(backward[:place])
        ]
        # What has the name as its end: "0" is what comes after "/".
        longer = self._database.execute(
            "SELECT DISTINCT backward FROM sums WHERE backward >= ? AND backward < ? LIMIT 2",
            (backward + "/", backward + "0"),
        )
        found += [path for (path,) in longer]
        if len(found) != 1:
            return None
        path, taker = found[0][::-1], self._taker(found[0])
        if taker in (None, name):
            return found[0]
        if taker != path:
            self._shared = (
                f"{_shown(path)} of {self.name} fits several files of the list and is compared "
                "with the first of them only: give whole paths"
            )
        return None

    def _has(self, backward: str) -> bool:
        query = "SELECT EXISTS (SELECT 1 FROM sums WHERE backward = ?)"
        return bool(self._database.execute(query, (backward,)).fetchone()[0])

    def _taker(self, backward: str) -> str | None:
        """The name that an entry was taken for."""
        query = "SELECT name FROM taken WHERE backward = ?"
        row = self._database.execute(query, (backward,)).fetchone()
        return row[0] if row else None


def _shown(path: str) -> str:
    path = "".join(each if each.isprintable() else "?" for each in redact_text(path))
    return path if len(path) <= _LONGEST else path[:_LONGEST] + "…"
