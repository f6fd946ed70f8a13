"""What to do about a file that already stands under a row's name: decided before anything is asked.

Pure: takes what was found and what is remembered, gives an action.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum, auto

from fetcher.rules.answers import Version
from fetcher.rules.urls import without_query


@dataclass(frozen=True)
class Completed:
    """A file that was verified and got its final name.

    :param size: bytes.
    :param mtime_ns: modification time, nanoseconds since 1970, as it stands on disk.
    :param checksum: ``algorithm:hex`` that was computed, None where none was.
    :param others: what else was computed, the same way.
    :param address: whose validators those are, without its query; None where that was not noted.
    """

    name: str
    size: int
    mtime_ns: int
    etag: str | None = None
    last_modified: str | None = None
    checksum: str | None = None
    others: tuple[str, ...] = ()
    address: str | None = None

    def known(self, checksum: str) -> str | None:
        """The file's own checksum of the same algorithm; None where that was not computed."""
        algorithm = _algorithm(checksum)
        computed = (each for each in (self.checksum, *self.others) if each is not None)
        return next((each for each in computed if _algorithm(each) == algorithm), None)

    def condition(self, url: str) -> dict[str, str]:
        """Headers that ask an address for the file only if it is not this one (RFC 9110, section
        13); none where it has validators of its own."""
        if self.address not in (None, without_query(url)):
            return {}
        if self.etag:
            return {"If-None-Match": self.etag}
        if self.last_modified:
            return {"If-Modified-Since": self.last_modified}
        return {}

    def resembles(self, version: Version) -> bool:
        """Whether an address with validators of its own has a file of the same size and date."""
        dated = self.last_modified is not None and self.last_modified == version.last_modified
        return dated and self.size == version.size and not version.codings

    def describes(self, found: os.stat_result) -> bool:
        """Whether the file on disk still is the one that was completed."""
        return (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)


class Action(Enum):
    """What to do with a row."""

    FETCH = auto()
    """Nothing is in the way, or it may be replaced."""
    KEEP = auto()
    """It is there, completed by an earlier run: no request at all."""
    ASK_IF_CHANGED = auto()
    """It is there, completed by an earlier run: a conditional request."""
    HASH = auto()
    """It is there, completed by an earlier run, but the list has a checksum of another algorithm
    than those that were computed: compute it, and decide anew."""
    COMPARE = auto()
    """Somebody's file: ask the server for its size, and touch nothing."""
    RENAME = auto()
    """Fetch under the next free name."""


def decide(
    policy: str,
    found: os.stat_result | None,
    remembered: Completed | None,
    size: int | None = None,
    *checksums: str | None,
) -> Action:
    """What to do with a row.

    :param policy: ``FETCHER_IF_EXISTS``.
    :param found: what stands under the name; None for nothing.
    :param remembered: what an earlier run completed under the name.
    :param size: bytes, as the row says.
    :param checksums: ``algorithm:hex``, as the row says, and maybe others.
    """
    if found is None or policy == "overwrite":
        return Action.FETCH
    if policy == "rename":
        return Action.RENAME
    if remembered is None or not remembered.describes(found):
        return Action.COMPARE
    if size not in (None, remembered.size):
        return Action.FETCH
    wanted = [checksum for checksum in checksums if checksum is not None]
    known = [remembered.known(checksum) for checksum in wanted]
    if any(each not in (None, checksum) for each, checksum in zip(known, wanted, strict=True)):
        # It is ours, and the list asks for another content by now.
        return Action.FETCH
    if None in known:
        return Action.HASH
    return Action.KEEP if policy == "skip" else Action.ASK_IF_CHANGED


def _algorithm(checksum: str) -> str:
    return checksum.partition(":")[0]
