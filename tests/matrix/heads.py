"""Heads of answers that are none, or odd, or have no end (RFC 9112, sections 2 to 5)."""

from __future__ import annotations

from tests.matrix.cases import Family, Outcome, Place, Row, content
from tests.matrix.framing import (
    DATA,
    HEAD,
    LENGTH,
    LIE,
    SMALL,
    VALID,
    always,
    bounded,
    endless,
    raw,
    says,
    serve,
)
from tests.servers.exchange import Exchange
from tests.servers.faults import Respond
from tests.servers.resource import Resource

family = Family("breaks", "Breaks")

ENDLESS = "sends headers without end"
NO_HTTP = "is no answer; fails after `FETCHER_MAX_TRIES`"

INTERIM = (
    "HTTP/1.1 100 Continue\n\nHTTP/1.1 102 Processing\nContent-Length: 9\n\n"
    "HTTP/1.1 103 Early Hints\nLink: </x>\n\n"
)

for name, what, head in (
    ("ssh_banner", "answers with something that is not HTTP", "SSH-2.0-OpenSSH_9.2\n"),
    ("binary", "answers with something that is not HTTP", "\0\1\2\3\4\xff\xfe\n\n"),
    ("shoutcast", "answers with something that is not HTTP", "ICY 200 OK\n\n"),
    ("status_line", "sends a status line that is none", "HTTP/1.1 fine\n\n"),
    ("version", "sends a status line that is none", "HTTP/x.y 200 OK\n\n"),
):
    always(family, name, what, NO_HTTP, raw(head, b""), "ProtocolError", says("not HTTP"))
for name, status in (("0", "000"), ("999", "999"), ("2000", "2000"), ("negative", "-200")):
    always(
        family,
        f"status_{name}",
        "answers with a status that is none",
        LIE,
        raw(f"HTTP/1.1 {status} OK\n{LENGTH}\n", DATA),
        ("StatusError", "ProtocolError"),
    )
for name, what, head in (
    ("interim", "sends interim answers (100, 102, 103) first", f"{INTERIM}{HEAD}{LENGTH}\n"),
    ("folded", "folds a header over two lines", f"{HEAD}X: a\n b\n{LENGTH}\n"),
    ("without_colon", "sends a header line without a colon", f"{HEAD}X\n{LENGTH}\n"),
    ("without_name", "sends a header without a name", f"{HEAD}: x\n{LENGTH}\n"),
    ("space_in_name", "sends a header with a space in its name", f"{HEAD}X Y : x\n{LENGTH}\n"),
    ("nul", "sends a header with NUL or a bare CR", f"{HEAD}X: a\0b\rc\n{LENGTH}\n"),
    ("nul_in_etag", "sends NUL or a bare CR in its `ETag`", f'{HEAD[:-4]}"a\0b\rc"\n{LENGTH}\n'),
    ("long_header", "sends a header of 100 KB", f"{HEAD}X: {'x' * 100_000}\n{LENGTH}\n"),
):
    always(family, name, what, VALID, raw(head, DATA))


@family.case("ends its lines with LF alone", VALID)
def line_feeds(place: Place) -> Row:
    def answer(exchange: Exchange) -> None:
        exchange.send_raw(f"{HEAD}{LENGTH}\n".encode())
        exchange.send(DATA, last=True)

    return serve(place, Resource(SMALL, script=lambda _: Respond(answer)))


@family.case("sends NUL or a bare CR in its `ETag`", VALID)
def nul_in_ranges(place: Place) -> Row:
    """What is asked with it in `If-Range` brings no header in."""

    def check(outcome: Outcome) -> None:
        bounded(outcome)
        assert not any("x" in record.headers for record in outcome.requests)

    return serve(place, Resource(content(), etag='"a\0b\rX: c"'), check=check)


always(
    family,
    "headers_endless",
    ENDLESS,
    LIE,
    endless(b"X-Padding: " + b"x" * 4000 + b"\r\n", b"HTTP/1.1 200 OK\r\n"),
    "ProtocolError",
    says("without end"),
)
always(
    family,
    "header_line_endless",
    ENDLESS,
    LIE,
    endless(b"x" * 4000, b"HTTP/1.1 200 OK\r\nX: "),
    "ProtocolError",
    says("without end"),
)
always(
    family,
    "status_line_endless",
    ENDLESS,
    LIE,
    endless(b"x" * 4000, b"HTTP/1.1 200 "),
    "ProtocolError",
    says("without end"),
)
always(
    family,
    "interim_endless",
    "sends interim answers without end",
    LIE,
    endless(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 50, b""),
    "ProtocolError",
    says("without end"),
)
