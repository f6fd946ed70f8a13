"""Connections and bodies that end where they should not (RFC 9112, sections 6 and 8)."""

from __future__ import annotations

from itertools import count

from tests.matrix.cases import KIB, MIB, Family, Outcome, Place, Row, content
from tests.servers.exchange import Exchange
from tests.servers.faults import (
    Close,
    ExtraBytes,
    Headers,
    NoContentLength,
    Normal,
    Reset,
    Respond,
)
from tests.servers.resource import Fault, Resource

family = Family("breaks", "Breaks")

RIGHT = "is gone on with, and comes right"
IN_VAIN = "fails after `FETCHER_MAX_TRIES` without progress"
LIE = "is not believed; fails"
VALID = "comes right"

SMALL = content(64 * KIB)
DATA = SMALL.read(0, SMALL.size)


def bounded(outcome: Outcome) -> None:
    assert len(outcome.requests) <= 30, len(outcome.requests)


def serve(place: Place, resource: Resource, *, tls: bool) -> Row:
    url = (place.tls if tls else place.origin).add(place.path, resource)
    return Row(url, resource.content, check=bounded)


# --- resets, ends of the connection, TLS without its close_notify --------------------------------


def breaking(name: str, what: str, fault: Fault, *, tls: bool = False) -> None:
    def once(place: Place) -> Row:
        return serve(place, Resource(content(), faults=[fault, Normal(), fault]), tls=tls)

    def for_ever(place: Place) -> Row:
        return serve(place, Resource(content(), script=lambda _: fault), tls=tls)

    once.__name__, for_ever.__name__ = name, f"{name}_for_ever"
    family.case(f"{what}, now and then", RIGHT)(once)
    after = getattr(fault, "after", None)
    if after:
        family.case(f"{what}, every time, with some bytes more", RIGHT)(for_ever)
    else:
        family.case(f"{what}, every time", IN_VAIN, "ConnectionFailedError")(for_ever)


for where, after in (
    ("before its answer", None),
    ("before the first byte", 0),
    ("in the body", 200_000),
):
    key = where.replace(" ", "_")
    breaking(f"reset_{key}", f"resets the connection {where}", Reset(after))
    breaking(f"close_{key}", f"closes the connection {where}", Close(after))
    breaking(f"tls_{key}", f"cuts TLS without `close_notify` {where}", Close(after), tls=True)


# --- lengths -------------------------------------------------------------------------------------


def raw(head: str, body: bytes, *, close: bool = True) -> Respond:
    """An answer, byte by byte."""

    def answer(exchange: Exchange) -> None:
        exchange.status = 200
        exchange.send_raw(head.replace("\n", "\r\n").encode("latin-1"))
        exchange.send(body, last=True)
        if close:
            exchange.close()

    return Respond(answer)


def always(
    name: str, what: str, then: str, fault: Fault, fails: str | tuple[str, ...] | None = None
) -> None:
    def put(place: Place) -> Row:
        return serve(place, Resource(SMALL, script=lambda _: fault), tls=False)

    put.__name__ = name
    family.case(what, then, fails)(put)


HEAD = 'HTTP/1.1 200 OK\nETag: "1"\n'
LENGTH = f"Content-Length: {SMALL.size}\n"

always(
    "length_too_large",
    "states a `Content-Length` that is larger than the body",
    LIE,
    raw(f"{HEAD}Content-Length: {SMALL.size + 1}\n\n", DATA),
    "ConnectionFailedError",
)
always(
    "length_twice",
    "states the same `Content-Length` twice",
    VALID,
    raw(f"{HEAD}{LENGTH}{LENGTH}\n", DATA),
)
always(
    "length_twice_different",
    "states two lengths",
    LIE,
    raw(f"{HEAD}{LENGTH}Content-Length: 10\n\n", DATA),
    "ProtocolError",
)
always(
    "length_negative",
    "states a length that is none",
    LIE,
    raw(f"{HEAD}Content-Length: -5\n\n", DATA),
    "ProtocolError",
)
always(
    "length_no_number",
    "states a length that is none",
    LIE,
    raw(f"{HEAD}Content-Length: many\n\n", DATA),
    "ProtocolError",
)
always(
    "length_huge",
    "states a length of 4 EiB",
    "fails before a byte of it is written",
    raw(f"{HEAD}Content-Length: {1 << 62}\n\n", DATA),
    "TooLargeError",
)
always("no_length", "ends the body with the connection", VALID, NoContentLength())
always("http_1_0", "answers by HTTP/1.0", VALID, raw(f"HTTP/1.0 200 OK\n{LENGTH}\n", DATA))
always(
    "interim",
    "sends interim answers (100, 103) first",
    VALID,
    raw(f"HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\nLink: </x>\n\n{HEAD}{LENGTH}\n", DATA),
)


@family.case("sends more bytes than it has stated", VALID)
def length_too_small(place: Place) -> Row:
    return place.serve(Resource(SMALL, script=lambda _: ExtraBytes(100)))


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


# --- chunks (RFC 9112, section 7.1) --------------------------------------------------------------

CHUNKED = f"{HEAD}Transfer-Encoding: chunked\n\n"


def chunk(data: bytes, extension: str = "") -> bytes:
    return b"%x%s\r\n%s\r\n" % (len(data), extension.encode(), data)


always(
    "chunks_with_extensions",
    "sends chunks with extensions and trailers",
    VALID,
    raw(CHUNKED, chunk(DATA[:999], ";a=b") + chunk(DATA[999:]) + b"0\r\nX-Sum: 1\r\n\r\n"),
)
always(
    "chunks_end_early",
    "ends a chunked body early",
    LIE,
    raw(CHUNKED, chunk(DATA)),
    "ConnectionFailedError",
)
always(
    "chunk_cut",
    "ends a chunked body early",
    LIE,
    raw(CHUNKED, chunk(DATA)[:-9]),
    "ConnectionFailedError",
)
for name, size in (("rubbish", b"zz"), ("negative", b"-5"), ("empty", b"")):
    always(
        f"chunk_{name}",
        "states a chunk's size that is none",
        LIE,
        raw(CHUNKED, chunk(DATA[:99]) + size + b"\r\n" + DATA),
        "ConnectionFailedError",
    )
always(
    "chunk_huge",
    "states a chunk's size of 16 EiB",
    LIE,
    raw(CHUNKED, b"ffffffffffffffff\r\n" + DATA),
    "ConnectionFailedError",
)
always(
    "chunks_and_length",
    "sends chunks and states a length as well",
    VALID,
    raw(f"{HEAD}Content-Length: 10\nTransfer-Encoding: chunked\n\n", chunk(DATA) + b"0\r\n\r\n"),
)


# --- what is no HTTP -----------------------------------------------------------------------------

NO_HTTP = "is no answer; fails after `FETCHER_MAX_TRIES`"
EITHER = ("ProtocolError", "ConnectionFailedError")

for name, what, head in (
    ("ssh_banner", "answers with something that is not HTTP", "SSH-2.0-OpenSSH_9.2\n"),
    ("binary", "answers with something that is not HTTP", "\0\1\2\3\4\xff\xfe\n\n"),
    ("status_line", "sends a status line that is none", "HTTP/1.1 fine\n\n"),
    ("version", "sends a status line that is none", "HTTP/x.y 200 OK\n\n"),
):
    always(name, what, NO_HTTP, raw(head, b""), "ProtocolError")


def endless(piece: bytes, head: bytes) -> Respond:
    def answer(exchange: Exchange) -> None:
        exchange.status = 200
        exchange.send_raw(head)
        for _ in count():
            exchange.send_raw(piece)

    return Respond(answer)


always(
    "headers_endless",
    "sends headers without end",
    LIE,
    endless(b"X-Padding: " + b"x" * 4000 + b"\r\n", b"HTTP/1.1 200 OK\r\n"),
    "ProtocolError",
)
always(
    "header_line_endless",
    "sends headers without end",
    LIE,
    endless(b"x" * 4000, b"HTTP/1.1 200 OK\r\nX: "),
    EITHER,
)
always(
    "interim_endless",
    "sends interim answers without end",
    LIE,
    endless(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 50, b""),
    "ProtocolError",
)
TOO_LONG = "fails when it is larger than `DOWNLOAD_MAXSIZE`"
always(
    "chunks_endless",
    "sends a body without end",
    TOO_LONG,
    endless(chunk(bytes(64 * KIB)), CHUNKED.replace("\n", "\r\n").encode()),
    "TooLargeError",
)
always(
    "body_endless",
    "sends a body without end",
    TOO_LONG,
    endless(bytes(64 * KIB), b"HTTP/1.1 200 OK\r\n\r\n"),
    "TooLargeError",
)


@family.case("sends a forged answer behind a whole one, where the list knows the checksum", VALID)
def poisoned(place: Place) -> Row:
    """The second answer on a connection must not be one that came before its request."""
    source = content(MIB)

    def script(exchange: Exchange) -> Fault | None:
        first, last = exchange.range or (0, source.size - 1)
        start, end = first or 0, (last or source.size - 1) + 1
        forged = (
            f'HTTP/1.1 206 Partial Content\r\nETag: "p"\r\nContent-Length: {256 * KIB}\r\n'
            f"Content-Range: bytes {end}-{end + 256 * KIB - 1}/{source.size}\r\n\r\n"
        ).encode() + bytes(256 * KIB)
        head = {
            "ETag": '"p"',
            "Content-Length": str(end - start),
            "Content-Range": f"bytes {start}-{end - 1}/{source.size}",
        }

        def answer(exchange: Exchange) -> None:
            exchange.send_head(206, head)
            exchange.send(source.read(start, end) + forged, last=True)

        return Respond(answer)

    resource = Resource(source, etag='"p"', script=script)
    return place.serve(resource, checksum=f"sha256:{source.sha256}", check=unpoisoned)


def unpoisoned(outcome: Outcome) -> None:
    assert outcome.report["restarts"] == 0
    bounded(outcome)


@family.case("sends a header that is none among others", VALID)
def odd_header(place: Place) -> Row:
    return place.serve(Resource(SMALL, headers={"X-Folded": "a\r\n b", "X-Empty": ""}))


@family.case("closes the connection after each answer, though it promised to keep it", VALID)
def closes(place: Place) -> Row:
    return place.serve(Resource(content(), script=lambda _: Close(1 << 40)))


@family.case("sends a `Connection: close` with each answer", VALID)
def says_close(place: Place) -> Row:
    return place.serve(Resource(content(), script=lambda _: Headers({"Connection": "close"})))
