"""One connection of a client, and one request on it with its answer."""

import fcntl
import re
import select
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import responses
from typing import TypeVar
from urllib.parse import urlsplit

Range = tuple[int | None, int | None]
"""A `Range: bytes=` header: (first, last), (first, None) or, for the last n bytes, (None, n)."""

T = TypeVar("T")
_HEAD_LIMIT = 1 << 20
_SINGLE_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


class GoneError(Exception):
    """The client has closed its end, or the server is being stopped."""


class BadRequestError(Exception):
    """What came is no HTTP request."""


@dataclass(frozen=True)
class Record:
    """A request as the server saw it, and how far its answer has come."""

    method: str
    target: str
    """As on the request line, with the query (and the whole URL where a proxy is asked)."""
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    range: Range | None
    status: int | None
    """None while there is no answer."""
    sent: int
    """Bytes of the body that the socket took; the client may not have got or read them all."""
    ended: bool
    """Whether the answer is over, be it whole or cut short."""
    connection: int
    """The same for all requests that came over one connection."""
    arrived: float
    """`time.monotonic()` when the request's head was complete."""


class Connection:
    """An accepted socket, which one thread uses and any thread may cut."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.open = True
        self._socket = sock
        self._lock = threading.Lock()
        self._received = bytearray()
        self._poll = select.poll()
        sock.setblocking(False)

    def handshake(self) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            self._patiently(self._socket.do_handshake)

    def read_head(self) -> bytes | None:
        """The next request up to its empty line; None when the client sends no more."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > _HEAD_LIMIT:
                raise BadRequestError("endless head")
            if not self._receive():
                return None
        return self._take(end + 4)

    def read_body(self, size: int) -> bytes:
        while len(self._received) < size:
            if not self._receive():
                raise GoneError
        return self._take(size)

    def send(self, data: memoryview) -> int:
        """What the socket takes at once, perhaps nothing."""
        if not self.open:
            raise GoneError
        try:
            return self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0

    def wait_for_room(self) -> None:
        self._await(select.POLLOUT)

    def wait(self, seconds: float | None = None) -> None:
        """Let time go by; raises GoneError as soon as the client is gone or the server stops."""
        if not self.open or self._await(select.POLLRDHUP, seconds):
            raise GoneError

    def reset(self) -> None:
        """End with RST, once all that was sent has reached the client's side."""
        while fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, b"\0" * 4) != b"\0" * 4:
            self.wait(0.001)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close(notify=False)

    def close(self, *, notify: bool = True) -> None:
        """End with FIN, and over TLS with a close_notify before it unless `notify` is False."""
        with self._lock:
            if not self.open:
                return
            self.open = False
            if notify and isinstance(self._socket, ssl.SSLSocket):
                with suppress(OSError, ValueError):  # The client's answer is not waited for.
                    self._socket.unwrap()
            self._socket.close()

    def cut(self) -> None:
        """Called from another thread: whatever the connection's thread waits for ends now."""
        with self._lock:
            if self.open:
                # Not SSLSocket's own shutdown, which would turn the socket into a plain one.
                with suppress(OSError):
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _receive(self) -> bool:
        data = self._patiently(lambda: self._socket.recv(1 << 16))
        self._received += data
        return bool(data)

    def _patiently(self, operation: Callable[[], T]) -> T:
        while True:
            try:
                return operation()
            except (BlockingIOError, ssl.SSLWantReadError):
                self._await(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._await(select.POLLOUT)

    def _await(self, event: int, seconds: float | None = None) -> bool:
        """Whether it has come within that time. The end of the connection counts as any event."""
        self._poll.register(self._socket.fileno(), event)
        return bool(self._poll.poll(None if seconds is None else max(seconds, 0) * 1000))

    def _take(self, size: int) -> bytes:
        data = bytes(self._received[:size])
        del self._received[:size]
        return data


class Exchange:
    """A request, and the means to answer it with any bytes whatever."""

    def __init__(self, connection: Connection, head: bytes) -> None:
        self.connection = connection
        try:
            request_line, *fields = head.decode("latin-1").split("\r\n")[:-2]
            self.method, self.target, self.version = request_line.split(" ")
            pairs = [
                (name.lower(), value.strip()) for name, value in (f.split(":", 1) for f in fields)
            ]
        except ValueError as error:
            raise BadRequestError(head[:200]) from error
        self.path = urlsplit(self.target).path
        self.headers = dict(pairs)
        self.range = parse_range(self.headers.get("range", ""))
        self.status: int | None = None
        self.sent = 0
        self.ended = False
        self.keep_alive = (
            self.version == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"
        )
        self._arrived = time.monotonic()
        self._lock = threading.Lock()

    @property
    def record(self) -> Record:
        """Taken at one moment: what the client has got is always counted in it."""
        with self._lock:
            return Record(
                method=self.method,
                target=self.target,
                path=self.path,
                headers=self.headers,
                range=self.range,
                status=self.status,
                sent=self.sent,
                ended=self.ended,
                connection=self.connection.number,
                arrived=self._arrived,
            )

    def send_head(
        self,
        status: int,
        headers: Mapping[str, str],
        reason: str | None = None,
        *,
        last: bool = False,
    ) -> None:
        """The status line and just these headers. `Connection: close` among them is kept to."""
        if reason is None:
            reason = responses.get(status, "Unknown")
        fields = [f"{name}: {value}" for name, value in headers.items()]
        if "connection: close" in (field.lower() for field in fields):
            self.keep_alive = False
        self.status = status
        head = "\r\n".join([f"HTTP/1.1 {status} {reason}", *fields, "", ""])
        self._send(head.encode("latin-1"), body=False, last=last)

    def send(self, data: bytes, *, last: bool = False) -> None:
        """Bytes of the body. `last`: the answer counts as ended from the moment they are sent."""
        self._send(data, body=True, last=last)

    def send_raw(self, data: bytes, *, last: bool = False) -> None:
        """Bytes that do not count as body, as the frame of a chunk."""
        self._send(data, body=False, last=last)

    def _send(self, data: bytes, *, body: bool, last: bool) -> None:
        """The lock covers each sending and its count, so that no client can hold bytes (or the
        whole answer) that the log does not know of yet; it is not held while waiting."""
        rest = memoryview(data)
        while rest:
            with self._lock:
                count = self.connection.send(rest)
                rest = rest[count:]
                self.sent += count if body else 0
                self.ended = last and not rest
            if rest:
                self.connection.wait_for_room()

    def end(self) -> None:
        with self._lock:
            self.ended = True

    def wait(self, seconds: float | None = None) -> None:
        """Send nothing for so long, or for ever; ends with GoneError when the client goes."""
        self.connection.wait(seconds)

    def reset(self) -> None:
        """RST, after the client's side has got what was sent."""
        self.connection.reset()

    def close(self) -> None:
        """FIN, without TLS's close_notify: the end of a server that was killed."""
        self.connection.close(notify=False)


def parse_range(header: str) -> Range | None:
    """None where there is no range, several, or none that makes sense (RFC 9110, 14.2: such a
    header is ignored)."""
    match = _SINGLE_RANGE.fullmatch(header)
    if match is None:
        return None
    first, last = (int(digits) if digits else None for digits in match.groups())
    if first is None and last is None:
        return None
    if first is not None and last is not None and last < first:
        return None
    return first, last
