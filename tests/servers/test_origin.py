"""The honest half of the server; its lies are in `test_faults`."""

import http.client
import socket
import ssl
import threading
import time
from email.utils import formatdate

import pytest

from tests.conftest import CertificateAuthority
from tests.crawl import wait_for
from tests.servers.content import Bytes, Content
from tests.servers.exchange import parse_range
from tests.servers.faults import Redirect, Respond, Status
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource

CONTENT = Content((1 << 20) + 33, seed=1)
WHOLE = CONTENT.read(0, CONTENT.size)
SIZE = CONTENT.size
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


def connect(origin: Origin) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", origin.port, timeout=10)


def get(
    origin: Origin, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = connect(origin)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        connection.request(method, path, headers=names)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_a_whole_file_and_what_is_said_of_it(origin: Origin) -> None:
    url = origin.add("/a.bin", CONTENT)
    assert url == origin.url("/a.bin") == f"http://127.0.0.1:{origin.port}/a.bin"
    other = origin.url("/x", host="localhost", userinfo="u:p")
    assert other == f"http://u:p@localhost:{origin.port}/x"
    response, body = get(origin, "/a.bin")
    assert (response.status, response.reason) == (200, "OK")
    assert body == WHOLE
    assert dict(response.getheaders()) == {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(SIZE),
        "ETag": f'"{CONTENT.tag}"',
        "Last-Modified": DATE,
        "Accept-Ranges": "bytes",
    }


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-99", 5, 100),
        ("bytes=100-", 100, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=-{SIZE + 1}", 0, SIZE),
        (f"bytes=9-{SIZE + 9}", 9, SIZE),
    ],
)
def test_ranges(origin: Origin, asked: str, start: int, end: int) -> None:
    origin.add("/a.bin", CONTENT)
    response, body = get(origin, "/a.bin", Range=asked)
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(end - start)
    assert body == WHOLE[start:end]


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 1}", "bytes=-0"])
def test_ranges_of_no_bytes(origin: Origin, asked: str) -> None:
    origin.add("/a.bin", CONTENT)
    response, body = get(origin, "/a.bin", Range=asked)
    assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{SIZE}")
    assert body == b""


def test_headers_that_are_no_single_range() -> None:
    for header in ("", "bytes=-", "bytes=9-5", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b"):
        assert parse_range(header) is None
    assert parse_range("bytes=0-1") == (0, 1)
    assert parse_range("bytes=4-") == (4, None)
    assert parse_range("bytes=-4") == (None, 4)


def test_an_empty_file(origin: Origin) -> None:
    origin.add("/a", b"")
    origin.add("/b", Resource(Bytes(b""), empty_range=200))
    assert get(origin, "/a")[0].status == 200
    refused = get(origin, "/a", Range="bytes=0-")[0]
    assert (refused.status, refused.headers["Content-Range"]) == (416, "bytes */0")
    accepted = get(origin, "/b", Range="bytes=0-")[0]
    assert (accepted.status, accepted.headers["Content-Length"]) == (200, "0")


def test_a_server_without_ranges_or_validators(origin: Origin) -> None:
    plain = Resource(CONTENT, ranges=False, etag=None, last_modified=None, content_type=None)
    origin.add("/a.bin", plain)
    response, body = get(origin, "/a.bin", Range="bytes=5-9")
    assert response.status == 200
    assert dict(response.getheaders()) == {"Content-Length": str(SIZE)}
    assert body == WHOLE


@pytest.mark.parametrize(
    ("etag", "given", "status"),
    [
        ('"x"', '"x"', 206),
        ('"x"', '"y"', 200),
        ('W/"x"', 'W/"x"', 200),
        ('"x"', 'W/"x"', 200),
        ('"x"', DATE, 206),
        ('"x"', formatdate(1_700_000_001, usegmt=True), 200),
        (None, '"x"', 200),
    ],
)
def test_if_range(origin: Origin, etag: str | None, given: str, status: int) -> None:
    origin.add("/a.bin", Resource(CONTENT, etag=etag))
    assert get(origin, "/a.bin", Range="bytes=5-9", If_Range=given)[0].status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_None_Match": '"x"'}, 304),
        ({"If_None_Match": '"y", W/"x"'}, 304),
        ({"If_None_Match": "*"}, 304),
        ({"If_None_Match": '"y"'}, 200),
        ({"If_Modified_Since": DATE}, 304),
        ({"If_Modified_Since": formatdate(1_600_000_000, usegmt=True)}, 200),
        ({"If_Modified_Since": "yesterday"}, 200),
        ({"If_None_Match": '"y"', "If_Modified_Since": DATE}, 200),
    ],
)
def test_conditional_requests(origin: Origin, headers: dict[str, str], status: int) -> None:
    origin.add("/a.bin", Resource(CONTENT, etag='"x"'))
    response, body = get(origin, "/a.bin", **headers)
    assert response.status == status
    assert len(body) == (SIZE if status == 200 else 0)


def test_head_is_recorded_and_has_no_body(origin: Origin) -> None:
    origin.add("/a.bin", CONTENT)
    response, body = get(origin, "/a.bin", method="HEAD", Range="bytes=0-1")
    assert (response.status, response.headers["Content-Length"], body) == (200, str(SIZE), b"")
    assert [(request.method, request.sent) for request in origin.requests] == [("HEAD", 0)]


def test_a_chunked_body(origin: Origin) -> None:
    origin.add("/a.bin", Resource(CONTENT, chunked=True))
    response, body = get(origin, "/a.bin")
    assert "Content-Length" not in response.headers
    assert body == WHOLE
    assert get(origin, "/a.bin", Range="bytes=1-3")[1] == WHOLE[1:4]
    assert origin.sent() == SIZE + 3


def test_one_connection_serves_many_requests_and_the_log_tells(origin: Origin) -> None:
    origin.add("/a.bin", Resource(CONTENT, headers={"X-More": "1"}))
    connection = connect(origin)
    before = time.monotonic()
    for path in ("/a.bin?signature=1", "/a.bin", "/nothing"):
        connection.request("GET", path, headers={"Range": "bytes=0-9", "X-Given": "a:b"})
        connection.getresponse().read()
    connection.close()
    assert origin.connections == 1
    first, second, third = origin.requests
    assert (first.path, first.target) == ("/a.bin", "/a.bin?signature=1")
    assert (first.method, first.range, first.status, first.sent) == ("GET", (0, 9), 206, 10)
    assert first.headers["x-given"] == "a:b"
    assert first.connection == second.connection == third.connection
    assert before < first.arrived < second.arrived < third.arrived < time.monotonic()
    assert third.status == 404
    assert origin.requests_for("/a.bin") == [first, second]
    assert origin.requests_for("/a.bin?signature=1") == [first]
    assert all(request.ended for request in origin.requests)


def test_connections_that_are_not_kept(origin: Origin) -> None:
    origin.add("/a", Resource(Bytes(b"a"), keep_alive=False))
    assert get(origin, "/a")[0].headers["Connection"] == "close"
    for head in (b"GET /a HTTP/1.0\r\n\r\n", b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", origin.port), 10) as client:
            client.sendall(head)
            received = b"".join(iter(lambda: client.recv(4096), b""))
        assert received.endswith(b"\r\n\r\na")


def test_what_is_no_request_gets_400(origin: Origin) -> None:
    with socket.create_connection(("127.0.0.1", origin.port), 10) as client:
        client.sendall(b"HELLO\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_it_stands_in_for_a_proxy(origin: Origin) -> None:
    origin.add("/a", b"a")
    assert get(origin, "http://example.org/a?b")[1] == b"a"
    assert origin.requests[0].target == "http://example.org/a?b"


def test_resources_come_change_and_go(origin: Origin) -> None:
    origin.add("/a", b"old")
    origin.replace("/a", b"new")
    origin.add("/a?b=1", b"with its query")
    origin.add("/there", Redirect(origin.url("/a"), 307))
    assert get(origin, "/a")[1] == b"new"
    assert get(origin, "/a?b=1")[1] == b"with its query"
    there = get(origin, "/there")[0]
    assert (there.status, there.headers["Location"]) == (307, origin.url("/a"))
    origin.remove("/a")
    assert get(origin, "/a")[0].status == 404


def test_a_script_decides_by_the_request(origin: Origin) -> None:
    def ask_for_password(exchange: object) -> Status | None:
        del exchange
        return None if len(origin.requests) > 1 else Status(401, {"WWW-Authenticate": "Basic"})

    origin.add("/a", Resource(Bytes(b"secret"), script=ask_for_password))
    assert get(origin, "/a")[0].status == 401
    assert get(origin, "/a")[1] == b"secret"


def test_a_gate_holds_answers_until_it_is_opened(origin: Origin) -> None:
    gate = Gate(after=1000)
    origin.add("/a.bin", Resource(CONTENT, gate=gate))
    bodies: list[bytes] = []
    clients = [
        threading.Thread(target=lambda: bodies.append(get(origin, "/a.bin")[1])) for _ in range(3)
    ]
    for client in clients:
        client.start()
    gate.wait_until_held(3)
    assert [request.sent for request in origin.requests] == [1000] * 3
    assert origin.active("/a.bin") == 3
    origin.replace("/a.bin", b"other")
    gate.open()
    for client in clients:
        client.join()
    assert bodies == [WHOLE] * 3
    assert (origin.active("/a.bin"), origin.peak("/a.bin")) == (0, 3)


def test_no_more_answers_at_a_time_than_allowed(origin: Origin) -> None:
    gate = Gate()
    origin.add("/a.bin", Resource(CONTENT, gate=gate, max_parallel=1))
    first = threading.Thread(target=get, args=(origin, "/a.bin"))
    first.start()
    gate.wait_until_held()
    assert get(origin, "/a.bin")[0].status == 503
    gate.open()
    first.join()
    assert get(origin, "/a.bin")[0].status == 200
    assert origin.peak("/a.bin") == 1


def test_a_rate_is_kept_to(origin: Origin) -> None:
    origin.add("/a.bin", Resource(CONTENT, rate=4 * SIZE))
    started = time.monotonic()
    assert get(origin, "/a.bin")[1] == WHOLE
    assert time.monotonic() - started > 0.2


def test_tls(tls_origin: Origin, certificate_authority: CertificateAuthority) -> None:
    assert tls_origin.add("/a.bin", CONTENT).startswith("https://127.0.0.1:")
    context = certificate_authority.client_context()
    for host in ("127.0.0.1", "localhost"):
        client = http.client.HTTPSConnection(host, tls_origin.port, context=context, timeout=10)
        for _ in range(2):
            client.request("GET", "/a.bin")
            assert client.getresponse().read() == WHOLE
        client.close()
    assert tls_origin.connections == 2


def test_tls_clients_that_do_not_trust_it(tls_origin: Origin) -> None:
    client = http.client.HTTPSConnection("127.0.0.1", tls_origin.port, timeout=10)
    with pytest.raises(ssl.SSLCertVerificationError):
        client.request("GET", "/")
    client.close()
    wait_for(lambda: tls_origin.failed_handshakes == 1)
    assert tls_origin.requests == []


def test_a_bug_in_a_scripted_answer_reaches_the_test() -> None:
    def wrong(exchange: object) -> None:
        raise KeyError("wrong")

    with pytest.raises(KeyError), Origin() as origin:
        origin.add("/a", Respond(wrong))
        with pytest.raises(http.client.HTTPException):
            get(origin, "/a")
