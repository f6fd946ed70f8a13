"""Bodies that lie about where they end (RFC 9112, sections 6 and 7)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from tests.matrix.cases import KIB, MIB, Family, Outcome, Place, Row, content
from tests.servers.exchange import Exchange
from tests.servers.faults import ExtraBytes, NoContentLength, Respond
from tests.servers.resource import Fault, Resource

family = Family("breaks", "Breaks")

LIE = "is not believed; fails"
VALID = "comes right"
TOO_LONG = "fails when it is larger than `DOWNLOAD_MAXSIZE`"

SMALL = content(64 * KIB)
DATA = SMALL.read(0, SMALL.size)

HEAD = 'HTTP/1.1 200 OK\nETag: "1"\n'
LENGTH = f"Content-Length: {SMALL.size}\n"
CHUNKED = f"{HEAD}Transfer-Encoding: chunked\n\n"


def bounded(outcome: Outcome) -> None:
    assert len(outcome.requests) <= 30, len(outcome.requests)


def says(words: str) -> Callable[[Outcome], None]:
    """The failure names its cause, and the file."""

    def check(outcome: Outcome) -> None:
        bounded(outcome)
        message = outcome.report["error"]["message"]
        assert words in message and outcome.final.stem in message, message

    return check


def serve(
    place: Place,
    resource: Resource,
    *,
    tls: bool = False,
    check: Callable[[Outcome], None] = bounded,
) -> Row:
    url = (place.tls if tls else place.origin).add(place.path, resource)
    return Row(url, resource.content, check=check)


def always(
    family: Family,
    name: str,
    what: str,
    then: str,
    fault: Fault,
    fails: str | tuple[str, ...] | None = None,
    check: Callable[[Outcome], None] = bounded,
) -> None:
    def put(place: Place) -> Row:
        return serve(place, Resource(SMALL, script=lambda _: fault), check=check)

    put.__name__ = name
    family.case(what, then, fails)(put)


def raw(head: str, body: bytes) -> Respond:
    """An answer, byte by byte, and the end of the connection."""

    def answer(exchange: Exchange) -> None:
        exchange.status = 200
        exchange.send_raw(head.replace("\n", "\r\n").encode("latin-1"))
        exchange.send(body, last=True)
        exchange.close()

    return Respond(answer)


def endless(piece: bytes, head: bytes) -> Respond:
    def answer(exchange: Exchange) -> None:
        exchange.status = 200
        exchange.send_raw(head)
        for _ in count():
            exchange.send_raw(piece)

    return Respond(answer)


# --- lengths (section 6.3) -----------------------------------------------------------------------


def stating_length(name: str, what: str, fields: str, words: str = "length") -> None:
    fault = raw(f"{HEAD}{fields}\n", DATA)
    always(family, name, what, LIE, fault, "ProtocolError", says(words))


NO_LENGTH = "states a length that is none"

always(
    family,
    "length_too_large",
    "states a `Content-Length` that is larger than the body",
    LIE,
    raw(f"{HEAD}Content-Length: {SMALL.size + 1}\n\n", DATA),
    "ConnectionFailedError",
)
always(
    family,
    "length_twice",
    "states the same `Content-Length` twice",
    VALID,
    raw(f"{HEAD}{LENGTH}{LENGTH}\n", DATA),
)
always(
    family,
    "length_twice_in_one",
    "states the same `Content-Length` twice",
    VALID,
    raw(f"{HEAD}Content-Length: {SMALL.size}, {SMALL.size}\n\n", DATA),
)
stating_length("length_twice_different", "states two lengths", f"{LENGTH}Content-Length: 10\n")
stating_length("length_negative", NO_LENGTH, "Content-Length: -5\n")
stating_length("length_with_plus", NO_LENGTH, f"Content-Length: +{SMALL.size}\n")
stating_length("length_no_number", NO_LENGTH, "Content-Length: many\n")
stating_length("length_empty", NO_LENGTH, "Content-Length:\n")
stating_length("length_of_30_digits", NO_LENGTH, f"Content-Length: {'9' * 30}\n")
always(
    family,
    "length_huge",
    "states a length of 4 EiB",
    "fails before a byte of it is written",
    raw(f"{HEAD}Content-Length: {1 << 62}\n\n", DATA),
    "TooLargeError",
)
always(family, "no_length", "ends the body with the connection", VALID, NoContentLength())
always(family, "http_1_0", "answers by HTTP/1.0", VALID, raw(f"HTTP/1.0 200 OK\n{LENGTH}\n", DATA))
always(family, "http_1_0_bare", "answers by HTTP/1.0", VALID, raw("HTTP/1.0 200 OK\n\n", DATA))


@family.case("sends more bytes than it has stated", VALID)
def length_too_small(place: Place) -> Row:
    return place.serve(Resource(SMALL, script=lambda _: ExtraBytes(100)))


@family.case(
    "ends the body with the connection, too early for the list's size",
    LIE,
    ("StatusError", "SizeMismatchError"),
)
def no_length_early(place: Place) -> Row:
    resource = Resource(SMALL, ranges=False, script=lambda _: NoContentLength(1000))
    return place.serve(resource, size=SMALL.size)


@family.case(
    "ends the body with a connection that is reset, or cut under TLS", LIE, "ConnectionFailedError"
)
def no_length_reset(place: Place) -> Row:
    def answer(exchange: Exchange) -> None:
        exchange.send_head(200, {"Connection": "close"})
        exchange.send(DATA[:1000])
        exchange.reset()

    return place.serve(Resource(SMALL, script=lambda _: Respond(answer)))


@family.case(
    "ends the body with a connection that is reset, or cut under TLS", LIE, "ConnectionFailedError"
)
def no_length_cut(place: Place) -> Row:
    def answer(exchange: Exchange) -> None:
        exchange.send_head(200, {"Connection": "close"})
        exchange.send(DATA[:1000])
        exchange.close()

    return serve(place, Resource(SMALL, script=lambda _: Respond(answer)), tls=True)


# --- chunks (section 7.1) ------------------------------------------------------------------------


def chunk(data: bytes, extension: str = "") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension.encode(), data)


always(
    family,
    "chunks_with_extensions",
    "sends chunks with extensions and trailers",
    VALID,
    raw(CHUNKED, chunk(DATA[:999], ";a=b") + chunk(DATA[999:]) + b"0\r\nX-Sum: 1\r\n\r\n"),
)
for name, body in (("chunks_end_early", chunk(DATA)), ("chunk_cut", chunk(DATA)[:-9])):
    fault = raw(CHUNKED, body)
    always(family, name, "ends a chunked body early", LIE, fault, "ConnectionFailedError")
for name, size in (
    ("rubbish", b"zz"),
    ("negative", b"-5"),
    ("empty", b""),
    ("with_plus", b"+5"),
    ("with_prefix", b"0x5"),
    ("with_underscore", b"1_0"),
):
    always(
        family,
        f"chunk_{name}",
        "states a chunk's size that is none",
        LIE,
        raw(CHUNKED, chunk(DATA[:99]) + size + b"\r\n" + DATA),
        "ProtocolError",
        says("chunk"),
    )
for name, digits in (("16_eib", 16), ("ever_so_many", 200)):
    always(
        family,
        f"chunk_of_{name}",
        "states a chunk's size of 16 EiB and more",
        LIE,
        raw(CHUNKED, b"f" * digits + b"\r\n" + DATA),
        "ConnectionFailedError",
    )
always(
    family,
    "chunk_longer",
    "sends a chunk that is longer than its size",
    LIE,
    raw(CHUNKED, b"5\r\n" + DATA),
    "ProtocolError",
    says("chunk"),
)
always(
    family,
    "chunk_extension_endless",
    "sends a chunk's extension, or trailers, without end",
    LIE,
    endless(b"x" * 4000, CHUNKED.replace("\n", "\r\n").encode() + b"5;"),
    "ProtocolError",
    says("chunk"),
)
always(
    family,
    "trailers_endless",
    "sends a chunk's extension, or trailers, without end",
    LIE,
    endless(b"X: " + b"x" * 4000 + b"\r\n", CHUNKED.replace("\n", "\r\n").encode() + b"0\r\n"),
    "ProtocolError",
    says("chunk"),
)
always(
    family,
    "chunks_and_length",
    "sends chunks and states a length as well",
    VALID,
    raw(f"{HEAD}Content-Length: 10\nTransfer-Encoding: chunked\n\n", chunk(DATA) + b"0\r\n\r\n"),
)
for name, coding in (
    ("gzip_chunked", "gzip, chunked"),
    ("chunked_twice", "chunked, chunked"),
    ("rot13", "rot13"),
):
    always(
        family,
        f"transfer_{name}",
        "sends a `Transfer-Encoding` that is not known",
        LIE,
        raw(f"{HEAD}Transfer-Encoding: {coding}\n\n", chunk(DATA) + b"0\r\n\r\n"),
        "ProtocolError",
        says("Transfer-Encoding"),
    )
always(
    family,
    "chunks_endless",
    "sends a body without end",
    TOO_LONG,
    endless(chunk(bytes(64 * KIB)), CHUNKED.replace("\n", "\r\n").encode()),
    "TooLargeError",
)
always(
    family,
    "body_endless",
    "sends a body without end",
    TOO_LONG,
    endless(bytes(64 * KIB), b"HTTP/1.1 200 OK\r\n\r\n"),
    "TooLargeError",
)


def hardly_received(outcome: Outcome) -> None:
    bounded(outcome)
    assert outcome.report["received"] < MIB


@family.case("sends an error's page without end", "fails; the page is let be", "StatusError")
def error_endless(place: Place) -> Row:
    fault = endless(bytes(64 * KIB), b"HTTP/1.1 404 Not Found\r\n\r\n")
    return serve(place, Resource(SMALL, script=lambda _: fault), check=hardly_received)


@family.case("sends a busy page without end, once", VALID)
def busy_endless(place: Place) -> Row:
    fault = endless(bytes(64 * KIB), b"HTTP/1.1 503 Busy\r\n\r\n")
    return serve(place, Resource(SMALL, faults=[fault]), check=hardly_received)


@family.case("sends a page without end along with a redirect", VALID)
def redirect_endless(place: Place) -> Row:
    head = f"HTTP/1.1 302 Found\r\nLocation: {place.path}-target\r\n\r\n".encode()
    place.origin.add(f"{place.path}-target", Resource(SMALL))
    fault = endless(bytes(64 * KIB), head)
    return serve(place, Resource(SMALL, script=lambda _: fault), check=hardly_received)
