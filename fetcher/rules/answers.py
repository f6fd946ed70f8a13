"""What an answer's head means for a range request: pure judgement (RFC 9110, section 14).

Nothing of a body is written before :func:`judge` has compared the head with what is known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime

from fetcher.contract import Answer
from fetcher.errors import ChangedError, ProtocolError, RangesRefusedError

_CONTENT_RANGE = re.compile(
    r"bytes[ \t]+(?:(\d{1,19})-(\d{1,19})|(\*))/(\d{1,19}|\*)", re.IGNORECASE | re.ASCII
)
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)
_STRONG_ETAG = re.compile(r'"[^"]*"')
_NO_CODING = {"", "identity", "none", "binary", "utf-8", "aws-chunked"}
"""What servers write into ``Content-Encoding`` that is no compression."""

_CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate", "br": "br", "zstd": "zstd"}
"""Content codings that can be undone (RFC 9110, section 8.4.1; RFC 7932; RFC 9659)."""

MAX_CODINGS = 3
"""Codings over one another: more is no compression but an attack (CVE-2022-32206 of curl)."""


@dataclass(frozen=True)
class Version:
    """Which version of a resource this is (RFC 9110, section 8.8).

    :param size: bytes of the whole, None while unknown.
    :param etag: as sent, with its quotes; None when there is none.
    :param last_modified: the header's value, as sent.
    :param ignore_etag: compare size and date only, because the ETag differs between back ends.
    :param weak_date: the date does not promise the same bytes (RFC 9110, section 8.8.2.2).
    :param codings: the content codings of the bytes, in the order in which they were applied; size
        and validators are those of the coded form.
    """

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    ignore_etag: bool = False
    weak_date: bool = False
    codings: tuple[str, ...] = ()

    @property
    def strong_date(self) -> str | None:
        """The date if it promises the same bytes (RFC 9110, section 8.8.2.2)."""
        return None if self.weak_date else self.last_modified

    @property
    def strong_etag(self) -> str | None:
        """The ETag if it promises the same bytes (RFC 9110, section 8.8.3)."""
        if self.ignore_etag or not self.etag or not _STRONG_ETAG.fullmatch(self.etag):
            return None
        return self.etag

    @property
    def if_range(self) -> str | None:
        """What ``If-Range`` can be asked with (RFC 9110, section 13.1.5)."""
        return self.strong_etag or self.strong_date

    @property
    def validator(self) -> str | None:
        """Name of the header by which two answers are told apart."""
        if self.strong_etag:
            return "etag"
        return "last-modified" if self.strong_date else None

    def check(self, other: Version) -> None:
        """:raises ChangedError: when ``other`` is not the same version."""
        same_facts = True
        if self.codings != other.codings:
            raise ChangedError("it comes in another compression")
        if None not in (self.size, other.size) and self.size != other.size:
            raise ChangedError(f"its size went from {self.size} to {other.size} bytes")
        if self.last_modified and other.last_modified and self.last_modified != other.last_modified:
            same_facts = False
        if not self.ignore_etag and self.etag and other.etag:
            if self.etag != other.etag:
                raise ChangedError("its ETag changed", same_facts=same_facts)
            # The same strong ETag promises the same bytes, whatever the dates of two back ends.
            if self.strong_etag:
                return
        if not same_facts:
            raise ChangedError("its Last-Modified date changed")

    def proves(self, other: Version) -> bool:
        """Whether ``other`` shows by itself that it is this version: ETag, or date and size."""
        if self.codings != other.codings:
            return False
        if self.strong_etag and other.strong_etag:
            return self.strong_etag == other.strong_etag
        return (
            self.strong_date is not None
            and self.strong_date == other.last_modified
            and self.size is not None
            and self.size == other.size
        )

    def agrees(self, other: Version) -> bool:
        """Whether ``other``, which another address has, shows to be the same file.

        A validator is one address' own (RFC 9110, section 8.8): one of them alone may be met
        elsewhere by chance. So size, date and strong ETag all have to be the same.
        """
        return (
            self.codings == other.codings
            and self.size is not None
            and self.size == other.size
            and self.strong_etag is not None
            and self.strong_etag == other.strong_etag
            and self.strong_date is not None
            and self.strong_date == other.strong_date
        )

    def shares_validator(self, other: Version) -> bool:
        """Whether parts of both may be combined (RFC 9110, section 15.3.7.3)."""
        if self.codings != other.codings:
            return False
        if self.strong_etag is not None and self.strong_etag == other.strong_etag:
            return True
        return self.strong_date is not None and self.strong_date == other.last_modified

    def with_size(self, size: int | None) -> Version:
        """The same version, its size now known."""
        return replace(self, size=size)


@dataclass(frozen=True)
class Body:
    """What the body of an accepted answer is.

    :param start: offset of its first byte.
    :param end: offset behind its last byte; None when the answer does not say.
    :param version: of the whole resource.
    :param whole: an answer without ranges: the whole resource from its start.
    """

    start: int
    end: int | None
    version: Version
    whole: bool


def content_length(answer: Answer) -> int | None:
    """The stated length in bytes, None where there is none.

    :raises ProtocolError: when it is no number.
    """
    value = answer.headers.get("content-length")
    if value is None:
        return None
    digits = value.strip(" \t")
    if not _DIGITS.fullmatch(digits):
        raise ProtocolError(f"the server states the length {value[:40]!r}, which is no number")
    return int(digits)


def codings_of(answer: Answer) -> tuple[str, ...]:
    """The content codings of an answer's bytes, in the order in which they were applied.

    :raises ProtocolError: for one that cannot be undone, or too many of them.
    """
    stated = [each.strip() for each in answer.headers.get("content-encoding", "").split(",")]
    stated = [each for each in map(str.lower, stated) if each not in _NO_CODING]
    if len(stated) > MAX_CODINGS:
        raise ProtocolError(
            f"the server compresses the file {len(stated)} times over: it is let be"
        )
    for each in stated:
        if each not in _CODINGS:
            raise ProtocolError(
                f"the server compresses the file by {each[:20]!r}, which is not known here, "
                "although it was asked not to"
            )
    return tuple(_CODINGS[each] for each in stated)


def version_of(answer: Answer, size: int | None) -> Version:
    """The version that an answer's headers state.

    :raises ProtocolError: it is compressed in a way that cannot be undone.
    """
    return Version(
        size=size,
        etag=answer.headers.get("etag") or None,
        last_modified=answer.headers.get("last-modified") or None,
        weak_date=_changed_just_now(answer),
        codings=codings_of(answer),
    )


def _changed_just_now(answer: Answer) -> bool:
    """Whether the file may have changed twice within the second that its date tells.

    Without a ``Date`` nothing is known of it.
    """
    try:
        made, sent = (
            parsedate_to_datetime(answer.headers[name]) for name in ("last-modified", "date")
        )
    except (KeyError, ValueError, TypeError, IndexError, OverflowError):
        return False
    return sent.replace(tzinfo=UTC) - made.replace(tzinfo=UTC) < timedelta(seconds=1)


def unsatisfied_size(answer: Answer) -> int | None:
    """The size that a 416 states in ``Content-Range: bytes */size``."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    return int(match[4]) if match and match[3] and match[4] != "*" else None


def judge(answer: Answer, start: int, known: Version | None) -> Body:
    """Read the head of a 200 or 206.

    :param start: offset that the request asked for.
    :param known: the version that was begun, None for the first answer.
    :raises ChangedError: the resource is another version now.
    :raises RangesRefusedError: a range came that cannot be placed.
    :raises ProtocolError: the answer contradicts itself or the request.
    """
    if answer.status == 200:
        _check_whole(answer)
        body = Body(0, content_length(answer), version_of(answer, content_length(answer)), True)
    else:
        body = _partial(answer, start)
    if known is not None:
        known.check(body.version)
    return body


def _check_whole(answer: Answer) -> None:
    """:raises RangesRefusedError: a 200 says that it is a part.

    ``Content-Range`` means nothing there (RFC 9110, section 14.4), but who sends it with a body
    shorter than the whole knows no 206.
    """
    value = answer.headers.get("content-range", "").strip()
    match = _CONTENT_RANGE.fullmatch(value)
    if match is None or match[3]:
        return
    end, length = int(match[2]) + 1, content_length(answer)
    total = end if match[4] == "*" else int(match[4])
    if (end - int(match[1]) if length is None else length) < total:
        raise RangesRefusedError(
            f"the server sends the part {value[:60]!r} as if it were the whole"
        )


def _partial(answer: Answer, start: int) -> Body:
    if answer.headers.get("content-type", "").lower().startswith("multipart/byteranges"):
        raise RangesRefusedError("the server sends several ranges where one was asked for")
    value = answer.headers.get("content-range", "")
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None or match[3]:
        raise RangesRefusedError(f"the server states the range {value[:60]!r}, which is none")
    first, last = int(match[1]), int(match[2])
    if match[4] == "*":
        raise RangesRefusedError("the server does not state the size of the whole file")
    size = int(match[4])
    if first > last or last >= size:
        raise RangesRefusedError(f"the server states the impossible range {value[:60]!r}")
    if first != start:
        raise RangesRefusedError(f"the server sends bytes from {first} on instead of {start}")
    length = content_length(answer)
    if length is not None and length != last + 1 - first:
        raise RangesRefusedError(
            f"the server states {length} bytes for the range {first}-{last}, which has "
            f"{last + 1 - first}"
        )
    return Body(first, last + 1, version_of(answer, size), False)
