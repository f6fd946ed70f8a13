"""What a process asked of the system, in the order in which it did: strace's log, read."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_LINE = re.compile(r"(\d+)\s+(.*)")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+)\b.*")
_FILE = re.compile(r'\d+<([^>]*)>|"((?:[^"\\]|\\.)*)"')
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
_NUMBER = re.compile(r", (\d+)(?=[,)]|$)")


@dataclass(frozen=True, eq=False)
class Call:
    """A system call that did what it was asked to.

    :param name: without ``at`` or ``at2`` at its end.
    :param files: the paths that it is about, in the order of its arguments.
    :param data: what was written, as much of it as the log shows.
    :param numbers: the plain numbers among its arguments: sizes and offsets.
    :param result: what it returned.
    """

    name: str
    files: tuple[str, ...]
    data: bytes
    numbers: tuple[int, ...]
    result: int


class Event(NamedTuple):
    """A call begins or ends; others, of other threads, may lie between."""

    begins: bool
    call: Call


def read_log(path: Path) -> list[Event]:
    """The events of a log of ``strace -f -y``, without the calls that failed."""
    begun: dict[str, tuple[int, str]] = {}
    events: dict[tuple[int, bool], Event] = {}
    for number, (process, text) in enumerate(_lines(path)):
        start = number
        resumed = _RESUMED.fullmatch(text)
        if text.endswith(_UNFINISHED):
            begun[process] = number, text.removesuffix(_UNFINISHED)
            continue
        if resumed is not None and process in begun:
            start, before = begun.pop(process)
            text = before + resumed[1]
        call = _parse(text)
        if call is not None:
            events[start, True] = Event(True, call)
            events[number, False] = Event(False, call)
    return [events[key] for key in sorted(events, key=lambda key: (key[0], not key[1]))]


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text("ascii").splitlines():
        match = _LINE.fullmatch(line)
        assert match is not None, line
        yield match[1], match[2]


def _parse(text: str) -> Call | None:
    """None for signals, exits, and calls that failed."""
    match = _CALL.fullmatch(text)
    if match is None or int(match[3]) < 0:
        return None
    name, arguments = match[1], match[2]
    data = b""
    if name in ("write", "pwrite64"):
        written = _TEXT.search(arguments)
        assert written is not None, text
        data = ast.literal_eval(f'b"{written[1]}"')
        arguments = arguments.replace(written[0], "…")
    files = tuple(opened or named for opened, named in _FILE.findall(arguments))
    numbers = tuple(int(number) for number in _NUMBER.findall(arguments))
    return Call(name.removesuffix("2").removesuffix("at"), files, data, numbers, int(match[3]))
