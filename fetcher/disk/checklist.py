"""What the reports and ``SHA256SUMS`` of a folder say of its files."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fetcher.disk.sums import NAME as SUMS
from fetcher.errors import DiskError
from fetcher.rules.checksums import parse_checksum
from fetcher.rules.names import PART_SUFFIX, STATE_FOLDER
from fetcher.rules.sums import parse_sums_line

MAX_LINE = 1 << 20
"""Bytes of the longest line that is read."""

_BROKEN_SHOWN = 10
_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -4096;
CREATE TABLE reported (name TEXT PRIMARY KEY, size INTEGER, checksum TEXT, failure TEXT)
    WITHOUT ROWID;
CREATE TABLE sums (name TEXT PRIMARY KEY, sum TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE unpacked (folder TEXT PRIMARY KEY) WITHOUT ROWID;
BEGIN;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as it should be.

    :param name: from outside: any text.
    :param size: bytes, if the report says.
    :param checksums: who states one, to ``algorithm:hex``; the same one is only there once.
    :param failure: what the report says of a file that failed; then there is nothing to compare.
    """

    name: str
    size: int | None
    checksums: dict[str, str]
    failure: str | None = None


class Checklist:
    """Reads them into a temporary database, so that memory does not grow with the folder.

    Of two reports on one file the younger counts.

    :param out: the folder.
    :raises DiskError: something of it cannot be read.

    :ivar broken: what is wrong with the lists themselves, a sentence each.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.broken: list[str] = []
        self._bad_lines = 0
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_SCHEMA)
        try:
            for path in self._reports():
                self._read(path, self._add_reported)
            if (out / SUMS).is_file():
                self._read(out / SUMS, self._add_sum)
        except OSError as error:
            self.close()
            raise DiskError(f"{error.filename or out} cannot be read: {error.strerror}") from error
        if self._bad_lines > len(self.broken):
            more = self._bad_lines - len(self.broken)
            self.broken.append(f"and {more} more lines that cannot be read")

    @property
    def count(self) -> int:
        """How many entries there are."""
        query = "SELECT count(*) FROM (SELECT name FROM reported UNION SELECT name FROM sums)"
        return int(self._db.execute(query).fetchone()[0])

    @property
    def size(self) -> int:
        """Bytes of the files, as far as the reports say."""
        query = "SELECT coalesce(sum(size), 0) FROM reported WHERE failure IS NULL"
        return int(self._db.execute(query).fetchone()[0])

    def each(self) -> Iterator[Entry]:
        """The entries in the order of their names."""
        rows = self._db.execute(
            "SELECT name, size, checksum, failure, sum FROM reported LEFT JOIN sums USING (name)"
            " UNION ALL SELECT name, NULL, NULL, NULL, sum FROM sums"
            " WHERE name NOT IN (SELECT name FROM reported) ORDER BY name"
        )
        for name, size, checksum, failure, listed in rows:
            if failure is not None:
                yield Entry(name, None, {}, failure)
            stated = {"the report": checksum} if checksum else {}
            if listed and listed != checksum:
                stated[SUMS] = listed
            if failure is None or stated:
                yield Entry(name, size, stated)

    def unfinished(self) -> Iterator[str]:
        """Names of part files, but those of files that the report says have failed.

        What an archive was unpacked to is the archive's, whatever the names in it.
        """
        for folder, folders, files in os.walk(self.out):
            if Path(folder) == self.out and STATE_FOLDER in folders:
                folders.remove(STATE_FOLDER)
            here = Path(folder).relative_to(self.out)
            folders[:] = [name for name in folders if not self._was_unpacked(here / name)]
            for file in sorted(files):
                if file.endswith(PART_SUFFIX):
                    name = (Path(folder) / file).relative_to(self.out).as_posix()
                    if not self._has_failed(name.removesuffix(PART_SUFFIX)):
                        yield name

    def close(self) -> None:
        """Throw the database away."""
        self._db.close()

    def _reports(self) -> list[Path]:
        found = [self.out / "report.jsonl", *self.out.glob("report-*.jsonl")]
        return sorted(filter(Path.is_file, found), key=lambda path: path.stat().st_mtime_ns)

    def _read(self, path: Path, add: Any) -> None:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                with suppress(ValueError, RecursionError):
                    if len(line) < MAX_LINE and (not line.strip() or add(line.decode())):
                        continue
                self._bad_lines += 1
                if self._bad_lines <= _BROKEN_SHOWN:
                    self.broken.append(f"{path.name}: line {number} cannot be read")
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE)

    def _add_reported(self, line: str) -> bool:
        """:raises ValueError: it is no line of a report."""
        row = json.loads(line)
        name = row.get("path") or row["name"] if isinstance(row, dict) and "name" in row else None
        if not isinstance(name, str):
            return False
        size, checksum, failure = row.get("size"), row.get("checksum"), None
        if row.get("status") == "failed":
            error = row.get("error")
            failure = str(error.get("message")) if isinstance(error, dict) else "no reason given"
            size = checksum = None
        if not (size is None or (isinstance(size, int) and 0 <= size < 1 << 63)):
            return False
        if checksum is not None:
            checksum = parse_checksum(str(checksum))
        self._insert("reported", (name, size, checksum, failure))
        if isinstance(row.get("unpacked"), str):
            self._insert("unpacked", (row["unpacked"],))
        return True

    def _add_sum(self, line: str) -> bool:
        entry = parse_sums_line(line.removesuffix("\n").removesuffix("\r"))
        if entry is not None:
            self._insert("sums", entry)
        return entry is not None or line.startswith("#")

    def _insert(self, table: str, values: tuple[Any, ...]) -> None:
        marks = ", ".join("?" * len(values))
        query = f"INSERT OR REPLACE INTO {table} VALUES ({marks})"  # noqa: S608 - a table of ours
        self._db.execute(query, values)

    def _was_unpacked(self, folder: Path) -> bool:
        query = "SELECT 1 FROM unpacked WHERE folder = ?"
        with suppress(UnicodeEncodeError):
            return self._db.execute(query, (folder.as_posix(),)).fetchone() is not None
        return False

    def _has_failed(self, name: str) -> bool:
        query = "SELECT 1 FROM reported WHERE name = ? AND failure IS NOT NULL"
        with suppress(UnicodeEncodeError):
            return self._db.execute(query, (name,)).fetchone() is not None
        return False
