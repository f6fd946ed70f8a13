"""What goes between a parent and its children: jobs and events, each a line of JSON."""

from __future__ import annotations

import json
import logging
import os
import threading
from contextlib import suppress
from typing import Any, Literal, NotRequired, TypedDict

from fetcher import errors
from fetcher.errors import FetchError
from fetcher.items import FileItem

FileState = tuple[int, str, int | None, int, int, str]
"""Number, name, size, bytes there, connections and note of a file in flight."""


class Order(TypedDict):
    """A file that a program wants, with a folder and settings of its own."""

    fields: dict[str, str]
    """See :func:`fetcher.lists.make_row`."""
    out: str
    """The folder, absolute."""
    headers: list[tuple[str, str]]
    splits: NotRequired[int]
    """Connections."""
    tries: NotRequired[int]
    if_exists: NotRequired[str]


class Job(TypedDict, total=False):
    """What a child is to do."""

    settings: dict[str, Any]
    """Over those of the project, or over this package's where ``orders`` are given."""
    arguments: dict[str, str]
    """The spider's."""
    rows: list[dict[str, str]]
    """See :func:`fetcher.lists.make_row`; to fetch before those of the arguments."""
    headers: list[tuple[str, str]]
    """For all rows."""
    orders: list[Order]
    """Instead of arguments, rows and headers."""
    stdin: int
    """A descriptor that the child has, of what is to be its standard input; otherwise it is
    empty."""
    muted: list[str]
    """Extensions of the project that do not work here but in the parent."""
    progress: bool
    """Whether anybody looks at the files in flight."""


class ItemRow(TypedDict):
    """The request of an item's file: of one that failed all that it takes to try it again, of
    others only what tells which row it was."""

    url: str
    headers: dict[str, str]
    meta: dict[str, Any]
    """See :class:`fetcher.contract.FileMeta`."""


class Event(TypedDict, total=False):
    """What has happened in a child; which keys there are depends on ``kind``."""

    kind: Literal["started", "files", "ended", "list", "item", "retried", "log", "done"]
    rows: int
    """Of the list, that this child has read and will report."""
    whole: bool
    """Whether these are all."""
    files: list[FileState]
    item: dict[str, Any]
    line: int | None
    """The item's row."""
    http_status: int | None
    """Of an item's :class:`StatusError`."""
    row: ItemRow
    """Of an item that is a file's and not an unusable line's."""
    name: str
    """What the list calls the file, where it was there without a request."""
    logger: str
    level: int
    text: str
    status: int
    """The child's exit status."""
    reason: str | None
    """Why its crawl has ended, in Scrapy's words, None where it has not begun; or why something is
    asked for once more."""
    usage: str
    """What is wrong with the call, with exit status 2."""


class Channel:
    """The child's end; may be used from any thread.

    :param descriptor: where the lines go.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Tell the parent; where there is none any more, nobody."""
        left = memoryview(json.dumps(event).encode() + b"\n")
        with self._lock, suppress(OSError):
            while left:
                left = left[os.write(self._descriptor, left) :]


class RelayHandler(logging.Handler):
    """Sends log records to the parent, whose logging decides where they are shown."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        text = self._formatter.format(record)
        self._channel.send(
            {"kind": "log", "logger": record.name, "level": record.levelno, "text": text}
        )


def log_record(event: Event) -> logging.LogRecord:
    """The record of an event of the kind ``log``."""
    return logging.makeLogRecord(
        {
            "name": event["logger"],
            "levelno": event["level"],
            "levelname": logging.getLevelName(event["level"]),
            "msg": event["text"],
        }
    )


def item_of(event: Event) -> FileItem:
    """The item of an event of the kind ``item``."""
    item = FileItem(**event["item"])
    item.line, item.row = event.get("line"), event.get("name")
    return item


def exception_of(event: Event) -> FetchError:
    """Why the item of an event failed, as the exception it was in the child."""
    error = event["item"].get("error") or {}
    name, message = str(error.get("type")), str(error.get("message"))
    kind = getattr(errors, name, None)
    if not isinstance(kind, type) or not issubclass(kind, FetchError):
        return FetchError(f"{name}: {message}")
    if issubclass(kind, errors.StatusError):
        return kind(message, event.get("http_status") or 0)
    return kind(message)
