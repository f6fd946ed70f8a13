"""The server's lies and failures, as a client sees them."""

import http.client
import socket
import ssl
import threading
import time

import pytest

from tests.conftest import CertificateAuthority
from tests.crawl import wait_for
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Exchange
from tests.servers.faults import (
    Close,
    ExtraBytes,
    Headers,
    IgnoreRange,
    NoContentLength,
    Normal,
    Reset,
    Respond,
    ShortRange,
    Stall,
    Status,
    WrongBytes,
    WrongContentRange,
)
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Gate, Resource

CONTENT = Content(3 << 20, seed=2)
SIZE = CONTENT.size


def fetch(origin: Origin, range_: str | None = None) -> tuple[bytes, bytes, bool]:
    """Head and body as they come until the connection ends, and whether it ended with RST."""
    lines = ["GET /a HTTP/1.1", "Host: a", "Connection: close", ""]
    if range_ is not None:
        lines.insert(1, f"Range: bytes={range_}")
    received = bytearray()
    with socket.create_connection(("127.0.0.1", origin.port), 10) as client:
        client.sendall("\r\n".join([*lines, ""]).encode())
        try:
            while data := client.recv(1 << 16):
                received += data
            reset = False
        except ConnectionResetError:
            reset = True
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    return head, body, reset


def serve(origin: Origin, *faults: Fault) -> None:
    origin.add("/a", Resource(CONTENT, faults=list(faults)))


@pytest.mark.parametrize("after", [0, 1, 300_000, SIZE])
def test_reset(origin: Origin, after: int) -> None:
    serve(origin, Reset(after))
    head, body, reset = fetch(origin)
    assert head.startswith(b"HTTP/1.1 200 ")
    assert body == CONTENT.read(0, after)
    assert reset
    assert origin.requests[0].sent == after


@pytest.mark.parametrize("after", [0, 1, 300_000, SIZE])
def test_close(origin: Origin, after: int) -> None:
    serve(origin, Close(after))
    head, body, reset = fetch(origin, "0-")
    assert head.startswith(b"HTTP/1.1 206 ")
    assert body == CONTENT.read(0, after)
    assert not reset


def test_ends_before_the_head(origin: Origin) -> None:
    serve(origin, Reset(None), Close(None))
    assert fetch(origin) == (b"", b"", True)
    assert fetch(origin) == (b"", b"", False)
    assert [request.status for request in origin.requests] == [None, None]


def test_faults_come_one_by_one_and_then_no_more(origin: Origin) -> None:
    serve(origin, Normal(), Status(503, {"Retry-After": "1"}, b"busy"))
    origin.fail("/a", Status(403))
    heads = [fetch(origin)[0].split(b"\r\n") for _ in range(4)]
    assert [head[0][9:12] for head in heads] == [b"200", b"503", b"403", b"200"]
    assert b"Retry-After: 1" in heads[1]
    assert b"Content-Length: 4" in heads[1]


@pytest.mark.parametrize("after", [None, 0, 1000])
def test_stall_lasts_until_the_client_goes(origin: Origin, after: int | None) -> None:
    serve(origin, Stall(after))
    with socket.create_connection(("127.0.0.1", origin.port), 10) as client:
        client.sendall(b"GET /a HTTP/1.1\r\n\r\n")
        wait_for(lambda: origin.active("/a") and origin.sent("/a") == (after or 0))
        assert not origin.requests[0].ended
    wait_for(lambda: origin.requests[0].ended)


def test_short_range(origin: Origin) -> None:
    serve(origin, ShortRange(10))
    head, body, _ = fetch(origin, "100-299")
    assert f"Content-Range: bytes 100-109/{SIZE}".encode() in head
    assert b"Content-Length: 10" in head
    assert body == CONTENT.read(100, 110)


def test_wrong_content_range(origin: Origin) -> None:
    serve(origin, WrongContentRange("bytes 7-16/20"), WrongContentRange(None))
    head, body, _ = fetch(origin, "100-109")
    assert b"Content-Range: bytes 7-16/20" in head
    assert body == CONTENT.read(100, 110)
    assert b"Content-Range" not in fetch(origin, "100-109")[0]


def test_ignored_range(origin: Origin) -> None:
    serve(origin, IgnoreRange())
    head, body, _ = fetch(origin, "100-109")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert len(body) == SIZE


def test_extra_bytes(origin: Origin) -> None:
    serve(origin, ExtraBytes(5))
    head, body, _ = fetch(origin)
    assert f"Content-Length: {SIZE}\r\n".encode() in head + b"\r\n"
    assert body == CONTENT.read(0, SIZE) + bytes(5)


def test_no_content_length(origin: Origin) -> None:
    serve(origin, NoContentLength(), NoContentLength(after=10))
    head, body, _ = fetch(origin)
    assert b"Content-Length" not in head
    assert b"Connection: close" in head
    assert len(body) == SIZE
    assert fetch(origin)[1] == CONTENT.read(0, 10)


def test_other_headers(origin: Origin) -> None:
    serve(origin, Headers({"ETag": '"new"', "Last-Modified": None, "Content-Length": "1"}))
    head, body, _ = fetch(origin)
    assert b'ETag: "new"' in head
    assert b"Content-Length: 1" in head
    assert b"Last-Modified" not in head
    assert len(body) == SIZE


def test_wrong_bytes(origin: Origin) -> None:
    serve(origin, WrongBytes(), WrongBytes(Bytes(b"x" * 200)))
    assert len(fetch(origin)[1]) == SIZE
    assert fetch(origin, "100-109")[1] == b"x" * 10


def test_any_answer_at_all(origin: Origin) -> None:
    def answer(exchange: Exchange) -> None:
        assert exchange.range == (5, None)
        exchange.send_head(299, {"Content-Length": "9"}, reason="Strange")
        exchange.send(b"abc")
        exchange.reset()

    serve(origin, Respond(answer))
    assert fetch(origin, "5-") == (b"HTTP/1.1 299 Strange\r\nContent-Length: 9", b"abc", True)
    assert origin.requests[0].sent == 3


def test_tls_ends_with_and_without_close_notify(
    tls_origin: Origin, certificate_authority: CertificateAuthority
) -> None:
    tls_origin.add("/a", Resource(CONTENT, faults=[NoContentLength(after=10), Close(10)]))
    context = certificate_authority.client_context()
    # Some builds of Python are told by default to take a cut for an end.
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    ends = []
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", tls_origin.port), 10)
        with context.wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        ) as client:
            client.sendall(b"GET /a HTTP/1.1\r\n\r\n")
            try:
                while client.recv(1 << 16):
                    pass
                ends.append("close_notify")
            except ssl.SSLError:
                ends.append("cut")
    assert ends == ["close_notify", "cut"]


def test_stop_ends_whatever_is_going_on(certificate_authority: CertificateAuthority) -> None:
    """Stalled, held, slow, unread, idle and silent connections, plain and over TLS."""
    before = threading.active_count()
    for server_context in (None, certificate_authority.server_context()):
        clients = []
        with Origin(server_context) as origin:
            origin.add("/a", Resource(CONTENT, faults=[Stall(10), Stall(None)]))
            origin.add("/held", Resource(CONTENT, gate=Gate(10)))
            origin.add("/slow", Resource(CONTENT, rate=1))
            origin.add("/unread", Content(1 << 40))
            silent = socket.create_connection(("127.0.0.1", origin.port))
            for path in ("/a", "/a", "/held", "/slow", "/unread", "/idle"):
                client: http.client.HTTPConnection
                if server_context is None:
                    client = http.client.HTTPConnection("127.0.0.1", origin.port)
                else:
                    context = certificate_authority.client_context()
                    client = http.client.HTTPSConnection("localhost", origin.port, context=context)
                client.request("GET", path)
                clients.append(client)
            wait_for(lambda: len(origin.requests) == 6 and origin.sent("/unread") > 0)
            started = time.monotonic()
        assert time.monotonic() - started < 1
        assert threading.active_count() == before
        for client in clients:
            client.close()
        silent.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", origin.port))
        origin.stop()
