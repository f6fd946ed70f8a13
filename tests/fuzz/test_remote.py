"""What FTP and SFTP servers say."""

import ftplib
import io
import socket
import struct
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from fetcher.errors import ProtocolError
from fetcher.handlers.blocking.sockets import Sockets
from fetcher.handlers.ftp.client import FTPClient
from fetcher.handlers.sftp.protocol import Code, Connection, Kind, StatusReply
from fetcher.rules.names import CONTROL
from fetcher.rules.replies import Facts, reply_to, shown_reason
from tests.fuzz.mutations import fuzz, mutated

# --- replies in HTTP's terms --------------------------------------------------------------------

MODIFIED = 1445412480
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
TEXTS = ["", " ", "-", "=", ",", "0", "*", "\0", "\x1b[2J", "\r\n", "\u202e", "\xa0", "9" * 30]


@fuzz
@given(
    mutated(st.builds("bytes={}-{}".format, st.integers(0, 30), st.integers(0, 30)), TEXTS),
    mutated(st.just(DATE), TEXTS, most=1),
    st.none() | st.integers(0, 20),
    st.none() | st.just(MODIFIED) | st.integers(-(1 << 70), 1 << 70),
    st.booleans(),
    st.booleans(),
)
def test_ranges_of_a_file(
    asked: str, date: str, size: int | None, modified: int | None, ranges: bool, runs_on: bool
) -> None:
    headers = {"Range": asked, "If-Range": date}
    reply = reply_to(headers, Facts(size, modified), ranges=ranges, runs_on=runs_on)
    if reply.status == 206:
        assert ranges
        assert size is not None
        assert reply.end is not None
        assert 0 <= reply.start < reply.end <= size
        assert reply.headers["content-range"] == f"bytes {reply.start}-{reply.end - 1}/{size}"
        assert date == reply.headers.get("last-modified", date)
    else:
        assert reply.status in (200, 416)
        assert reply.start == 0


@fuzz
@given(mutated(st.sampled_from(["550 no such file Hunter2", "\xe9" * 300]), TEXTS, most=5))
def test_words_of_a_server(text: str) -> None:
    shown = shown_reason(text, ("Hunter2",))
    assert not CONTROL.search(shown)
    assert "\n" not in shown
    assert "Hunter2" not in shown
    assert len(shown) <= 201


# --- FTP ----------------------------------------------------------------------------------------

BYTES = [
    *(b"", b"\0", b"\r\n", b"\n", b"\r", b" ", b"-", b"(", b")", b"|", b",", b"\xff", b"\xff\xf4"),
    *(b"999", b"-1", b"227 ", b"229 ", b"150 ", b"x" * 9000, b"220-\r\n" * 30, b"1_0"),
]
replies = mutated(
    st.lists(
        st.sampled_from(
            [
                b"220 welcome\r\n",
                b"220-welcome\r\n more\r\n220 end\r\n",
                b"227 Entering Passive Mode (127,0,0,1,4,1).\r\n",
                b"229 Entering Extended Passive Mode (|||1025|)\r\n",
                b"213 1234\r\n",
                b"350 restarting\r\n",
                b"421 bye\r\n",
                b"500 what\r\n",
                b"550-no\r\n550 such file\r\n",
            ]
        ),
        min_size=1,
        max_size=4,
    ).map(b"".join),
    BYTES,
)


class Peer(socket.socket):
    """One end of a pair of sockets, as if the other were at an address."""

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 21


class Client(FTPClient):
    """A client whose server has said all that it will."""

    def __init__(self, said: bytes) -> None:
        super().__init__(Sockets(5), None)
        mine, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(said)
        self.af = socket.AF_INET
        self._read_from(Peer(fileno=mine.detach()))

    def putcmd(self, line: str) -> None:
        """Nobody listens any more."""


@fuzz
@given(replies)
def test_ftp_replies(said: bytes) -> None:
    client = Client(said)
    try:
        while True:
            try:
                reply = client.getresp()
                assert reply[:1] in ("1", "2", "3")
                reply = client.expect("NOOP", "213", "220")
                port = client._passive_port()
                assert 0 < port < 1 << 16
            except (ftplib.error_temp, ftplib.error_perm):
                continue
    except EOFError:  # Also OutOfStepError: the connection is given up.
        pass
    finally:
        client.close()


# --- SFTP ---------------------------------------------------------------------------------------

WORDS = [b"", b"\0", b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1", b"a" * 40]


def message(kind: int, body: bytes, slip: int) -> bytes:
    """With a length that may be a little wrong."""
    return struct.pack(">IB", max(0, 1 + len(body) + slip), kind) + body


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


answer_bodies = st.builds(
    lambda number, rest: struct.pack(">I", number) + rest,
    st.integers(0, 5),
    st.one_of(
        st.binary(max_size=20).map(string),
        st.builds(
            lambda code, words: struct.pack(">I", code) + string(words),
            st.sampled_from(sorted(Code)),
            st.binary(max_size=10),
        ),
        st.integers(0, 0xFFFFFFFF).map(lambda flags: struct.pack(">IQII", flags & 15, 1, 2, 3)),
        st.binary(max_size=10),
    ),
)
conversations = mutated(
    st.builds(
        lambda version, answers: version + b"".join(answers),
        st.just(message(Kind.VERSION, struct.pack(">I", 3), 0)),
        st.lists(
            st.builds(
                message,
                st.sampled_from(sorted(Kind)),
                answer_bodies,
                st.sampled_from([0, 0, 0, 1, -1]),
            ),
            max_size=5,
        ),
    ),
    WORDS,
)


class Channel:
    """Gives what a server has said, in pieces, and then its end."""

    def __init__(self, said: bytes, piece: int) -> None:
        self._said = io.BytesIO(said)
        self._piece = piece

    def settimeout(self, seconds: float | None) -> None: ...

    def sendall(self, message: bytes) -> None: ...

    def recv(self, most: int) -> bytes:
        return self._said.read(min(most, self._piece))


@fuzz
@given(conversations, st.sampled_from([1, 7, 1 << 20]))
def test_sftp_answers(said: bytes, piece: int) -> None:
    connection = Connection(cast("Any", Channel(said, piece)))
    steps = (
        connection.begin,
        lambda: connection.stat(b"a"),
        lambda: connection.open(b"a"),
        lambda: connection.close(b"h"),
        lambda: connection.ask_read(b"h", 0, 10),
    )
    try:
        for step in steps:
            try:
                step()
            except StatusReply as reply:
                assert reply.words
        while True:
            try:
                number, data, _ = connection.next_data()
            except StatusReply:
                continue
            assert number >= 0
            assert len(data) <= len(said)
    except ProtocolError as error:
        assert error.message.isprintable()
    except EOFError:
        pass
