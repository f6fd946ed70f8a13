"""File names: those of the list are checked, those of a server are made safe.

Rules as in curl and wget after CVE-2020-8177 and CVE-2016-4971: a server never chooses a folder,
and a redirect's target never chooses a name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from unicodedata import normalize
from urllib.parse import unquote_to_bytes

from fetcher.errors import InvalidNameError
from fetcher.rules.urls import last_segment

PART_SUFFIX = ".part"
JOURNAL_SUFFIX = ".part.json"
ASIDE_SUFFIX = ".part.jso~"
"""Where a journal is written before it takes the place of the one before."""
DECODED_SUFFIX = ".part.data"
"""Where a compressed part is decoded to before that gets the final name."""
STATE_FOLDER = ".fetcher"
MAX_BYTES = 255
"""Longest file name of the common file systems."""
MAX_PATH = 2000
"""Bytes of a path: with the output folder's it has to stay below the system's 4096."""
MAX_DEPTH = 100
"""Names of a path, that of the file included."""

_MAX_ENDING = 20
_MAX_HEADER = 4096

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What steers a terminal or turns the direction of writing, and what is no character at all."""
_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|(?:COM|LPT)[1-9\u00b9\u00b2\u00b3])(?:\.|\Z)", re.IGNORECASE
)
# Nearly all names look like this: the full checks take most of the time that a long list takes.
_PLAIN_BASE = r"[A-Za-z0-9_][A-Za-z0-9_-]{,99}\.(?:tar|t?gz|zip|bin|parquet)(?:\.gz)?"
_PLAIN = re.compile(rf"(?:(?!SHA256SUMS/)[A-Za-z0-9_][A-Za-z0-9_-]{{,99}}/){{,3}}{_PLAIN_BASE}")
_PLAIN_URL = re.compile(rf"https?://[^/?#]+/(?:[^?#]*/)?({_PLAIN_BASE})(?:\?[^#]*)?")
_DRIVE = re.compile(r"\A(?:[A-Za-z]:\s*)+")
_REPORT = re.compile(r"report(-.*)?\.jsonl|retry(-.*)?\.tsv")
_NUMBER = re.compile(r"\.([0-9]{1,18})(?=\.|\Z)")
_PARAMETER = re.compile(
    r"""(?:\A|;)\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"(?=\s*(?:;|\Z))|[^;]*)""", re.DOTALL
)
_OWN_FILES = ("SHA256SUMS",)
_OWN_ENDINGS = (PART_SUFFIX, JOURNAL_SUFFIX, ASIDE_SUFFIX, DECODED_SUFFIX)


def is_plain(name: str) -> bool:
    """Whether a name is in no way unusual: nothing would be found to say about it."""
    return _PLAIN.fullmatch(name) is not None


def check_name(name: str) -> str:
    """A name from the list, with ``/`` between folders.

    :raises InvalidNameError: it leaves the output folder, cannot be a file name, or is a name that
        this project uses itself.
    """
    if not name or name.endswith("/"):
        raise InvalidNameError(f"the name {name!r} is that of a folder; give a file name")
    if CONTROL.search(name):
        raise InvalidNameError(f"the name {name!r} holds control characters; take them out")
    if "\\" in name or _DRIVE.match(name):
        raise InvalidNameError(f"the name {name!r} is no relative path; separate folders by /")
    if name.startswith(("/", "~/")):
        raise InvalidNameError(f"the name {name!r} leaves the output folder; give a relative path")
    segments = name.split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise InvalidNameError(f"the name {name!r} leaves the output folder; give a plain path")
    if any(len(segment.encode()) > MAX_BYTES for segment in segments):
        raise InvalidNameError(
            f"the name {name[:40]!r}… is longer than {MAX_BYTES} bytes; shorten it"
        )
    if len(name.encode()) > MAX_PATH or len(segments) > MAX_DEPTH:
        raise InvalidNameError(
            f"the name {name[:40]!r}… is longer than {MAX_PATH} bytes or more than {MAX_DEPTH} "
            "folders deep; shorten it"
        )
    if _is_own(segments):
        raise InvalidNameError(f"the name {name!r} is one that this program uses; choose another")
    return name


def safe_name(text: str) -> str:
    """One file name made of what a server said; empty when nothing of it is left."""
    name = re.split(r"[/\\]", text)[-1]
    name = _DRIVE.sub("", CONTROL.sub("_", name).strip())
    if name.strip(". ") == "":
        return ""
    if name.startswith("."):
        name = "_" + name[1:]
    # On Windows and its file systems these are devices, or other names.
    name = name.rstrip(". ")
    if _DEVICE.match(name):
        name = "_" + name
    name = _shorten(name, MAX_BYTES)
    return _shorten(name, MAX_BYTES - 1) + "_" if _is_own([name]) else name


def url_name(url: str) -> str:
    """The name of a row that has none: the last segment of its URL, else ``index``."""
    plain = _PLAIN_URL.fullmatch(url)
    if plain and not _DEVICE.match(plain[1]):
        return plain[1]
    return safe_name(last_segment(url)) or "index"


def _is_own(segments: list[str]) -> bool:
    """Whether a file of this program would stand there, or has to stand where a folder would."""
    first = segments[0]
    if first.lower() == STATE_FOLDER or first in _OWN_FILES or _REPORT.fullmatch(first):
        return True
    return any(segment.endswith(_OWN_ENDINGS) for segment in segments)


def _split_ending(name: str) -> tuple[str, str, str]:
    """Stem, dot and ending; what is too long for an ending, or all there is, is stem."""
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > _MAX_ENDING:
        return name, "", ""
    return stem, dot, ending


def _shorten(name: str, most: int) -> str:
    """At most ``most`` bytes of UTF-8, keeping the ending."""
    if len(name.encode()) <= most:
        return name
    stem, dot, ending = _split_ending(name)
    room = most - len((dot + ending).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + ending


def disposition_name(header: str) -> str:
    """The safe name that a ``Content-Disposition`` gives; empty when it gives none.

    RFC 6266: ``filename*`` (RFC 8187) goes before ``filename``, wherever it stands.
    """
    header = header[:_MAX_HEADER]
    # Many servers write UTF-8 as it is; a header comes here as Latin-1 (RFC 9110, section 5.5).
    with suppress(UnicodeError):
        header = header.encode("latin-1").decode()
    found: dict[str, str] = {}
    for key, value in _PARAMETER.findall(header):
        found.setdefault(key.lower(), _unquoted(value.strip()))
    return safe_name(_extended(found.get("filename*", ""))) or safe_name(found.get("filename", ""))


def _unquoted(value: str) -> str:
    if len(value) < 2 or not value.startswith('"') or not value.endswith('"'):
        return value.strip('"')
    # Only these two escapes: a server on Windows gives a whole path, its backslashes as they are.
    return value[1:-1].replace("\\\\", "\\").replace('\\"', '"')


def _extended(value: str) -> str:
    charset, _, rest = value.partition("'")
    text = rest.partition("'")[2]
    try:
        return unquote_to_bytes(text).decode(charset or "utf-8")
    except (LookupError, ValueError):
        return ""


def numbered(name: str, number: int) -> str:
    """``a/b.tar`` as ``a/b.1.tar``; the name itself for 0."""
    if number == 0:
        return name
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = _split_ending(base)
    suffix = f".{number}{dot}{ending}"
    return folder + slash + _shorten(stem, MAX_BYTES - len(suffix.encode())) + suffix


def is_numbered(candidate: str, name: str) -> bool:
    """Whether :func:`numbered` makes the candidate out of the name."""
    numbers = [0, *map(int, _NUMBER.findall(candidate))]
    return any(numbered(name, number) == candidate for number in numbers)


def first_free(is_free: Callable[[int], bool]) -> int:
    """A number that is free: the first, where all before it are taken.

    Asks for few of them, however many are taken.
    """
    taken, free = -1, 0
    while not is_free(free):
        taken, free = free, max(2 * free, 1)
    while free - taken > 1:
        middle = (taken + free) // 2
        if is_free(middle):
            free = middle
        else:
            taken = middle
    return free


def part_name(base: str) -> str:
    """The name of the unfinished file beside ``base``; room is left for the journal's ending.

    Names too long for that are told apart by a hash.
    """
    room = MAX_BYTES - len(JOURNAL_SUFFIX)
    if len(base.encode()) > room:
        mark = "~" + hashlib.sha256(base.encode()).hexdigest()[:16]
        base = base.encode()[: room - len(mark)].decode(errors="ignore") + mark
    return base + PART_SUFFIX


def fold_name(name: str) -> str:
    """What names share that are one name to file systems that do not tell case or Unicode forms
    apart."""
    # Folding may leave a form that is none, so it is composed before and after.
    return normalize("NFC", normalize("NFC", name).casefold())
