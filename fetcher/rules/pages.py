"""Tells an error page that is sent with status 200 from the file that was asked for.

Captive portals, login forms and "not found" pages come so. Pure.
"""

from __future__ import annotations

import re

from fetcher.contract import Answer

HEAD = 1024
"""Bytes at a body's beginning that are looked at."""

_TYPES = ("text/html", "application/xhtml+xml")
_ENDINGS = ("html", "htm", "xhtml", "xht", "shtml", "php", "asp", "aspx", "jsp", "cgi", "mhtml")
# Nothing that is passed over is looked at twice: a server could keep the process busy for ever.
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?(?>\s+|<!--(?>.*?-->)|<\?xml(?>.*?\?>))*+"
    rb"<(?:!doctype\s+html|html|head|body|title|script|meta|style)[\s>/]",
    re.IGNORECASE | re.DOTALL,
)


def says_page(answer: Answer, name: str) -> bool:
    """Whether an answer calls itself a page though the file's name is that of something else."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return kind in _TYPES and bool(dot) and ending.lower() not in _ENDINGS


def looks_like_page(head: bytes) -> bool:
    """Whether a body begins as HTML does; servers also call other things ``text/html``."""
    return _PAGE.match(head[:HEAD]) is not None
