"""A list of files to fetch, opened: looked at once, then read row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from types import TracebackType
from typing import Self

from fetcher.errors import InvalidListError, InvalidRowError
from fetcher.lists.aria2 import read_aria2
from fetcher.lists.formats import (
    METALINK,
    format_of_ending,
    format_of_head,
    format_of_line,
    list_name,
)
from fetcher.lists.jsonl import read_jsonl
from fetcher.lists.rows import BadRow, Row
from fetcher.lists.stream import STDIN, ListStream, label
from fetcher.lists.text import Line, read_csv, read_lines, read_tsv, read_txt
from fetcher.rules.urls import looks_like_url, redact

READERS: dict[str, Callable[[Iterable[Line]], Iterator[Row | BadRow]]] = {
    "tsv": read_tsv,
    "csv": read_csv,
    "txt": read_txt,
    "jsonl": read_jsonl,
    "aria2": read_aria2,
}
FORMATS = (*READERS, METALINK)


class ListSource:
    """An open list; iterating reads on, once through, and keeps nothing in memory.

    Iterating raises :class:`InvalidListError` when the list turns out to be damaged further on.

    :param name: what to call the output folder: the list's name without its endings.
    :param format: one of :data:`FORMATS`.
    :param address: where the file was fetched from.
    """

    def __init__(
        self,
        name: str,
        format: str,  # noqa: A002 - the spider argument's name
        rows: Iterator[Row | BadRow],
        stream: ListStream,
        address: str | None = None,
    ) -> None:
        self.name = name
        self.format = format
        self.version = stream.version
        """Tells the list from what it is after a change; None for a pipe."""
        self._rows = rows
        self._stream = stream
        self._address = address

    def __iter__(self) -> Iterator[Row | BadRow]:
        return self._rows

    @property
    def location(self) -> str:
        """Where it was opened."""
        return self._stream.location

    def reopen(self) -> ListSource:
        """The same list from its start.

        :raises InvalidListError: see :func:`open_list`.
        """
        return open_list(self.location, self.format, self._address)

    def close(self) -> None:
        """Close the file; standard input itself stays open.

        A thread that waits for the next row, from a pipe, gets :class:`Stopped`.
        """
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def open_list(
    location: str,
    format: str | None = None,  # noqa: A002 - as above
    address: str | None = None,
) -> ListSource:
    """Open a list and look at its first row.

    :param location: a path, or ``-`` for standard input; gzipped or not.
    :param format: one of :data:`FORMATS`; told from the ending and the content where None.
    :param address: where the file was fetched from: it has its name and its ending from there.
    :raises InvalidListError: it is missing, a folder, unreadable, no text, without a row, or of an
        unknown format; one sentence says which.
    """
    if looks_like_url(location):
        raise InvalidListError(
            f"the list {redact(location)!r} is an address; give a file, or - for standard input"
        )
    known_as = address or location
    check_format(known_as, format)
    stream = ListStream(location, label(known_as))
    try:
        stream.check_text()
        chosen = format or format_of_ending(known_as) or format_of_head(stream.head())
        if chosen == METALINK:
            rows = _read_metalink(stream, stream.called)
        else:
            lines = read_lines(stream)
            if not chosen:
                chosen, lines = _look(known_as, lines)
            rows = READERS[chosen](lines)
        first = next(rows, None)
        if first is None:
            raise InvalidListError(f"{stream.called} has no row; give at least one URL")
    except BaseException:
        stream.close()
        raise
    name = "stdin" if location == STDIN else list_name(known_as)
    return ListSource(name, chosen, chain((first,), rows), stream, address)


def check_format(location: str, chosen: str | None) -> None:
    """:raises InvalidListError: there is no such format."""
    if chosen is not None and chosen not in FORMATS:
        known = ", ".join(FORMATS)
        raise InvalidListError(
            f"{label(location)} has the format {chosen!r}, which is not read; use one of {known}"
        )


def _read_metalink(stream: ListStream, label: str) -> Iterator[Row | BadRow]:
    # The parser takes 0.1 s to load, which other lists need not wait for.
    from fetcher.lists.metalink import read_metalink

    return read_metalink(stream, label)


def _look(location: str, lines: Iterator[Line]) -> tuple[str, Iterator[Line]]:
    """The format of the first line that is no comment, and the lines from there on."""
    for number, text in lines:
        if isinstance(text, InvalidRowError):
            return "txt", chain(((number, text),), lines)
        if text.strip() and not text.lstrip().startswith("#"):
            return format_of_line(location, text), chain(((number, text),), lines)
    return "txt", lines
