"""Reader of lists with a JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fetcher.errors import InvalidRowError
from fetcher.lists.rows import COLUMNS, BadRow, Row, bad_row, make_row
from fetcher.lists.text import Line, warn_of_unknown

_MOST_KEYS = 100
"""Different ones of a list that are looked at for misspelt ones."""

_ADDRESSES = ("urls", "mirrors")
_KNOWN = {**COLUMNS, "urls": "urls", "headers": "headers", "splits": "splits", "split": "splits"}


def read_jsonl(lines: Iterable[Line]) -> Iterator[Row | BadRow]:
    """Objects with ``url`` or ``urls``, and ``name``, ``size``, ``checksum``, ``mirrors``,
    ``headers``, ``splits``; blank lines are skipped, other keys mean nothing."""
    seen: set[str] = set()
    for number, text in lines:
        if isinstance(text, InvalidRowError):
            yield BadRow(number, text)
        elif text.strip():
            yield _row(number, text, seen)


def _row(number: int, text: str, seen: set[str]) -> Row | BadRow:
    try:
        entry = _entry(text, seen)
        url, mirrors = _addresses(entry)
    except InvalidRowError as error:
        return bad_row(number, error)
    fields = {"url": url, "mirrors": " ".join(mirrors)}
    try:
        for key in ("name", "checksum", "size", "splits", *COLUMNS.values()):
            if key in entry and key not in (*_ADDRESSES, "url"):
                fields[key] = _text(key, entry[key])
        headers = _headers(entry.get("headers"))
    except InvalidRowError as error:
        return bad_row(number, error, fields.get("name", ""), url)
    return make_row(number, fields, headers)


def _entry(text: str, seen: set[str]) -> dict[str, Any]:
    try:
        pairs = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        # The decoder's own words: what, and in which column; they quote nothing of the line.
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "it cannot be read"
        raise InvalidRowError(f"the line is no JSON: {reason}") from error
    if not isinstance(pairs, dict):
        raise InvalidRowError('the line is no JSON object; write {"url": ...}')
    # Few lists have more than these; of one that has, they are enough.
    new = set(pairs) - seen if len(seen) < _MOST_KEYS else set()
    seen |= new
    warn_of_unknown(sorted(new - set(_KNOWN)))
    known: dict[str, Any] = {}
    for key, value in pairs.items():
        meaning = _KNOWN.get(key.lower())
        if meaning and value is not None:
            known.setdefault(meaning, value)
    return known


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidRowError("a key stands twice in the line's object; leave one")
    return found


def _addresses(entry: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The first address and the others."""
    found: list[str] = [_text("url", entry["url"])] if "url" in entry else []
    for key in _ADDRESSES:
        value = entry.get(key, [])
        if isinstance(value, str):
            value = value.split()
        if not isinstance(value, list):
            raise InvalidRowError(f"the value of {key!r} is no array of texts")
        found += [_text(key, each) for each in value]
    for each in found[1:]:
        if len(each.split()) != 1:
            raise InvalidRowError(f"an address in {_ADDRESSES[0]!r} is empty or holds white space")
    return (found[0] if found else ""), found[1:]


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise InvalidRowError("the value of 'headers' is no object of texts")
    return tuple((name, _text("headers", each)) for name, each in value.items())


def _text(key: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**19 else "too large"
    if not isinstance(value, str):
        raise InvalidRowError(f"the value of {key!r} is no text")
    return value
