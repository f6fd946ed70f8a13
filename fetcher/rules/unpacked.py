"""What to do about a folder that already stands where an archive is to be unpacked. Pure."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from enum import Enum, auto


@dataclass(frozen=True)
class Packed:
    """One version of an archive.

    :param name: relative to the output folder.
    :param size: bytes.
    :param mtime_ns: nanoseconds since 1970.
    :param checksum: ``algorithm:hex``, where it is known.
    """

    name: str
    size: int
    mtime_ns: int
    checksum: str | None = None


@dataclass(frozen=True)
class Unpacked:
    """A folder, and what was unpacked to it.

    :param folder: its name, relative to the output folder.
    :param archive: the version that is in it.
    :param inode: its number, as text: some file systems need all 64 bits.
    :param mtime_ns: its modification time.
    :param fingerprint: of all that is in it, see :mod:`fetcher.disk.fingerprint`.
    :param replaces: the fingerprint of the folder in whose place it was to come.
    """

    folder: str
    archive: Packed
    inode: str
    mtime_ns: int
    fingerprint: str
    replaces: str | None = None

    def is_at(self, found: os.stat_result) -> bool:
        """Whether a folder on disk is this one, whatever has become of its content.

        A copy of the output folder (``cp -a``, ``rsync -a``) has other inodes, but its times.
        """
        same = str(found.st_ino) == self.inode or found.st_mtime_ns == self.mtime_ns
        return stat.S_ISDIR(found.st_mode) and same

    def is_of(self, archive: Packed) -> bool:
        """Whether it is what an archive holds."""
        mine = self.archive
        if archive.name != mine.name or archive.size != mine.size:
            return False
        if archive.checksum and mine.checksum:
            kinds = {each.partition(":")[0] for each in (archive.checksum, mine.checksum)}
            if len(kinds) == 1:
                return archive.checksum == mine.checksum
        return archive.mtime_ns == mine.mtime_ns

    def moved(self, found: os.stat_result) -> Unpacked:
        """The same content, found in another folder on disk."""
        return replace(self, inode=str(found.st_ino), mtime_ns=found.st_mtime_ns)


class Action(Enum):
    """What to do with an archive."""

    UNPACK = auto()
    """Nothing is in the way."""
    KEEP = auto()
    """Its content is there."""
    COMPARE = auto()
    """Something is there: if it is, unchanged, what was unpacked, it may be replaced."""
    REFUSE = auto()
    """Something is there that this archive has nothing to do with."""


def decide(archive: Packed, found: os.stat_result | None, remembered: Unpacked | None) -> Action:
    """What to do with an archive.

    :param found: what stands where its folder belongs, links not followed; None for nothing.
    :param remembered: what an earlier run unpacked to there.
    """
    if found is None:
        return Action.UNPACK
    if remembered is None or remembered.archive.name != archive.name:
        return Action.REFUSE
    if not stat.S_ISDIR(found.st_mode):
        return Action.REFUSE
    if remembered.is_of(archive) and remembered.is_at(found):
        return Action.KEEP
    return Action.COMPARE
