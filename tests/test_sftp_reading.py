"""A file by SFTP, asked for ahead: whatever the order and the size of the answers."""

import struct
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paramiko.sftp import CMD_DATA, CMD_HANDLE, CMD_READ, CMD_STATUS, SFTP_EOF

from fetcher.errors import ProtocolError
from fetcher.handlers.sftp.protocol import MAX_MESSAGE, Connection
from fetcher.handlers.sftp.session import LEAST, REQUEST, _Reading

DATA = Random(1).randbytes(3_000_000)


class Read(NamedTuple):
    """A request."""

    number: int
    offset: int
    size: int


class Channel:
    """What is sent, and what is received instead of a server's answers.

    :param answer: gives bytes for those requests that it takes off the list; called whenever none
        are left.
    """

    def __init__(self, answer: Callable[[list[Read]], bytes]) -> None:
        self.reads: list[Read] = []
        self.most: int | None = None
        """Bytes that are received at a time."""
        self._open: list[Read] = []
        self._answer = answer
        self._coming = b""

    def settimeout(self, seconds: float | None) -> None: ...

    def sendall(self, message: bytes) -> None:
        kind, number = struct.unpack_from(">BI", message, 4)
        if kind == CMD_READ:
            read = Read(number, *struct.unpack(">QI", message[-12:]))
            self.reads.append(read)
            self._open.append(read)

    def recv(self, most: int) -> bytes:
        self._coming = self._coming or self._answer(self._open)
        if not self._coming:
            raise TimeoutError
        size = min(most, self.most or most)
        received, self._coming = self._coming[:size], self._coming[size:]
        return received

    def reading(self, start: int = 0, end: int | None = len(DATA)) -> _Reading:
        return _Reading(Connection(cast("Any", self)), b"handle", start, end)


def message(kind: int, number: int, body: bytes) -> bytes:
    return struct.pack(">IBI", 5 + len(body), kind, number) + body


def at_end(read: Read) -> bytes:
    return message(CMD_STATUS, read.number, struct.pack(">I", SFTP_EOF))


def data(read: Read, size: int | None = None) -> bytes:
    """A right answer, or a shorter one; behind the end none."""
    block = DATA[read.offset :][: read.size if size is None else size]
    if not block:
        return at_end(read)
    return message(CMD_DATA, read.number, struct.pack(">I", len(block)) + block)


def rest(reading: _Reading) -> bytes:
    blocks = []
    while block := reading.next_block():
        blocks.append(bytes(block))
    return b"".join(blocks)


@settings(max_examples=25)
@given(st.randoms(), st.integers(0, 9_999), st.none() | st.integers(10_000, len(DATA) + 10))
def test_answers_of_any_size_in_any_order(random: Random, start: int, end: int | None) -> None:
    def answer(reads: list[Read]) -> bytes:
        read = reads.pop(random.randrange(len(reads)))
        return data(read, random.choice([read.size, random.randint(1, read.size)]))

    channel = Channel(answer)
    channel.most = random.choice([None, 1000, 100_000])
    assert rest(channel.reading(start, end)) == DATA[start:end]
    assert end is None or max(read.offset + read.size for read in channel.reads) <= end


def test_one_short_answer_makes_no_small_requests() -> None:
    def answer(reads: list[Read]) -> bytes:
        read = reads.pop(0)
        return data(read, 10 if read is channel.reads[2] else None)

    channel = Channel(answer)
    assert rest(channel.reading()) == DATA
    small = [read for read in channel.reads if read.size < LEAST]
    assert len(small) <= 1, "none but the last"


def test_what_has_come_of_an_answer_does_not_wait_for_its_rest() -> None:
    coming = iter([113, 0, 0])
    channel = Channel(lambda reads: data(reads[0])[: next(coming)])
    reading = channel.reading()
    assert reading.next_block() == DATA[:100]
    assert not reading.goes_on(0.01)
    with pytest.raises(TimeoutError):
        reading.next_block()


@pytest.mark.parametrize("end_first", [True, False])
def test_bytes_behind_the_end(end_first: bool) -> None:
    """Nothing else tells where the size is not known."""

    def answer(reads: list[Read]) -> bytes:
        end, more, *others = map(at_end, reads)
        more = data(reads[1])
        reads.clear()
        return b"".join([end, more] if end_first else [more, end, *others])

    with pytest.raises(ProtocolError):
        rest(Channel(answer).reading(0, None))


@pytest.mark.parametrize(
    "answer",
    [
        lambda read: data(read, read.size + 1),
        lambda read: data(read._replace(number=999)),
        lambda read: data(read, 10) + data(read, 10),
        lambda read: message(CMD_DATA, read.number, struct.pack(">I", 11) + bytes(10)),
        lambda read: message(CMD_DATA, read.number, struct.pack(">I", 9) + bytes(10)),
        lambda read: message(CMD_DATA, read.number, struct.pack(">I", 1 << 31) + bytes(10)),
        lambda read: message(CMD_DATA, read.number, b"\0\0"),
        lambda read: message(CMD_HANDLE, read.number, b"\0\0\0\1h"),
        lambda read: message(CMD_STATUS, read.number, b"\0"),
        lambda read: message(CMD_STATUS, read.number, struct.pack(">II", 4, 99)),
        lambda read: bytes(100),
        lambda read: struct.pack(">IBI", 4, CMD_DATA, read.number) + bytes(100),
        lambda read: struct.pack(">IBI", MAX_MESSAGE + 1, CMD_DATA, read.number) + bytes(100),
        lambda read: b"\xff" * 100,
    ],
)
def test_answers_that_make_no_sense(answer: Callable[[Read], bytes]) -> None:
    with pytest.raises(ProtocolError):
        rest(Channel(lambda reads: answer(reads.pop(0))).reading())


def test_requests_are_as_large_as_servers_answer_them() -> None:
    channel = Channel(lambda reads: data(reads[0], min(reads.pop(0).size, 100_000)))
    assert rest(channel.reading()) == DATA
    assert channel.reads[0].size == REQUEST
    assert [read.size for read in channel.reads[-3:-1]] == [100_000] * 2
