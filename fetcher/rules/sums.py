"""Lines of a ``SHA256SUMS`` file and its kind, as the programs of the GNU coreutils, of BSD and of
OpenSSL write them. Pure."""

from __future__ import annotations

import re

from fetcher.rules.checksums import parse_checksum

_GNU = re.compile(r"(\\?)([0-9a-f]{32,128}) [ *](.+)", re.ASCII | re.DOTALL | re.IGNORECASE)
_BSD = re.compile(
    r"(\\?)(MD5|SHA1|SHA2?-?(?:256|512)) ?\((.+)\)[ \t]*=[ \t]*([0-9a-f]+)",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_ESCAPED = re.compile(r"[\\\n\r]")
_UNESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_MEANT = {"\\": "\\", "n": "\n", "r": "\r"}


def sums_line(name: str, digest: str) -> str:
    """One line, with its line feed.

    A name with a backslash or a line break is escaped, which a backslash at the line's start says.
    A lone ``-`` would be standard input.

    :param digest: hexadecimal digits.
    """
    name = "./-" if name == "-" else name
    escaped = _ESCAPED.sub(lambda match: _ESCAPES[match[0]], name)
    mark = "\\" if escaped != name else ""
    return f"{mark}{digest}  {escaped}\n"


def parse_sums_line(line: str) -> tuple[str, str] | None:
    """Name and ``algorithm:hex`` (lower case) of a line without its end; None for any other line.

    Either ``hex  name``, where the number of digits tells the algorithm, or
    ``SHA256 (name) = hex``. A name may begin with ``./``, as ``find`` writes it; that is left out.
    """
    if match := _GNU.fullmatch(line):
        mark, text, name = match.groups()
    elif match := _BSD.fullmatch(line):
        mark, algorithm, name, digits = match.groups()
        text = f"{algorithm.lower().replace('sha2-', 'sha')}:{digits}"
    else:
        return None
    try:
        checksum = parse_checksum(text)
    except ValueError:
        return None
    if mark:
        if any(found[1] not in _MEANT for found in _UNESCAPED.finditer(name)):
            return None
        name = _UNESCAPED.sub(lambda found: _MEANT[found[1]], name)
    name = name.removeprefix("./")
    return (name, checksum) if name else None
