"""How a file is answered for in HTTP's terms, by protocols that have no answers of their own.

A pure version of what a web server does with ``Range``, ``If-Range`` and ``If-Modified-Since``
(RFC 9110, sections 13 and 14).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

from fetcher.rules.names import CONTROL

_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{0,19})", re.ASCII)
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Facts:
    """What a server says of a file.

    :param size: bytes; None where it does not say.
    :param modified: seconds since 1970; None where it does not say.
    """

    size: int | None
    modified: int | None

    def differ(self, other: Facts) -> bool:
        """Whether both say something, and not the same."""
        pairs = ((self.size, other.size), (self.modified, other.modified))
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)


@dataclass(frozen=True)
class Reply:
    """The head of an answer, and which bytes follow it.

    :param status: 200, 206, 304 or 416.
    :param headers: names in lower case.
    :param start: offset of the first byte that follows.
    :param end: offset behind the last; None for as many as come.
    """

    status: int
    headers: dict[str, str]
    start: int = 0
    end: int | None = 0

    @property
    def has_body(self) -> bool:
        """Whether the file has to be opened for it."""
        return self.status in (200, 206) and self.end != 0


def reply_to(
    asked: Mapping[str, str], facts: Facts, *, ranges: bool, runs_on: bool = False
) -> Reply:
    """What is answered to a request for a file.

    :param asked: the request's headers: ``Range``, ``If-Range``, ``If-Modified-Since``.
    :param ranges: whether the file can be read from any position on.
    :param runs_on: a transfer goes on to the end of the file whatever was asked for, and says so.
    """
    date = _http_date(facts.modified)
    headers = {"last-modified": date} if date else {}
    if date and asked.get("If-Modified-Since") == date:
        return Reply(304, headers)
    size = facts.size
    bounds = _RANGE.fullmatch(asked.get("Range", ""))
    if size is None or not ranges or bounds is None or asked.get("If-Range", date) != date:
        length = {} if size is None else {"content-length": str(size)}
        return Reply(200, headers | length, 0, size)
    start, last = int(bounds[1]), int(bounds[2] or size)
    if start >= size or last < start:
        return Reply(416, headers | {"content-range": f"bytes */{size}"})
    end = size if runs_on else min(size, last + 1)
    headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    headers["content-length"] = str(end - start)
    return Reply(206, headers, start, end)


def shown_reason(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A server's own words, fit for a person's terminal.

    :param secrets: what must not be shown even if the server repeats it.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    plain = " ".join(CONTROL.sub(" ", text).split())
    return plain if len(plain) <= _LONGEST_REASON else plain[:_LONGEST_REASON] + "…"


def _http_date(seconds: int | None) -> str | None:
    """RFC 9110, section 5.6.7; None for a time that has no such form."""
    if seconds is None:
        return None
    try:
        return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
    except (ValueError, OverflowError, OSError):
        return None
