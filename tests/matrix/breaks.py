"""Connections that end where they should not (RFC 9112, sections 8 and 9)."""

from __future__ import annotations

from tests.matrix import framing, heads
from tests.matrix.cases import KIB, MIB, Family, Outcome, Place, Row, content
from tests.matrix.framing import SMALL, VALID, bounded, serve
from tests.servers.exchange import Exchange
from tests.servers.faults import Close, Headers, Normal, Reset, Respond
from tests.servers.resource import Fault, Resource

family = Family("breaks", "Breaks")

RIGHT = "is gone on with, and comes right"
IN_VAIN = "fails after `FETCHER_MAX_TRIES` without progress"
LOST = "ConnectionFailedError"


# --- resets, ends of the connection, TLS without its close_notify --------------------------------


def breaking(name: str, what: str, fault: Fault, *, tls: bool = False) -> None:
    def once(place: Place) -> Row:
        return serve(place, Resource(content(), faults=[fault, Normal(), fault]), tls=tls)

    def for_ever(place: Place) -> Row:
        return serve(place, Resource(content(), script=lambda _: fault), tls=tls)

    once.__name__, for_ever.__name__ = name, f"{name}_for_ever"
    family.case(f"{what}, now and then", RIGHT)(once)
    if getattr(fault, "after", None):
        family.case(f"{what}, every time, with some bytes more", RIGHT)(for_ever)
    else:
        family.case(f"{what}, every time", IN_VAIN, LOST)(for_ever)


def half_a_head(exchange: Exchange) -> None:
    exchange.send_raw(b"HTTP/1.1 206 Partial Content\r\nContent-Le")


def reset_in_the_head(exchange: Exchange) -> None:
    half_a_head(exchange)
    exchange.reset()


def close_in_the_head(exchange: Exchange) -> None:
    half_a_head(exchange)
    exchange.close()


for where, reset, close in (
    ("before its answer", Reset(None), Close(None)),
    ("in the head", Respond(reset_in_the_head), Respond(close_in_the_head)),
    ("before the first byte", Reset(0), Close(0)),
    ("in the body", Reset(200_000), Close(200_000)),
):
    key = where.replace(" ", "_")
    breaking(f"reset_{key}", f"resets the connection {where}", reset)
    breaking(f"close_{key}", f"closes the connection {where}", close)
    breaking(f"tls_{key}", f"cuts TLS without `close_notify` {where}", close, tls=True)


@family.case(
    "breaks off a body that cannot be gone on with, once", "is begun anew, and comes right"
)
def no_ranges(place: Place) -> Row:
    return serve(place, Resource(content(), ranges=False, etag=None, faults=[Reset(200_000)]))


@family.case("breaks off a body that cannot be gone on with, every time", IN_VAIN, LOST)
def no_ranges_for_ever(place: Place) -> Row:
    resource = Resource(content(), ranges=False, etag=None, script=lambda _: Reset(200_000))

    def check(outcome: Outcome) -> None:
        bounded(outcome)
        assert outcome.report["received"] <= 5 * 200_000

    return serve(place, resource, check=check)


@family.case("sends the whole file, and then nothing but a reset", VALID)
def reset_at_the_end(place: Place) -> Row:
    return serve(place, Resource(SMALL, script=lambda _: Reset(SMALL.size)))


# --- connections that are used again -------------------------------------------------------------


@family.case("closes the connection after each answer, though it promised to keep it", VALID)
def closes(place: Place) -> Row:
    return place.serve(Resource(content(), script=lambda _: Close(1 << 40)))


@family.case("sends a `Connection: close` with each answer", VALID)
def says_close(place: Place) -> Row:
    return place.serve(Resource(content(), script=lambda _: Headers({"Connection": "close"})))


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


@family.case("sends more bytes than stated, and then an answer that nobody asked for", VALID)
def behind_an_answer(place: Place) -> Row:
    """A connection on which more comes than an answer is not used again (RFC 9112, 6.3)."""
    target = f"{place.path}-target"
    forged = f"HTTP/1.1 200 OK\r\nContent-Length: {SMALL.size}\r\n\r\n".encode()

    def answer(exchange: Exchange) -> None:
        head = f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 4\r\n\r\n"
        exchange.send_raw(head.encode() + b"page, which is longer")
        exchange.wait(0.2)
        exchange.send_raw(forged + bytes(SMALL.size), last=True)

    place.origin.add(target, Resource(SMALL))
    return serve(place, Resource(SMALL, script=lambda _: Respond(answer)))


family.cases.extend((*framing.family, *heads.family))
