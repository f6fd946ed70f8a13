"""Readers of lists with one row a line: tsv, csv and txt."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from fetcher.errors import InvalidRowError
from fetcher.lists.rows import COLUMNS, BadRow, Row, make_row
from fetcher.rules.checksums import ALGORITHMS
from fetcher.rules.urls import looks_like_url

logger = logging.getLogger(__name__)

_TELLING = re.compile(r"sha|md5|sum|hash|digest|size|length|bytes", re.IGNORECASE)

_LONGEST = 40
"""Characters of a column's name that are shown."""

MAX_LINE = 1024 * 1024
"""Bytes of the longest line that is read; a longer one is a bad row."""

Line = tuple[int, "str | InvalidRowError"]
"""A line's number, from 1, and its text, or why it has none."""


def read_lines(stream: io.BufferedReader) -> Iterator[Line]:
    """The lines of a UTF-8 text, with or without a byte order mark; one is in memory at a time."""
    number = 0
    while raw := stream.readline(MAX_LINE + 2):
        number += 1
        line: str | InvalidRowError
        if len(raw) > MAX_LINE and len(raw.rstrip(b"\r\n")) > MAX_LINE:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(MAX_LINE)
            line = InvalidRowError(f"the line is longer than {MAX_LINE} bytes; split it")
        else:
            try:
                line = raw.decode()
                if number == 1:
                    line = line.removeprefix("\ufeff")
            except UnicodeDecodeError:
                line = InvalidRowError("the line is not in UTF-8; save the list as UTF-8")
        yield number, line


def read_tsv(lines: Iterable[Line]) -> Iterator[Row | BadRow]:
    """Rows of fields with tabs between them; quotation marks mean nothing."""
    return _read_table(lines, lambda text: text.split("\t"), "\t")


def read_csv(lines: Iterable[Line]) -> Iterator[Row | BadRow]:
    """Rows of fields with commas between them, quoted as in RFC 4180; one line a row."""
    return _read_table(lines, _split_csv, ',"')


def read_txt(lines: Iterable[Line]) -> Iterator[Row | BadRow]:
    """One URL a line; further ones after tabs are mirrors; ``#`` begins a comment line."""
    for number, text in lines:
        if isinstance(text, InvalidRowError):
            yield BadRow(number, text)
            continue
        text = text.strip()
        if not text or text.startswith("#"):
            continue
        url, tab, mirrors = text.partition("\t")
        yield make_row(
            number, {"url": url, "name": "", "mirrors": mirrors} if tab else {"url": url}
        )


def split_fields(text: str, separator: str) -> list[str]:
    """The fields of one line.

    :param separator: a tab, or a comma where fields may be quoted.
    :raises InvalidRowError: quotation marks do not match.
    """
    return text.split("\t") if separator == "\t" else _split_csv(text)


def _split_csv(text: str) -> list[str]:
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text.strip()], skipinitialspace=True, strict=True))
    except (csv.Error, StopIteration) as error:
        raise InvalidRowError(f"the quotation marks of the line do not match: {error}") from error


def _read_table(
    lines: Iterable[Line], split: Callable[[str], list[str]], blank: str
) -> Iterator[Row | BadRow]:
    header: dict[int, str] | None = None
    columns: list[str] = []
    blank += " \r\n\t"
    for number, text in lines:
        if isinstance(text, InvalidRowError):
            yield BadRow(number, text)
            continue
        if not text.strip(blank):
            continue
        try:
            fields = split(text)
        except InvalidRowError as error:
            yield BadRow(number, error)
            continue
        if not columns:
            has_url = any(looks_like_url(field.strip()) for field in fields)
            if header is None and not has_url:
                known = known_columns(fields)
                if known or not text.startswith("#"):
                    header = known
                    warn_of_unknown(fields)
                continue
            columns = place_columns(header or {}, fields)
        yield make_row(number, dict(zip(columns, fields, strict=False)))


def warn_of_unknown(fields: Iterable[str]) -> None:
    """Other columns are none of our business; but these look as if they were meant to be."""
    for field in map(str.strip, fields):
        if field.lower() not in COLUMNS and _TELLING.search(field):
            logger.warning(
                "the column %r of the list is not known and is passed over; those of checksums are "
                "checksum, %s, that of sizes is size",
                field[:_LONGEST],
                ", ".join(ALGORITHMS),
            )


def known_columns(fields: Sequence[str]) -> dict[int, str]:
    """What a header's fields mean, by position; of two with one meaning the first counts."""
    found: dict[str, int] = {}
    for position, field in enumerate(fields):
        column = COLUMNS.get(field.strip().lstrip("#").strip().lower())
        if column:
            found.setdefault(column, position)
    return {position: column for column, position in found.items()}


def place_columns(known: dict[int, str], first: Sequence[str]) -> list[str]:
    """The columns in their order, "" for those that mean nothing.

    :param known: columns that the header names. Where it names no URL, name and URL are told from
        the first row: the URL is the field that is one, else the second.
    :param first: the fields of the first row.
    """
    known = dict(known)
    if "url" not in known.values():
        free = [position for position in range(len(first)) if position not in known]
        addresses = [position for position in free if looks_like_url(first[position].strip())]
        at = next(iter(addresses or free[1:] or free), None)
        others = [position for position in free if position not in (at, *addresses)]
        if at is not None:
            known[at] = "url"
        # A lone number beside the URL is rather its size than its name.
        if "name" not in known.values() and others and not first[others[0]].strip().isdigit():
            known[others[0]] = "name"
    return [known.get(position, "") for position in range(max(known, default=-1) + 1)]
