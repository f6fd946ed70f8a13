"""A row as it lies in the queue: a short text of JSON, checked again by who takes it out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from fetcher.errors import InvalidNameError, InvalidRowError, InvalidURLError, SetAsideError
from fetcher.lists import BadRow, NamedRow, Row, make_row
from fetcher.rules.names import check_name, url_name
from fetcher.rules.pieces import Pieces

_ERRORS = {error.__name__: error for error in (InvalidRowError, InvalidNameError, InvalidURLError)}
_FIELDS = ("size", "checksum", "splits")


def encode(named: NamedRow[Row | BadRow]) -> str:
    """What :func:`decode` makes the row of again; logins and headers are in it."""
    number, row, name, sums = named
    plain: dict[str, Any] = {"number": number, "line": row.line, "url": row.url}
    if row.name:
        plain["name"] = row.name
    if isinstance(row, BadRow):
        plain |= {"error": type(row.error).__name__, "message": row.error.message}
    else:
        plain |= {each: value for each in _FIELDS if (value := getattr(row, each)) is not None}
        if row.mirrors:
            plain |= {"mirrors": row.mirrors, "unused": row.unused}
        if row.headers:
            plain["headers"] = row.headers
        if row.pieces is not None:
            plain["pieces"] = row.pieces.plain()
        if name != (row.name or url_name(row.url)):
            plain["given"] = name
    if sums:
        plain["sums"] = sums
    return json.dumps(plain, separators=(",", ":"))


def decode(text: str) -> NamedRow[Row | BadRow]:
    """The row; one that cannot be used where the queue holds something else."""
    number = 0
    try:
        plain = json.loads(text)
        number = int(plain["number"])
        row: Row | BadRow
        if "error" in plain:
            error = _ERRORS.get(plain["error"], InvalidRowError)(str(plain["message"]))
            return NamedRow(
                number, BadRow(plain["line"], error, plain.get("name"), plain["url"]), ""
            )
        row = _row(plain)
        if isinstance(row, BadRow):
            return NamedRow(number, row, "")
        name = plain.get("given") or row.name or url_name(row.url)
        return NamedRow(number, row, check_name(name), plain.get("sums"))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        error = InvalidRowError("the queue holds something that is no row: put it there anew")
    except InvalidRowError as unusable:
        error = unusable
    return NamedRow(number, BadRow(0, error), "")


def set_aside(named: NamedRow[Row | BadRow], kills: int) -> NamedRow[Row | BadRow]:
    """The row as one that is not tried any more.

    :param kills: how many workers have died while they were at it.
    """
    error = SetAsideError(
        f"{kills} workers have died over this row: it is set aside; fetch it by itself to see why"
    )
    row = named.row
    return NamedRow(named.number, BadRow(row.line, error, named.name or row.name, row.url), "")


def _row(plain: dict[str, Any]) -> Row | BadRow:
    fields = {each: str(plain[each]) for each in ("url", "name", *_FIELDS) if each in plain}
    fields["mirrors"] = " ".join(plain.get("mirrors", ()))
    headers = tuple((str(name), str(value)) for name, value in plain.get("headers", ()))
    row = make_row(plain["line"], fields, headers, Pieces.from_plain(plain.get("pieces")))
    if isinstance(row, Row) and plain.get("unused"):
        row = replace(row, unused=int(plain["unused"]))
    return row
