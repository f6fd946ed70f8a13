"""One report of the items of several jobs."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from fetcher.errors import DiskError

STATUSES = ("ok", "unchanged", "failed")


class Gathering:
    """Takes reports, line by line, and gives the file its name when all are in it.

    :param path: of the report; None to count only.
    :raises DiskError: it cannot be written; also from :meth:`add` and :meth:`publish`.

    :ivar wanted: whether there is to be a report.
    """

    def __init__(self, path: Path | None) -> None:
        self.wanted = path is not None
        self._path = path
        self._aside: Path | None = None
        self._file: IO[bytes] | None = None
        if path is None:
            return
        if path.is_dir():
            raise DiskError(f"a folder stands where the report belongs: {path}")
        self._aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            self._file = self._aside.open("xb")
        except OSError as error:
            raise self._broken(error) from error

    def add(self, lines: Iterable[bytes], tell: Callable[[str, str], None]) -> Counter[str]:
        """Take a job's items; how many files there are of each status.

        A last line without an end, of a process that was killed, is left out.

        :param tell: called with the name of each file that failed, and why.
        """
        counts: Counter[str] = Counter()
        for line in lines:
            try:
                row = json.loads(line)
                status = row["status"] if line.endswith(b"\n") else None
                if status == "failed":
                    tell(str(row["name"]), str(row["error"]["message"]))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if status not in STATUSES:
                continue
            counts[status] += 1
            if self._file is not None:
                try:
                    self._file.write(line)
                except OSError as error:
                    raise self._broken(error) from error
        return counts

    def publish(self) -> None:
        """Give the report its name."""
        if self._file is None or self._aside is None or self._path is None:
            return
        try:
            self._file.close()
            self._aside.replace(self._path)
        except OSError as error:
            raise self._broken(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove what has not got its name."""
        if self._file is not None and self._aside is not None:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self._aside.unlink()

    def _broken(self, error: OSError) -> DiskError:
        return DiskError(f"the report {self._path} cannot be written: {error.strerror}")
