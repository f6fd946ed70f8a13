"""Reader of Metalinks: version 4 (RFC 5854), and version 3, which it came from."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from lxml import etree

from fetcher.errors import InvalidListError, InvalidURLError
from fetcher.lists.rows import BadRow, Row, make_row
from fetcher.rules import urls
from fetcher.rules.checksums import ALGORITHMS
from fetcher.rules.pieces import MAX_PIECES, Pieces

_NAMESPACES = ("urn:ietf:params:xml:ns:metalink", "http://www.metalinker.org/")
_LAST = 999_999
"""The priority of an address without one (RFC 5854, section 4.2.16.2); the smallest is best."""

_MOST_ELEMENTS = MAX_PIECES + 100_000
"""In one file's element, comments included."""

_MOST_AROUND = 10_000
"""Comments before and after the root element."""


def read_metalink(stream: io.BufferedReader, label: str) -> Iterator[Row | BadRow]:
    """One row a ``file`` element; one is in memory at a time.

    Addresses of unknown schemes, such as torrents, are passed over where there are others.

    :param label: what an error calls the list.
    :raises InvalidListError: it is no Metalink, or not whole, or declares entities.
    """
    # Nothing but the stream is read: no DTD, no entity, no network (CWE-611, CWE-776).
    events = etree.iterparse(
        stream,
        events=("start", "end", "comment", "pi"),
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
    )
    file: _File | None = None
    around = 0
    try:
        for event, element in events:
            if event in ("comment", "pi"):
                # What stands beside the root cannot be taken away.
                around += element.getparent() is None
                if around > _MOST_AROUND:
                    raise InvalidListError(f"{label} begins or ends with too many comments")
                if file is not None:
                    file.count += 1
                _forget_before(element)
                continue
            name = _local_name(element, label)
            if event == "start":
                if name == "file":
                    file = _File(element)
                elif name == "pieces" and file is not None:
                    file.begin_pieces(element)
                if element.getparent() is None:
                    _check_root(element, name, label)
                continue
            if file is not None:
                if file.count > _MOST_ELEMENTS:
                    raise InvalidListError(f"{label} has a file of too many elements")
                file.end(name, element)
                if name == "file":
                    yield file.row()
                    file = None
            _forget_before(element)
    except etree.XMLSyntaxError as error:
        line = error.lineno or 1
        raise InvalidListError(
            f"{label} is no well-formed XML, or cut short, at its line {line}; get it anew"
        ) from error


def _check_root(root: Any, name: str | None, label: str) -> None:
    if root.getroottree().docinfo.internalDTD is not None:
        raise InvalidListError(
            f"{label} declares entities or a DTD, which a Metalink does not need"
        )
    if name != "metalink":
        raise InvalidListError(f"{label} is XML but no Metalink; give one of version 4 (RFC 5854)")


def _local_name(element: Any, label: str) -> str | None:
    """The element's name, None for one of another vocabulary."""
    if not isinstance(element.tag, str):
        raise InvalidListError(f"{label} holds an entity, which a Metalink does not need")
    # Not by QName, which refuses what stands under a prefix that nobody has declared.
    namespace, _, name = element.tag.rpartition("}")
    return name if namespace.removeprefix("{") in _NAMESPACES else None


def _forget_before(element: Any) -> None:
    """Give the memory of what stands before an element back: it has been read."""
    before = element.getprevious()
    if before is not None and (parent := element.getparent()) is not None:
        parent.remove(before)


class _File:
    """What is known of a ``file`` element so far."""

    def __init__(self, element: Any) -> None:
        self.count = 0
        self._line = element.sourceline or 1
        self._fields = {"name": element.get("name", "")}
        self._addresses: list[tuple[int, str]] = []
        self._pieces: tuple[str, str] | None = None
        self._hashes: list[str] = []
        self._in_pieces = False
        self._wanted = False

    def begin_pieces(self, element: Any) -> None:
        """Take up the first hashes of pieces that can be computed."""
        self._in_pieces = True
        algorithm = _algorithm(element)
        self._wanted = self._pieces is None and algorithm in ALGORITHMS
        if self._wanted:
            self._pieces = (algorithm, element.get("length", ""))

    def end(self, name: str | None, element: Any) -> None:
        """An element within the file has ended."""
        # Addresses are the longest; of those that are too long, as much is kept as tells that.
        text = (element.text or "").strip()[: urls.MAX_URL + 1]
        # What is longer than any hash counts as several.
        self.count += 1 + len(text) // 200
        if name == "hash" and self._in_pieces:
            if self._wanted:
                self._hashes.append(text.lower())
        elif name == "hash":
            if (algorithm := _algorithm(element)) in ALGORITHMS:
                self._fields.setdefault(algorithm, text)
        elif name == "size":
            self._fields.setdefault("size", text)
        elif name == "url" and element.get("type", "http") in urls.SCHEMES:
            self._addresses.append((_priority(element), text))
        elif name == "pieces":
            self._in_pieces = False

    def row(self) -> Row | BadRow:
        """The file's row."""
        self._addresses.sort(key=lambda each: each[0])
        given = list(dict.fromkeys(address for _, address in self._addresses))
        usable = [address for address in given if _is_usable(address)]
        fields = {name: value for name, value in self._fields.items() if name}
        fields["url"] = (usable or given or [""])[0]
        fields["mirrors"] = " ".join(usable[1:])
        return make_row(self._line, fields, pieces=self._known_pieces())

    def _known_pieces(self) -> Pieces | None:
        if self._pieces is None:
            return None
        algorithm, length = self._pieces
        try:
            return Pieces(int(length[:19]), algorithm, tuple(self._hashes))
        except ValueError:
            # Without them the file is fetched all the same.
            return None


def _algorithm(element: Any) -> str:
    return str(element.get("type", "")).lower().replace("-", "")


def _priority(element: Any) -> int:
    """The smallest is best; version 3 has a preference, whose largest, 100, is best."""
    for name, sign in (("priority", 1), ("preference", -1)):
        text = element.get(name, "")
        if text.isascii() and text.isdigit():
            return sign * int(text[:6])
    return _LAST


def _is_usable(address: str) -> bool:
    try:
        urls.check_url(address)
    except InvalidURLError:
        return False
    return True
