"""What stands under a path, and the answer an honest server gives for it."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from typing import Literal, Protocol

from tests.servers.content import Source
from tests.servers.exchange import Exchange

BLOCK = 256 << 10


class Fault(Protocol):
    """A scripted answer: see `tests.servers.faults`."""

    def respond(self, exchange: Exchange, resource: "Resource") -> None: ...


class Gate:
    """Holds every answer of a resource after so many bytes of its body, until it is opened."""

    def __init__(self, after: int = 0) -> None:
        self.after = after
        self._changed = threading.Condition()
        self._open = False
        self._held = 0

    @property
    def is_open(self) -> bool:
        return self._open

    def open(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def wait_until_held(self, connections: int = 1, timeout: float = 30) -> None:
        """Until that many connections stand at the gate at one time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._held >= connections, timeout):
                raise TimeoutError(f"{self._held} of {connections} connections reached the gate")

    def hold(self, exchange: Exchange) -> None:
        self._count(1)
        try:
            while not self._open:
                exchange.wait(0.01)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            self._held += change
            self._changed.notify_all()


@dataclass
class Resource:
    """A file on the server, and how the server behaves about it."""

    content: Source
    etag: str | None = "auto"
    """With its quotes. By default a strong one that tells apart contents; None: no ETag."""
    last_modified: int | None = 1_700_000_000
    """Seconds since 1970; None: no Last-Modified."""
    ranges: bool = True
    """False: `Range` is ignored, and `Accept-Ranges` not sent."""
    chunked: bool = False
    """Whole bodies come chunked, without a length. (An answer to a range has its length.)"""
    content_type: str | None = "application/octet-stream"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Added to 200, 206 and 304."""
    keep_alive: bool = True
    empty_range: Literal[200, 416] = 416
    """The answer to a range of an empty file; servers differ."""
    rate: int | None = None
    """Bytes a second for each connection."""
    gate: Gate | None = None
    max_parallel: int | None = None
    """Answers at a time; others get `busy`, which by default is a 503."""
    busy: Fault | None = None
    faults: list[Fault] = field(default_factory=list)
    """Taken off the front, one for each request; after the last the answers are as usual."""
    script: Callable[[Exchange], Fault | None] | None = None
    """Asked at each request once `faults` is empty; None stands for the usual answer."""

    def __post_init__(self) -> None:
        if self.etag == "auto":
            self.etag = f'"{self.content.tag}"'

    @property
    def last_modified_date(self) -> str | None:
        if self.last_modified is None:
            return None
        return formatdate(self.last_modified, usegmt=True)


@dataclass(frozen=True)
class Answer:
    """A head, and the part of a source that follows it."""

    status: int
    headers: dict[str, str]
    source: Source
    start: int = 0
    end: int = 0
    chunked: bool = False


def plan(exchange: Exchange, resource: Resource) -> Answer:
    """What RFC 9110 asks for: 200, 206, 304 or 416."""
    content = resource.content
    common = _validators(resource) | dict(resource.headers)
    if resource.ranges:
        common["Accept-Ranges"] = "bytes"
    if not resource.keep_alive:
        common["Connection"] = "close"
    if _not_modified(exchange, resource):
        return Answer(304, common, content)

    typed = common
    if resource.content_type is not None:
        typed = {"Content-Type": resource.content_type} | common
    size = content.size
    asked = exchange.range if exchange.method == "GET" and resource.ranges else None
    if asked is not None and _if_range_holds(exchange, resource):
        span = satisfy(asked, size)
        if span is not None:
            start, end = span
            partial = {
                "Content-Range": f"bytes {start}-{end - 1}/{size}",
                "Content-Length": str(end - start),
            }
            return Answer(206, typed | partial, content, start, end)
        if size > 0 or resource.empty_range == 416:
            refusal = {"Content-Range": f"bytes */{size}", "Content-Length": "0"}
            return Answer(416, common | refusal, content)

    if resource.chunked:
        return Answer(200, typed | {"Transfer-Encoding": "chunked"}, content, 0, size, chunked=True)
    return Answer(200, typed | {"Content-Length": str(size)}, content, 0, size)


def deliver(
    exchange: Exchange, resource: Resource, answer: Answer, limit: int | None = None
) -> None:
    """Send an answer, or its head and the first `limit` bytes of its body."""
    end = answer.end if limit is None else min(answer.end, answer.start + limit)
    if exchange.method == "HEAD":
        end = answer.start
    whole = limit is None
    block = BLOCK if resource.rate is None else min(BLOCK, resource.rate // 50 + 1)
    started = time.monotonic()
    at = answer.start
    exchange.send_head(
        answer.status, answer.headers, last=whole and at == end and not answer.chunked
    )
    while at < end:
        stop = min(at + block, end)
        if resource.rate is not None:
            exchange.wait(started + (at - answer.start) / resource.rate - time.monotonic())
        if resource.gate is not None and not resource.gate.is_open:
            gate_at = answer.start + resource.gate.after
            if at == gate_at:
                resource.gate.hold(exchange)
            elif at < gate_at:
                stop = min(stop, gate_at)
        data = answer.source.read(at, stop)
        if answer.chunked:
            exchange.send_raw(b"%x\r\n" % len(data))
            exchange.send(data)
            exchange.send_raw(b"\r\n")
        else:
            exchange.send(data, last=whole and stop == end)
        at = stop
    if answer.chunked and end == answer.end:
        exchange.send_raw(b"0\r\n\r\n", last=whole)


def satisfy(asked: tuple[int | None, int | None], size: int) -> tuple[int, int] | None:
    """The offsets (start, end) that a range stands for; None where there is no such byte."""
    first, last = asked
    if first is None:
        start, end = max(size - (last or 0), 0), size
    else:
        start, end = first, size if last is None else min(last + 1, size)
    return (start, end) if start < end else None


def _validators(resource: Resource) -> dict[str, str]:
    both = {"ETag": resource.etag, "Last-Modified": resource.last_modified_date}
    return {name: value for name, value in both.items() if value is not None}


def _if_range_holds(exchange: Exchange, resource: Resource) -> bool:
    """RFC 9110, 13.1.5: a weak ETag never holds, and a date only when it is the very same."""
    given = exchange.headers.get("if-range")
    if given is None:
        return True
    if given.startswith("W/"):
        return False
    return given in (resource.etag, resource.last_modified_date)


def _not_modified(exchange: Exchange, resource: Resource) -> bool:
    """RFC 9110, 13.2.2: If-None-Match wins over If-Modified-Since."""
    given = exchange.headers.get("if-none-match")
    if given is not None:
        tags = [tag.strip().removeprefix("W/") for tag in given.split(",")]
        return given == "*" or (
            resource.etag is not None and resource.etag.removeprefix("W/") in tags
        )
    since = exchange.headers.get("if-modified-since")
    if since is None or resource.last_modified is None:
        return False
    return _seconds(since) >= resource.last_modified


def _seconds(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0
