"""Rows whose files are there, as an earlier run completed them: looked up many at a time.

They need neither a request nor a turn, so a list that has been worked off before costs
microseconds a row. Whatever is not as plain as that goes the long way, through a file's request,
which decides by the same rules (:mod:`fetcher.rules.existing`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Lock

from scrapy import Request

from fetcher.disk.ledger import Ledger
from fetcher.errors import FetchError
from fetcher.items import FileItem
from fetcher.lists import NamedRow, Row
from fetcher.rules.existing import Action, Completed, decide
from fetcher.rules.urls import is_plain, redact, split_credentials
from fetcher.transfer.server_name import row_key


class Standing:
    """Looks at one output folder, in a thread.

    :param out: the folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._lock = Lock()
        self._ledger: Ledger | None = None
        self._stopping = Event()

    def stop(self) -> None:
        """Wait for nobody any more, and look at nothing."""
        self._stopping.set()

    def close(self) -> None:
        """Release what is open; in a thread."""
        self.stop()
        with self._lock:
            if self._ledger is not None:
                self._ledger.close()

    def items(self, rows: Sequence[NamedRow[Row]]) -> dict[int, FileItem]:
        """The items of rows whose files need not be asked for, by the rows' numbers."""
        with self._lock:
            if self._stopping.is_set():
                return {}
            try:
                if self._ledger is None:
                    self._ledger = Ledger(self._out, self._stopping)
                return self._look(self._ledger, rows)
            except FetchError:
                # Who fetches a file will say so.
                self.stop()
                return {}

    def _look(self, ledger: Ledger, rows: Sequence[NamedRow[Row]]) -> dict[int, FileItem]:
        keys = {wanted.number: _key(wanted) for wanted in rows if wanted.row.name is None}
        given = ledger.server_names(list(keys.values())) if keys else {}
        names = [given.get(keys.get(wanted.number, ""), wanted.name) for wanted in rows]
        remembered = ledger.find_all(names)
        if not remembered:
            return {}
        owners, unpacked = ledger.owners(names), ledger.has_unpacked()
        items = {}
        for wanted, name in zip(rows, names, strict=True):
            completed = remembered.get(name)
            if completed is None or owners.get(name) not in (None, keys.get(wanted.number)):
                continue
            if unpacked and "/" in name:
                # It may be in the way of what an archive was unpacked to.
                continue
            item = self._item(wanted, completed)
            if item is not None:
                items[wanted.number] = item
        return items

    def _item(self, wanted: NamedRow[Row], completed: Completed) -> FileItem | None:
        row = wanted.row
        try:
            found = os.lstat(f"{self._out}/{completed.name}")
        except OSError:
            return None
        stated = (row.checksum, wanted.sums)
        if row.unused or decide("skip", found, completed, row.size, *stated) is not Action.KEEP:
            return None
        item = FileItem(
            status="unchanged",
            name=completed.name,
            path=completed.name,
            url=redact(row.url),
            size=completed.size,
            checksum=completed.checksum,
        )
        item.line, item.number = row.line or None, wanted.number
        item.out, item.row = self._out, wanted.name
        return item


def _key(wanted: NamedRow[Row]) -> str:
    url = split_credentials(wanted.row.url)[0]
    # As its request has the address: so it is remembered what the server calls the file.
    url = url if is_plain(url) else Request(url).url
    return row_key(wanted.name, url, named=False, variant=wanted.variant)
