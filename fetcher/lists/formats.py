"""Which format a list has, told from its ending and its first line."""

from __future__ import annotations

import re
from pathlib import PurePath

from fetcher.errors import InvalidRowError
from fetcher.lists.text import split_fields
from fetcher.rules.names import safe_name
from fetcher.rules.urls import last_segment, looks_like_url

METALINK = "metalink"
"""The one format that is not read line by line."""

_OPTION = re.compile(r"[ \t]+[a-z][a-z0-9-]*=")
"""What stands below an address in aria2's lists, and in no other."""

_ENDINGS = {
    ".tsv": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".aria2": "aria2",
    ".meta4": METALINK,
    ".metalink": METALINK,
}


def list_name(location: str) -> str:
    """The list's name without its endings: ``sa1b`` for ``inputs/sa1b.tsv.gz``.

    :param location: a path or an address; what a server says has to be safe, and is made so.
    """
    return _unzipped(location).stem or "list"


def format_of_ending(location: str) -> str | None:
    """The format, where the ending says it; that of ``.txt`` does not."""
    return _ENDINGS.get(_unzipped(location).suffix.lower())


def format_of_line(location: str, line: str) -> str:
    """The format that the first line has which is neither blank nor a comment."""
    ending = _unzipped(location).suffix.lower()
    if "\t" in line.strip():
        # Data sets ship "file_name<TAB>cdn_link" as .txt; mirrors of one file are all URLs.
        fields = (field.strip() for field in line.split("\t"))
        return "txt" if all(looks_like_url(field) for field in fields if field) else "tsv"
    if ending == ".txt":
        return "txt"
    if line.startswith("{"):
        return "jsonl"
    return "csv" if _is_csv(line) else "txt"


def format_of_head(head: bytes) -> str | None:
    """The format, where more than one line of a list's beginning is needed to tell it."""
    text = head.decode(errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        return METALINK
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    first, second = (*lines[:2], "", "")[:2]
    return "aria2" if looks_like_url(first) and _OPTION.match(second) else None


def _is_csv(line: str) -> bool:
    # A comma is as good a character of a URL as any other.
    if "," not in line or looks_like_url(line.strip()):
        return False
    try:
        return len(split_fields(line, ",")) > 1
    except InvalidRowError:
        return False


def _unzipped(location: str) -> PurePath:
    """The path, or the last segment of an address, without the ending of gzip."""
    if looks_like_url(location):
        location = safe_name(last_segment(location))
    return PurePath(location[:-3] if location.lower().endswith(".gz") else location)
