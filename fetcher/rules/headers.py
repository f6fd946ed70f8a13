"""Headers that somebody wants sent with the requests for a file."""

from __future__ import annotations

import re

OWN = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "host",
        "if-range",
        "range",
        "transfer-encoding",
    }
)
"""Names, in lower case, that only the downloader itself may use."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
# RFC 9110, section 5.5; a tab may stand within.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def check_header(name: str, value: str) -> tuple[str, str]:
    """Name and value of a header (RFC 9110, sections 5.1 and 5.5), without blanks around them.

    :raises ValueError: in a sentence that does not quote the value, which may be a secret.
    """
    name, bare = name.strip(" \t"), value.strip(" \t")
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header has no proper name before its colon; write 'Name: value'")
    if name.lower() in OWN:
        raise ValueError(f"the header {name} is the downloader's own; leave it out")
    if _FORBIDDEN.search(bare):
        raise ValueError(f"the header {name} holds a line break or control characters; remove them")
    return name, bare


def parse_header(line: str) -> tuple[str, str]:
    """Name and value of ``Name: value``.

    :raises ValueError: see :func:`check_header`.
    """
    name, _, value = line.partition(":")
    return check_header(name if ":" in line else "", value)


def merge_headers(*sets: tuple[tuple[str, str], ...]) -> dict[str, list[str]]:
    """Values by name; a name in a later set stands for all of that name in the earlier ones."""
    merged: dict[str, list[str]] = {}
    for headers in sets:
        for name in {name.lower() for name, _ in headers}:
            merged.pop(name, None)
        for name, value in headers:
            merged.setdefault(name.lower(), []).append(value)
    return merged
