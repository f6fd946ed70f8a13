"""The few messages of SFTP, version 3, that reading takes (draft-ietf-secsh-filexfer-02).

paramiko's own client can keep many reads in flight only for a whole file at a time, or from a
thread of its own for each batch; this one asks ahead as far as it is told to.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from paramiko import Channel

from fetcher.errors import ProtocolError

VERSION = 3
MAX_MESSAGE = 1 << 20
"""Bytes; larger ones are no answer to what is asked here."""

_RECEIVE = 1 << 20
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
        self._buffer = bytearray()
        self._last = 0
        self._unwanted: set[int] = set()

    def begin(self) -> None:
        """Agree on the version.

        :raises ProtocolError: the server speaks something else.
        """
        self._write(struct.pack(">BI", Kind.INIT, VERSION))
        answer = self._message()
        if answer[0] != Kind.VERSION:
            raise ProtocolError("what answers is no SFTP server")

    def stat(self, path: bytes) -> Attributes:
        """Links are followed.

        :raises StatusReply: there is no such file, or the like.
        """
        body = self._ask(Kind.STAT, _string(path), Kind.ATTRS)
        try:
            return _attributes(body)
        except struct.error as error:
            raise ProtocolError("the server's SFTP answer is cut short") from error

    def open(self, path: bytes) -> bytes:
        """A handle for reading.

        :raises StatusReply: it cannot be opened.
        """
        body = _string(path) + struct.pack(">II", _READ_ONLY, 0)
        return bytes(_unpacked(self._ask(Kind.OPEN, body, Kind.HANDLE)))

    def close(self, handle: bytes) -> None:
        """Give a handle back; the answer is not waited for."""
        self._unwanted.add(self._send(Kind.CLOSE, _string(handle)))

    def ask_read(self, handle: bytes, offset: int, size: int) -> int:
        """Ask for bytes; the number under which the answer will come."""
        return self._send(Kind.READ, _string(handle) + struct.pack(">QI", offset, size))

    def forget(self, number: int) -> None:
        """An answer that is not wanted any more when it comes."""
        self._unwanted.add(number)

    def next_data(self) -> tuple[int, memoryview | None]:
        """The next answer to :meth:`ask_read`: its number and bytes, None at the file's end.

        :raises StatusReply: the server cannot read.
        """
        while True:
            kind, number, body = self._answer()
            if number in self._unwanted:
                self._unwanted.discard(number)
            elif kind == Kind.DATA:
                return number, _unpacked(body)
            else:
                status = _status(kind, body)
                if status.code == Code.EOF:
                    return number, None
                raise status

    def _ask(self, kind: Kind, body: bytes, wanted: Kind) -> memoryview:
        sent = self._send(kind, body)
        while True:
            answered, number, answer = self._answer()
            if number in self._unwanted:
                self._unwanted.discard(number)
            elif number != sent:
                raise ProtocolError("the server answers what was not asked (SFTP)")
            elif answered == wanted:
                return answer
            else:
                raise _status(answered, answer)

    def _send(self, kind: Kind, body: bytes) -> int:
        self._last = (self._last + 1) & 0xFFFFFFFF
        self._write(struct.pack(">BI", kind, self._last) + body)
        return self._last

    def _write(self, message: bytes) -> None:
        self._channel.sendall(struct.pack(">I", len(message)) + message)

    def _answer(self) -> tuple[int, int, memoryview]:
        message = self._message()
        if len(message) < 5:
            raise ProtocolError("the server's SFTP answer is cut short")
        kind, number = struct.unpack_from(">BI", message)
        return kind, number, message[5:]

    def _message(self) -> memoryview:
        self._need(4)
        (length,) = struct.unpack_from(">I", self._buffer)
        if not 0 < length <= MAX_MESSAGE:
            raise ProtocolError("what answers is no SFTP server")
        self._need(4 + length)
        message = bytes(memoryview(self._buffer)[4 : 4 + length])
        del self._buffer[: 4 + length]
        return memoryview(message)

    def _need(self, size: int) -> None:
        while len(self._buffer) < size:
            data = self._channel.recv(_RECEIVE)
            if not data:
                raise EOFError
            self._buffer += data


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _unpacked(body: memoryview) -> memoryview:
    """The string that a body begins with."""
    if len(body) < 4 or len(body) - 4 < (length := struct.unpack_from(">I", body)[0]):
        raise ProtocolError("the server's SFTP answer is cut short")
    return body[4 : 4 + length]


def _status(kind: int, body: memoryview) -> StatusReply:
    if kind != Kind.STATUS or len(body) < 4:
        raise ProtocolError("the server answers what was not asked (SFTP)")
    (code,) = struct.unpack_from(">I", body)
    # Some servers leave out the words.
    words = bytes(_unpacked(body[4:])).decode("utf-8", "replace") if len(body) >= 8 else ""
    return StatusReply(code, words or f"SFTP status {code}")


def _attributes(body: memoryview) -> Attributes:
    (flags,) = struct.unpack_from(">I", body)
    at, size, mode, modified = 4, None, None, None
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
    return Attributes(size, mode, modified)
