"""Tells whether a folder lies on another machine."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")

KINDS = re.compile(
    r"nfs.*|cifs|smb.*|9p|afs|ceph|glusterfs|lustre|beegfs|gpfs|ocfs2|gfs2|virtiofs|fuse\..*"
)
"""File systems that may be mounted by several machines at a time."""

_OCTAL = re.compile(r"\\([0-7]{3})")


def is_on_network(path: Path, mounts: Path = MOUNTS) -> bool:
    """Whether several machines may have the file at a time; false where that cannot be told.

    :param mounts: the system's table of what is mounted (proc(5)).
    """
    parts = Path(os.path.realpath(path)).parts
    kind, depth = "", 0
    with suppress(OSError):
        for line in mounts.read_text(errors="surrogateescape").splitlines():
            _, place, this_kind, *_ = line.split(" ")
            place = _OCTAL.sub(lambda match: chr(int(match[1], 8)), place)
            at = Path(place).parts
            # Of two at one place the later one counts.
            if len(at) >= depth and parts[: len(at)] == at:
                kind, depth = this_kind, len(at)
    return KINDS.fullmatch(kind) is not None
