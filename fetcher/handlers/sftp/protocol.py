"""The few messages of SFTP, version 3, that reading takes (draft-ietf-secsh-filexfer-02).

paramiko's own client can keep many reads in flight only for a whole file at a time, or from a
thread of its own for each batch; this one asks ahead as far as it is told to.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from fetcher.errors import ProtocolError

if TYPE_CHECKING:
    from paramiko import Channel

VERSION = 3
MAX_MESSAGE = 1 << 20
"""Bytes; larger ones are no answer to what is asked here."""

_RECEIVE = 16 << 20
"""Bytes taken from the channel at a time: all there are, whose rest it would have to move."""
_READ_ONLY = 1
_SIZE, _OWNER, _PERMISSIONS, _TIMES = 1, 2, 4, 8


class Kind(IntEnum):
    """Message types, section 3."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    STAT = 17
    STATUS = 101
    HANDLE = 102
    DATA = 103
    ATTRS = 105


class Code(IntEnum):
    """Status codes, section 7."""

    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    NO_CONNECTION = 6
    CONNECTION_LOST = 7


class StatusReply(Exception):  # noqa: N818 - an answer, not an error
    """The server answered with a status instead of what was asked for.

    :param code: see :class:`Code`.
    :param words: the server's own.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


@dataclass(frozen=True)
class Attributes:
    """Of a file, section 5; None for what the server leaves out.

    :param size: bytes.
    :param mode: type and permission bits, as in ``st_mode``.
    :param modified: seconds since 1970.
    """

    size: int | None
    mode: int | None
    modified: int | None


class Connection:
    """Requests and answers over a channel, in any order.

    :param channel: with the subsystem ``sftp`` at its other end.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._received = memoryview(b"")
        self._last = 0
        self._unwanted: set[int] = set()
        self._current = 0
        """Number of the answer whose bytes are coming in ..."""
        self._left = 0
        """... and how many of them are still to come."""

    def begin(self) -> None:
        """Agree on the version.

        :raises ProtocolError: the server speaks something else.
        """
        self._write(struct.pack(">BI", Kind.INIT, VERSION))
        kind, _, rest = self._answer()
        if kind != Kind.VERSION:
            raise _no_server()
        self._take(rest)

    def stat(self, path: bytes) -> Attributes:
        """Links are followed.

        :raises StatusReply: there is no such file, or the like.
        """
        return _attributes(self._ask(Kind.STAT, _string(path), Kind.ATTRS))

    def open(self, path: bytes) -> bytes:
        """A handle for reading.

        :raises StatusReply: it cannot be opened.
        """
        body = _string(path) + struct.pack(">II", _READ_ONLY, 0)
        return _unpacked(self._ask(Kind.OPEN, body, Kind.HANDLE))

    def close(self, handle: bytes) -> None:
        """Give a handle back; the answer is not waited for."""
        self._unwanted.add(self._send(Kind.CLOSE, _string(handle)))

    def ask_read(self, handle: bytes, offset: int, size: int) -> int:
        """Ask for bytes; the number under which the answer will come."""
        return self._send(Kind.READ, _string(handle) + struct.pack(">QI", offset, size))

    def forget(self, number: int) -> None:
        """An answer that is not wanted any more when it comes."""
        if not (self._left and number == self._current):
            self._unwanted.add(number)

    def wait(self, seconds: float) -> bool:
        """Whether something of an answer is there, or comes within that time."""
        if not self._received:
            self._channel.settimeout(seconds)
            try:
                self._received = memoryview(self._channel.recv(_RECEIVE))
            except TimeoutError:
                return False
            finally:
                self._channel.settimeout(None)
        return bool(self._received)

    def next_data(self) -> tuple[int, memoryview, bool]:
        """What comes next of the answers to :meth:`ask_read`, a whole one or a piece of it.

        :return: its number, bytes, and whether that is all of it; no bytes at the file's end.
        :raises StatusReply: the server cannot read.
        """
        if not self._left:
            kind, number, rest = self._wanted()
            if kind != Kind.DATA or rest < 4:
                status = _status(kind, self._take(rest))
                if status.code == Code.EOF:
                    return number, memoryview(b""), True
                raise status
            (size,) = struct.unpack(">I", self._take(4))
            if size != rest - 4:
                raise _cut_short()
            if not size:
                return number, memoryview(b""), True
            self._current, self._left = number, size
        piece = self._piece(self._left)
        self._left -= len(piece)
        return self._current, piece, not self._left

    def _ask(self, kind: Kind, body: bytes, wanted: Kind) -> bytes:
        sent = self._send(kind, body)
        answered, number, rest = self._wanted()
        if number != sent:
            raise _unasked()
        answer = self._take(rest)
        if answered != wanted:
            raise _status(answered, answer)
        return answer

    def _wanted(self) -> tuple[int, int, int]:
        """The next answer that somebody waits for; see :meth:`_answer`."""
        while True:
            kind, number, rest = self._answer()
            if number not in self._unwanted:
                return kind, number, rest
            self._unwanted.discard(number)
            self._skip(rest)

    def _answer(self) -> tuple[int, int, int]:
        """Type and number of the next message, and how many bytes of it follow."""
        self._skip(self._left)
        self._left = 0
        length, kind, number = struct.unpack(">IBI", self._take(9))
        if not 5 <= length <= MAX_MESSAGE:
            raise _no_server()
        return kind, number, length - 5

    def _send(self, kind: Kind, body: bytes) -> int:
        self._last = (self._last + 1) & 0xFFFFFFFF
        self._write(struct.pack(">BI", kind, self._last) + body)
        return self._last

    def _write(self, message: bytes) -> None:
        # Where the connection is lost, reading says so, after all that has come before.
        with suppress(OSError, EOFError):
            self._channel.sendall(struct.pack(">I", len(message)) + message)

    def _take(self, size: int) -> bytes:
        data = bytes(self._piece(size)) if size else b""
        while len(data) < size:
            data += self._piece(size - len(data))
        return data

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._piece(size))

    def _piece(self, most: int) -> memoryview:
        """The next bytes as they came: to join them would be one more copy of all that is read."""
        if not self._received:
            data = self._channel.recv(_RECEIVE)
            if not data:
                raise EOFError
            self._received = memoryview(data)
        piece, self._received = self._received[:most], self._received[most:]
        return piece


def _no_server() -> ProtocolError:
    return ProtocolError("what answers is no SFTP server")


def _unasked() -> ProtocolError:
    return ProtocolError("the server answers what was not asked (SFTP)")


def _cut_short() -> ProtocolError:
    return ProtocolError("the server's SFTP answer is cut short")


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _unpacked(body: bytes) -> bytes:
    """The string that a body begins with."""
    if len(body) < 4 or len(body) - 4 < (length := struct.unpack_from(">I", body)[0]):
        raise _cut_short()
    return body[4 : 4 + length]


def _status(kind: int, body: bytes) -> StatusReply:
    if kind != Kind.STATUS or len(body) < 4:
        raise _unasked()
    (code,) = struct.unpack_from(">I", body)
    # Some servers leave out the words.
    words = _unpacked(body[4:]).decode("utf-8", "replace") if len(body) >= 8 else ""
    return StatusReply(code, words or f"SFTP status {code}")


def _attributes(body: bytes) -> Attributes:
    size, mode, modified, at = None, None, None, 4
    try:
        (flags,) = struct.unpack_from(">I", body)
        if flags & _SIZE:
            (size,) = struct.unpack_from(">Q", body, at)
            at += 8
        if flags & _OWNER:
            at += 8
        if flags & _PERMISSIONS:
            (mode,) = struct.unpack_from(">I", body, at)
            at += 4
        if flags & _TIMES:
            (modified,) = struct.unpack_from(">I", body, at + 4)
    except struct.error as error:
        raise _cut_short() from error
    return Attributes(size, mode, modified)
