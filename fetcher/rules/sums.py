"""Lines of a ``SHA256SUMS`` file, as ``sha256sum`` of the GNU coreutils has them. Pure."""

from __future__ import annotations

import re

_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)", re.ASCII | re.DOTALL)
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
    """Name and digest (lower case) of a line without its end; None for any other line.

    A name may begin with ``./``, as ``find`` writes it; that is left out.
    """
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    name = match[3]
    if match[1]:
        if any(found[1] not in _MEANT for found in _UNESCAPED.finditer(name)):
            return None
        name = _UNESCAPED.sub(lambda found: _MEANT[found[1]], name)
    return name.removeprefix("./"), match[2].lower()
