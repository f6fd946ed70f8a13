"""Reader of aria2's input files: https://aria2.github.io/manual/en/html/aria2c.html#input-file"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

from fetcher.errors import InvalidRowError
from fetcher.lists.rows import MAX_HEADERS, BadRow, Row, bad_row, make_row
from fetcher.lists.text import Line
from fetcher.rules import names, urls

logger = logging.getLogger(__name__)

_ONCE = {"out": "name", "dir": "dir", "checksum": "checksum", "split": "splits"}


class _Entry:
    """A line of addresses, and the options below it."""

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        self.addresses = [each for each in text.split("\t") if each.strip()]
        self.fields: dict[str, str] = {}
        self.headers: list[tuple[str, str]] = []
        self.headers_length = 0
        self.error: InvalidRowError | None = None

    def row(self) -> Row | BadRow:
        url = self.addresses[0].strip()
        name, folder = self.fields.get("name", ""), self.fields.pop("dir", "")
        if self.error is not None:
            return bad_row(self.line, self.error, name, url)
        fields = {"url": url, "mirrors": " ".join(self.addresses[1:]), **self.fields}
        row = make_row(self.line, fields, tuple(self.headers))
        if not folder or isinstance(row, BadRow):
            return row
        name = f"{folder.removeprefix('./').rstrip('/')}/{name or names.url_name(row.url)}"
        return make_row(self.line, {**fields, "name": name}, tuple(self.headers))


def read_aria2(lines: Iterable[Line]) -> Iterator[Row | BadRow]:
    """Lines of addresses of one file, tabs between them; indented lines of options below."""
    entry: _Entry | None = None
    unknown: set[str] = set()
    for number, text in lines:
        if isinstance(text, InvalidRowError):
            if entry is not None:
                yield entry.row()
                entry = None
            yield BadRow(number, text)
            continue
        if not text.strip() or text.startswith("#"):
            continue
        if not text.startswith((" ", "\t")):
            if entry is not None:
                yield entry.row()
            entry = _Entry(number, text)
        elif entry is None:
            yield bad_row(number, InvalidRowError("an option stands above the first address"))
        else:
            _add_option(entry, text.strip(), unknown)
    if entry is not None:
        yield entry.row()


def _add_option(entry: _Entry, text: str, unknown: set[str]) -> None:
    name, _, value = text.partition("=")
    if name == "header":
        # The first beyond the limit is kept, for the row to be refused by it.
        if entry.headers_length <= MAX_HEADERS:
            header, colon, content = value.partition(":")
            entry.headers.append((header if colon else "", content))
            entry.headers_length += len(value)
    elif name in _ONCE:
        entry.fields[_ONCE[name]] = value
    elif name not in unknown and len(unknown) < 100:
        unknown.add(name)
        shown = urls.redact_text(name[:200])[:40]
        logger.warning("the option %r of the list means nothing here and is passed over", shown)
