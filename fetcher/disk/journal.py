"""The journal: which bytes of an unfinished file are safely on disk, as JSON with a seal.

    {"version": 1, "name": ..., "size": ..., "etag": ..., "last_modified": ...,
     "ranges": [[start, end], ...], "seal": "sha256 of the rest"}

Only what reads back exactly as it was written is trusted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from fetcher.rules.answers import Version
from fetcher.rules.ranges import Range, Ranges

FORMAT = 1
MAX_BYTES = 4 << 20
"""A journal larger than this is none."""


class BadJournalError(ValueError):
    """The text is no journal of this version, or not whole."""


@dataclass(frozen=True)
class Journal:
    """What is known of an unfinished file.

    :param name: the file's name relative to the output folder.
    :param version: size and validators of the resource that was begun.
    :param ranges: what is on disk, sorted and disjoint.
    """

    name: str
    version: Version
    ranges: tuple[Range, ...]

    def encode(self) -> bytes:
        """The journal's text."""
        content: dict[str, Any] = {
            "version": FORMAT,
            "name": self.name,
            "size": self.version.size,
            "etag": self.version.etag,
            "last_modified": self.version.last_modified,
            "ranges": [list(pair) for pair in self.ranges],
        }
        content["seal"] = _seal(content)
        return json.dumps(content).encode() + b"\n"


def decode(text: bytes) -> Journal:
    """:raises BadJournalError: when the text is not exactly what :meth:`Journal.encode` wrote."""
    if len(text) > MAX_BYTES:
        raise BadJournalError("too long")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadJournalError("no JSON") from error
    if not isinstance(content, dict) or content.pop("seal", None) != _seal(content):
        raise BadJournalError("cut or altered")
    if content.get("version") != FORMAT:
        raise BadJournalError(f"of version {content.get('version')}")
    try:
        journal = Journal(
            name=content["name"],
            version=Version(content["size"], content["etag"], content["last_modified"]),
            ranges=tuple((start, end) for start, end in content["ranges"]),
        )
        Ranges(journal.version.size, journal.ranges)
    except (KeyError, TypeError, ValueError) as error:
        raise BadJournalError(str(error)) from error
    return journal


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
