"""One row of a list: usable, or with the sentence that says why it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fetcher.errors import InvalidRowError, InvalidURLError
from fetcher.rules import checksums, names, urls
from fetcher.rules.headers import check_header
from fetcher.rules.pieces import Pieces

COLUMNS = {
    "file_name": "name",
    "filename": "name",
    "name": "name",
    "out": "name",
    "cdn_link": "url",
    "url": "url",
    "link": "url",
    "size": "size",
    "checksum": "checksum",
    "mirrors": "mirrors",
} | {algorithm: algorithm for algorithm in checksums.ALGORITHMS}
"""Header names, in lower case, and the columns that they mean."""

MAX_SHOWN = 1000
"""Characters of a bad row's text that go into its error and into the report."""

MAX_MIRRORS = 64
"""Of a row; more of them are passed over."""

MAX_SPLITS = 64
"""The most connections that a row may ask for."""

MAX_HEADERS = 64 << 10
"""Characters of a row's headers in all; servers take less."""

_TEXT = 50
"""About how many bytes a text takes beside its characters."""

_SIZE = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Row:
    """One file to fetch.

    :param line: where it stands in the list; the first line is 1.
    :param url: checked, without a fragment.
    :param name: checked, ``/`` between folders; None where the list gives none.
    :param size: bytes, if the list says.
    :param checksum: ``algorithm:hex``, if the list says.
    :param mirrors: further addresses of the same file, checked as ``url`` is; the best first.
    :param headers: names and values for the requests to the origin of ``url``.
    :param splits: the most connections for this file, if the list says.
    :param pieces: the hashes of the file's pieces, if the list says.
    :param unused: how many further mirrors the list has; :data:`MAX_MIRRORS` are enough.
    """

    line: int
    url: str
    name: str | None
    size: int | None
    checksum: str | None
    mirrors: tuple[str, ...]
    headers: tuple[tuple[str, str], ...] = ()
    splits: int | None = None
    pieces: Pieces | None = None
    unused: int = 0

    @property
    def memory(self) -> int:
        """About how many bytes it takes, as far as that can be many."""
        size = sum(len(text) + _TEXT for text in (self.url, *self.mirrors))
        size += sum(len(name) + len(value) + 2 * _TEXT for name, value in self.headers)
        if self.pieces is not None:
            hashes = self.pieces.hashes
            size += len(hashes) * (len(hashes[0]) + _TEXT)
        return size


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used.

    :param line: where it stands in the list; the first line is 1.
    :param error: why, in one sentence.
    :param name: as the list has it, for the report only.
    :param url: as the list has it, redacted, for the report only.
    """

    line: int
    error: InvalidRowError
    name: str | None = None
    url: str | None = None

    @property
    def memory(self) -> int:
        """As for a :class:`Row`: its texts are cut."""
        return 0


def make_row(
    line: int,
    fields: Mapping[str, str],
    headers: tuple[tuple[str, str], ...] = (),
    pieces: Pieces | None = None,
) -> Row | BadRow:
    """The row that ``fields`` describe.

    :param fields: texts by column, named as :data:`COLUMNS` has them as values, and ``splits``; an
        empty text is the same as none.
    :param headers: names and values, not yet checked.
    :param pieces: the hashes of the file's pieces.
    """
    url = fields.get("url", "").strip()
    name = fields.get("name", "").strip()
    try:
        if not urls.is_plain(url):
            url = _check_url(url)
        if name and not names.is_plain(name):
            _refuse_address("name", name)
            name = names.check_name(name)
        if len(fields) == 1 + ("name" in fields) and not headers and pieces is None:
            return Row(line, url, name or None, None, None, ())
        size, checksum = _size(fields), _checksum(fields)
        mirrors, unused = _mirrors(fields, url)
        return Row(
            line,
            url,
            name or None,
            size,
            checksum,
            mirrors,
            _headers(headers),
            _splits(fields),
            pieces,
            unused,
        )
    except InvalidRowError as error:
        return bad_row(line, error, name, url)


def _check_url(url: str) -> str:
    if not url:
        raise InvalidURLError("the row has no URL; give one")
    return urls.check_url(url)


def _size(fields: Mapping[str, str]) -> int | None:
    text = fields.get("size", "").strip()
    if not text:
        return None
    _refuse_address("size", text)
    if not _SIZE.fullmatch(text):
        raise InvalidRowError(f"the size {text!r} is no number of bytes; write digits only")
    return int(text)


def _checksum(fields: Mapping[str, str]) -> str | None:
    """That of the column ``checksum``, else of the strongest algorithm with a column."""
    found: dict[str, str] = {}
    for column in ("checksum", *checksums.ALGORITHMS):
        text = fields.get(column, "").strip()
        if not text:
            continue
        _refuse_address("checksum", text)
        if column != "checksum" and ":" not in text and "=" not in text:
            text = f"{column}:{text}"
        try:
            checksum = checksums.parse_checksum(text)
        except ValueError as error:
            raise InvalidRowError(str(error)) from error
        other = found.setdefault(checksum.partition(":")[0], checksum)
        if other != checksum:
            raise InvalidRowError(f"the row has two checksums, {other} and {checksum}; leave one")
    return next(iter(found.values()), None)


def _splits(fields: Mapping[str, str]) -> int | None:
    text = fields.get("splits", "").strip()
    if not text:
        return None
    if not _SIZE.fullmatch(text) or not 1 <= int(text) <= MAX_SPLITS:
        raise InvalidRowError(
            f"{text[:40]!r} is no number of connections; write one from 1 to {MAX_SPLITS}"
        )
    return int(text)


def _headers(given: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    if sum(len(name) + len(value) for name, value in given) > MAX_HEADERS:
        raise InvalidRowError(f"the row's headers are longer than {MAX_HEADERS} characters in all")
    try:
        return tuple(check_header(name, value) for name, value in given)
    except ValueError as error:
        raise InvalidRowError(str(error)) from error


def _mirrors(fields: Mapping[str, str], url: str) -> tuple[tuple[str, ...], int]:
    """The first mirrors, and how many there are beyond them."""
    texts = fields.get("mirrors", "").split()
    found: dict[str, None] = {}
    for number, text in enumerate(texts):
        if len(found) == MAX_MIRRORS:
            return tuple(found), len(texts) - number
        mirror = urls.check_url(text)
        if mirror != url:
            found[mirror] = None
    return tuple(found), 0


def _refuse_address(column: str, text: str) -> None:
    """What is said of columns that are mixed up must not give a login away."""
    if urls.looks_like_url(text):
        raise InvalidRowError(
            f"the {column} {urls.redact(text)!r} is an address; check the order of the columns"
        )


def bad_row(line: int, error: InvalidRowError, name: str = "", url: str = "") -> BadRow:
    """A row that cannot be used, its texts cut and without secrets.

    :param name: as the list has it.
    :param url: as the list has it.
    """
    message = error.message
    if len(message) > MAX_SHOWN:
        # What is too long is the row's own text, in the middle of the sentence.
        half = MAX_SHOWN // 2
        error = type(error)(message[:half] + "…" + message[-half:])
    name = urls.redact(name) if urls.looks_like_url(name) else urls.redact_text(name)
    return BadRow(line, error, _shown(name), _shown(urls.redact(url)))


def _shown(text: str) -> str | None:
    # What is no character, as JSON may give it, cannot be written into a report.
    return text[:MAX_SHOWN].encode(errors="replace").decode() or None
