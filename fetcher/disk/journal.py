"""The journal: which bytes of an unfinished file are safely on disk, as JSON with a seal.

    {"version": 2, "name": ..., "size": ..., "etag": ..., "last_modified": ..., "codings": [...],
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

FORMAT = 2
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
            # An ETag that is not compared is not to be compared after a pause either.
            "etag": None if self.version.ignore_etag else self.version.etag,
            "last_modified": self.version.strong_date,
            "codings": list(self.version.codings),
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
        if content["version"] != FORMAT:
            raise BadJournalError(f"of version {content['version']}")
        journal = Journal(
            name=content["name"],
            version=Version(
                content["size"],
                content["etag"],
                content["last_modified"],
                codings=tuple(content["codings"]),
            ),
            ranges=tuple((start, end) for start, end in content["ranges"]),
        )
        Ranges(journal.version.size, journal.ranges)
        again = journal.encode()
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadJournalError(f"no journal: {error}") from error
    if again != text:
        raise BadJournalError("cut or altered")
    return journal


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
