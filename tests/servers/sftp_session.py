"""What an SFTP server does about its files, and how a test makes it misbehave."""

import os
import posixpath
import stat
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast

import paramiko
from paramiko.sftp import SFTP_EOF, SFTP_FAILURE, SFTP_NO_SUCH_FILE, SFTP_PERMISSION_DENIED

from tests.servers.exchange import Exchange, GoneError
from tests.servers.resource import Gate

OPENSSH_READ = 255 << 10
"""The most that OpenSSH answers a READ with."""

Method = TypeVar("Method", bound=Callable[..., Any])
Kind = Literal["open", "stat", "lstat", "fstat", "read"]


class Operation(NamedTuple):
    """A request as the server saw it, whatever the answer was."""

    connection: int
    kind: Kind
    path: str
    offset: int = 0
    size: int = 0
    """Of a read: what was asked for; see `Log.sent` for what was answered."""


@dataclass(frozen=True)
class After:
    """What befalls a file's handle once it has given so many bytes, wherever in the file.

    The last READ before it is answered with just the bytes that are left until then.

    - ``cut``: the TCP connection ends, after the client's side has got all that was sent
    - ``stall``: no READ is answered any more, nor anything else on this channel
    - ``fail``: every READ is answered with SFTP_FAILURE
    - ``end``: every READ is answered with SFTP_EOF, whatever the size says
    """

    count: int
    then: Literal["cut", "stall", "fail", "end"]


class OffsetGate(Gate):
    """Holds each READ that begins at an offset of the file; one that goes beyond it is answered
    up to there. (A plain `Gate` counts the bytes that each handle has given.)"""

    def __init__(self, offset: int) -> None:
        super().__init__()
        self.offset = offset


ConnectionFault = Literal["close", "silent", "goodbye", "auth", "channel", "subsystem"]
"""What a connection meets instead of an answer: its end before the banner, silence, its end as soon
as a key or a password is shown, or a refusal of every login, of every channel, or of the subsystem
``sftp``."""


@dataclass
class Behaviour:
    """How the server is unlike a good one. It may be changed at any time, also while it runs; the
    keys are absolute paths on the server."""

    max_read: int = OPENSSH_READ
    """A READ for more is answered with so many bytes."""
    sizes: dict[str, int | None] = field(default_factory=dict)
    """What STAT and FSTAT say instead of the truth; None: they say nothing about it."""
    times: dict[str, int | None] = field(default_factory=dict)
    """The same for the time of modification, in seconds since 1970."""
    forbidden: set[str] = field(default_factory=set)
    """STAT works, but OPEN is answered with SFTP_PERMISSION_DENIED."""
    gates: dict[str, Gate] = field(default_factory=dict)
    faults: dict[str, list[After | None]] = field(default_factory=dict)
    """Taken off the front, one for each OPEN; None stands for an OPEN without fault, and so it is
    after the last."""
    connection_faults: list[ConnectionFault | None] = field(default_factory=list)
    """The same, one for each connection."""
    max_connections: int | None = None
    """Surplus connections are closed before the banner."""
    refuse_auth: bool = False
    rate: int | None = None
    """Bytes a second that each connection sends, trickling."""
    banner_delay: float = 0
    """Seconds between the connection and the server's first byte."""
    silent: bool = False
    """Connections are accepted, and then not a byte comes."""
    version: str | None = None
    """The first line of each connection."""
    messages: dict[int, bytes] = field(default_factory=dict)
    """What is sent instead of each SSH message of a type (RFC 4250, section 4.1)."""
    answers: dict[int, Callable[[Any, int], None]] = field(default_factory=dict)
    """What answers each SFTP request of a type: it gets the channel and the request's number."""


class Log:
    """What all connections together have done so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._operations: list[Operation] = []
        self._sent: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._peak: Counter[str] = Counter()
        self._peak_of_all = 0

    @property
    def operations(self) -> list[Operation]:
        """In the order of arrival."""
        with self._lock:
            return list(self._operations)

    def sent(self, path: str | None = None) -> int:
        """Bytes of READ answers, those included that the client has not got yet."""
        with self._lock:
            return self._sent.total() if path is None else self._sent[path]

    def open(self, path: str | None = None) -> int:
        """Handles that are open now."""
        with self._lock:
            return self._open.total() if path is None else self._open[path]

    def peak(self, path: str | None = None) -> int:
        """The most handles that were open at one time, of a file or of all."""
        with self._lock:
            return self._peak_of_all if path is None else self._peak[path]

    def add(self, operation: Operation) -> None:
        with self._lock:
            self._operations.append(operation)

    def add_sent(self, path: str, count: int) -> None:
        with self._lock:
            self._sent[path] += count

    def add_open(self, path: str, change: int) -> None:
        with self._lock:
            self._open[path] += change
            self._peak[path] = max(self._peak[path], self._open[path])
            self._peak_of_all = max(self._peak_of_all, self._open.total())


@dataclass(frozen=True)
class Site:
    """What is served, which all connections share."""

    root: Path
    home: str
    behaviour: Behaviour
    log: Log
    errors: list[Exception]

    def absolute(self, path: str) -> str:
        """A path as the client names it; relative ones begin at home, as after a login."""
        return "/" + posixpath.normpath(posixpath.join(self.home, path)).lstrip("/")

    def place(self, path: str) -> Path:
        """Where the file of an absolute path really is."""
        return self.root / path.lstrip("/")


class Link(Protocol):
    """The channel over which a session is held."""

    @property
    def number(self) -> int:
        """That of the connection."""

    def wait(self, seconds: float | None = None) -> None:
        """Let time go by; raises GoneError as soon as the client is gone or the server stops."""

    def cut(self) -> None:
        """End the whole connection, after the client's side has got what was sent."""


def bug_is_raised_later(method: Method) -> Method:
    """Paramiko makes SFTP_FAILURE of every exception, and so hides what a test should see."""

    @wraps(method)
    def guarded(self: Any, *arguments: Any) -> Any:
        try:
            return method(self, *arguments)
        except Exception as error:
            if not isinstance(error, GoneError):
                self.site.errors.append(error)
            raise

    return cast("Method", guarded)


class Session(paramiko.SFTPServerInterface):
    """Answers what a client asks for by names; without a right to write."""

    def __init__(self, server: Any, site: Site, link: Link) -> None:
        super().__init__(server)
        self.site = site
        self._link = link

    def canonicalize(self, path: str) -> str:
        return self.site.absolute(path)

    def stat(self, path: str) -> Any:
        return self._stat("stat", path)

    def lstat(self, path: str) -> Any:
        return self._stat("lstat", path)

    @bug_is_raised_later
    def open(self, path: str, flags: int, attr: object) -> Any:
        site, path = self.site, self.site.absolute(path)
        site.log.add(Operation(self._link.number, "open", path))
        if path in site.behaviour.forbidden or flags != os.O_RDONLY:
            return SFTP_PERMISSION_DENIED
        place = site.place(path)
        try:
            if stat.S_ISFIFO(place.stat().st_mode):
                self._link.wait()  # As OpenSSH does, until somebody opens its other end.
            descriptor = os.open(place, os.O_RDONLY)
        except (OSError, ValueError) as error:
            return _code(error)
        faults = site.behaviour.faults.get(path)
        return Handle(site, self._link, path, descriptor, faults.pop(0) if faults else None)

    @bug_is_raised_later
    def _stat(self, kind: Kind, path: str) -> Any:
        path = self.site.absolute(path)
        self.site.log.add(Operation(self._link.number, kind, path))
        try:
            found = self.site.place(path).stat(follow_symlinks=kind != "lstat")
        except (OSError, ValueError) as error:
            return _code(error)
        return _attributes(found, path, self.site.behaviour)


class Handle(paramiko.SFTPHandle):
    """A file that a client has opened for reading."""

    def __init__(
        self, site: Site, link: Link, path: str, descriptor: int, fault: After | None
    ) -> None:
        super().__init__()
        self.site = site
        self._link = link
        self._path = path
        self._descriptor = descriptor
        self._fault = fault
        self._given = 0
        self._closed = False
        site.log.add_open(path, 1)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)
            self.site.log.add_open(self._path, -1)

    @bug_is_raised_later
    def stat(self) -> Any:
        self.site.log.add(Operation(self._link.number, "fstat", self._path))
        return _attributes(os.fstat(self._descriptor), self._path, self.site.behaviour)

    @bug_is_raised_later
    def read(self, offset: int, length: int) -> Any:
        site = self.site
        site.log.add(Operation(self._link.number, "read", self._path, offset, length))
        size = min(length, site.behaviour.max_read)
        if self._fault is not None:
            left = self._fault.count - self._given
            if left <= 0:
                return self._meet(self._fault)
            size = min(size, left)
        gate = site.behaviour.gates.get(self._path)
        if gate is not None and not gate.is_open:
            at, stop = self._given, gate.after
            if isinstance(gate, OffsetGate):
                at, stop = offset, gate.offset
            if at == stop:
                # All that a gate asks of an exchange is to wait.
                gate.hold(cast("Exchange", self._link))
            elif at < stop:
                size = min(size, stop - at)
        try:
            data = os.pread(self._descriptor, size, offset)
        except OSError as error:
            return _code(error)
        self._given += len(data)
        site.log.add_sent(self._path, len(data))
        return data or SFTP_EOF

    def _meet(self, fault: After) -> Any:
        match fault.then:
            case "cut":
                self._link.cut()
                raise GoneError
            case "stall":
                self._link.wait()
            case "end":
                return SFTP_EOF
        return SFTP_FAILURE


def _attributes(found: os.stat_result, path: str, behaviour: Behaviour) -> Any:
    attributes = paramiko.SFTPAttributes.from_stat(found)
    attributes.st_size = behaviour.sizes.get(path, found.st_size)
    attributes.st_mtime = behaviour.times.get(path, int(found.st_mtime))
    return attributes


def _code(error: OSError | ValueError) -> int:
    if isinstance(error, OSError) and error.errno is not None:
        return paramiko.SFTPServer.convert_errno(error.errno)
    return SFTP_NO_SUCH_FILE  # No file can have such a name.
