"""Ranges that are ignored, refused or wrong (RFC 9110, sections 14 and 15.3.7)."""

from __future__ import annotations

from collections.abc import Callable

from tests.matrix.cases import KIB, Family, Outcome, Place, Row, content
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Exchange
from tests.servers.faults import (
    Headers,
    IgnoreRange,
    Normal,
    Respond,
    ShortRange,
    Status,
    WrongBytes,
    WrongContentRange,
)
from tests.servers.resource import Fault, Resource

family = Family("ranges", "Ranges")

WHOLE = "comes right, from one answer"
RIGHT = "comes right"
REFUSED = "is refused; comes right, from one answer"
TWICE = "fails after a second try"

SIZE = content().size


def always(fault: Fault) -> Callable[[Exchange], Fault]:
    return lambda _: fault


def to_ranges(fault: Fault) -> Callable[[Exchange], Fault | None]:
    """To whoever asks for a range."""
    return lambda exchange: fault if exchange.range is not None else None


def to_later_ranges(fault: Fault) -> Callable[[Exchange], Fault | None]:
    """To all ranges but those from the file's start."""

    def script(exchange: Exchange) -> Fault | None:
        return fault if exchange.range is not None and exchange.range[0] else None

    return script


def bounded(outcome: Outcome) -> None:
    assert len(outcome.requests) <= 20, len(outcome.requests)


def scripted(place: Place, script: Callable[[Exchange], Fault | None]) -> Row:
    return place.serve(Resource(content(), script=script), check=bounded)


@family.case("ignores `Range`", WHOLE)
def ignored(place: Place) -> Row:
    return place.serve(Resource(content(), ranges=False), check=once)


@family.case("advertises `Accept-Ranges` and ignores `Range`", WHOLE)
def advertised(place: Place) -> Row:
    return place.serve(Resource(content(), script=always(IgnoreRange())), check=once)


def once(outcome: Outcome) -> None:
    assert len(outcome.requests) == 1


@family.case("answers every range with 403", "fails: access is refused", "StatusError")
def forbidden(place: Place) -> Row:
    return scripted(place, to_ranges(Status(403)))


@family.case("answers every range with 416", WHOLE)
def unsatisfied(place: Place) -> Row:
    return scripted(place, to_ranges(Status(416)))


@family.case("answers later ranges with 416", WHOLE)
def unsatisfied_later(place: Place) -> Row:
    return scripted(place, to_later_ranges(Status(416, {"Content-Range": f"bytes */{SIZE}"})))


@family.case("ignores `Range` now and then", RIGHT)
def sometimes(place: Place) -> Row:
    count = iter(range(1000))
    return scripted(place, lambda _: IgnoreRange() if next(count) % 2 else None)


@family.case("ignores `Range` but for the first time", WHOLE)
def first_only(place: Place) -> Row:
    return scripted(place, to_later_ranges(IgnoreRange()))


@family.case("gives less than was asked for, and says so", RIGHT)
def short(place: Place) -> Row:
    return place.serve(Resource(content(), script=always(ShortRange(200 * KIB))))


@family.case("gives the rest of the file instead of the range", RIGHT)
def long(place: Place) -> Row:
    def answer(exchange: Exchange) -> None:
        start = (exchange.range or (0, None))[0] or 0
        headers = {
            "Content-Range": f"bytes {start}-{SIZE - 1}/{SIZE}",
            "Content-Length": str(SIZE - start),
            "ETag": '"one"',
        }
        exchange.send_head(206, headers)
        exchange.send(content().read(start, SIZE), last=True)

    return scripted(place, always(Respond(answer)))


def stating(name: str, what: str, value: str | None) -> None:
    """Every 206 has this ``Content-Range``."""

    def put(place: Place) -> Row:
        return scripted(place, to_ranges(WrongContentRange(value)))

    put.__name__ = name
    family.case(what, REFUSED)(put)


stating("without_content_range", "sends 206 without `Content-Range`", None)
stating("unreadable", "sends a `Content-Range` that is none", "the first half")
stating("other_unit", "sends a `Content-Range` that is none", "items 0-99/100")
stating("overflow", "sends a `Content-Range` that is none", f"bytes 0-{'9' * 30}/{'9' * 31}")
stating("backwards", "sends a `Content-Range` that is none", f"bytes 9-0/{SIZE}")
stating("beyond_the_end", "sends a `Content-Range` that is none", f"bytes 0-{SIZE}/{SIZE}")
stating("unsatisfied_in_206", "sends a `Content-Range` that is none", f"bytes */{SIZE}")
stating("shifted", "sends another range than was asked for", f"bytes 1-262144/{SIZE}")
stating("star_total", "does not state the whole size", "bytes 0-262143/*")
stating("contradicts_length", "states another length than its `Content-Range`", f"bytes 0-9/{SIZE}")


@family.case("sends a shifted range later on", RIGHT)
def shifted_later(place: Place) -> Row:
    wrong = WrongContentRange(f"bytes {256 * KIB - 1}-{512 * KIB - 2}/{SIZE}")
    return place.serve(Resource(content(), faults=[Normal(), wrong, Normal(), wrong]))


@family.case("states another whole size later on", RIGHT)
def other_total(place: Place) -> Row:
    wrong = WrongContentRange(f"bytes {256 * KIB}-{512 * KIB - 1}/{SIZE + 1}")
    return place.serve(Resource(content(), faults=[Normal(), wrong]))


@family.case("sends `multipart/byteranges`", REFUSED)
def multipart(place: Place) -> Row:
    fault = Headers({"Content-Type": "multipart/byteranges; boundary=x", "Content-Range": None})
    return scripted(place, to_ranges(fault))


@family.case(
    "sends 206 although the whole file was asked for",
    "fails: it contradicts itself",
    "RangesRefusedError",
)
def unasked(place: Place) -> Row:
    def answer(exchange: Exchange) -> None:
        exchange.send_head(206, {"Content-Length": "10"})
        exchange.send(bytes(10), last=True)

    return scripted(place, always(Respond(answer)))


@family.case("writes a valid `Content-Range` in an odd way", RIGHT)
def odd_spelling(place: Place) -> Row:
    def script(exchange: Exchange) -> Fault | None:
        if exchange.range is None:
            return None
        first, last = exchange.range
        end = SIZE if last is None else min(last + 1, SIZE)
        return WrongContentRange(f"  Bytes   {first}-{end - 1}/{SIZE} ")

    def check(outcome: Outcome) -> None:
        assert outcome.report["connections"] > 1

    return place.serve(Resource(content(), script=script), check=check)


@family.case(
    "sends wrong bytes for a range, where the list knows the checksum",
    TWICE,
    "ChecksumMismatchError",
)
def wrong_bytes(place: Place) -> Row:
    row = place.serve(Resource(content(), script=to_later_ranges(WrongBytes())))
    return Row(row.url, row.content, checksum=f"sha256:{content().sha256}")


@family.case(
    "sends wrong bytes for a range once, where the list knows the checksum",
    "is begun anew, and comes right",
)
def wrong_bytes_once(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        assert outcome.report["restarts"] == 1

    resource = Resource(content(), faults=[Normal(), WrongBytes()])
    return place.serve(resource, checksum=f"sha256:{content().sha256}", check=check)


@family.case("answers the range of an empty file with 416", "is an empty file")
def empty_416(place: Place) -> Row:
    return place.serve(Resource(Bytes(b""), empty_range=416))


@family.case("answers the range of an empty file with 200", "is an empty file")
def empty_200(place: Place) -> Row:
    return place.serve(Resource(Bytes(b""), empty_range=200))


@family.case("has a single byte", RIGHT)
def one_byte(place: Place) -> Row:
    return place.serve(Content(1))
