"""Which files are archives, what their folders are called, and how they are packed. Pure."""

from __future__ import annotations

import re

HEAD = 512
"""Bytes of an archive that tell how it is packed."""

ZIP = "zip"
TAR = "tar"

_ENDING = re.compile(
    r"\.(?:tar(?:\.(?:gz|bz2|xz|zst))?|tgz|tbz2?|txz|tzst|zip)\Z", re.IGNORECASE | re.ASCII
)
_MAGIC = (
    # An entry; the end of an archive without any; the mark of one that was to be split.
    (rb"PK(?:\x03\x04|\x05\x06|\x07\x08)", ZIP),
    (rb"\x1f\x8b", "gzip"),
    (rb"BZh", "bzip2"),
    (rb"\xfd7zXZ\0", "xz"),
    # A frame (RFC 8878, section 3.1.1), or one to be skipped, as pzstd begins with.
    (rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", "zstd"),
)
_FORMS = [(re.compile(magic, re.DOTALL), form) for magic, form in _MAGIC]


def folder_of(name: str) -> str | None:
    """The folder that a file is unpacked to: its name without its ending; None for no archive."""
    match = _ENDING.search(name)
    folder = name[: match.start()] if match else ""
    return None if folder == "" or folder.endswith("/") else folder


def form_of(head: bytes) -> str:
    """How an archive is packed: :data:`ZIP`, :data:`TAR`, or a tar's compression.

    Told from its content, as a name may have the ending of another compression, or of one that
    has been undone on the way. What is none of the others has to be a tar.

    :param head: its first :data:`HEAD` bytes.
    """
    return next((form for magic, form in _FORMS if magic.match(head)), TAR)
