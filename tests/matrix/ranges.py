"""Ranges that are ignored, refused, or hold other bytes (RFC 9110, section 14)."""

from __future__ import annotations

from tests.matrix import partials
from tests.matrix.cases import KIB, Family, Outcome, Place, Row, content
from tests.matrix.partials import (
    REFUSED,
    RIGHT,
    SIZE,
    WHOLE,
    always,
    asked,
    bounded,
    data,
    partial,
    scripted,
    scripted_as_one,
    to_later_ranges,
    to_ranges,
)
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Exchange
from tests.servers.faults import (
    IgnoreRange,
    Normal,
    Respond,
    Status,
    WrongBytes,
)
from tests.servers.resource import Fault, Resource

family = Family("ranges", "Ranges")

TWICE = "fails after a second try"


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


@family.case("answers every range with 204", "fails: there is no content", "StatusError")
def nothing(place: Place) -> Row:
    return scripted(place, to_ranges(Status(204)))


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


@family.case("sends a part of the file with status 200", REFUSED)
def part_as_200(place: Place) -> Row:
    """Such a body is told from a whole file by its `Content-Range` alone."""

    def answer(exchange: Exchange) -> None:
        start, end = asked(exchange)
        end = min(end, start + 256 * KIB)
        length = {"Content-Length": str(end - start)}
        exchange.send_head(200, length | {"Content-Range": f"bytes {start}-{end - 1}/{SIZE}"})
        exchange.send(data(start, end), last=True)

    return scripted(place, to_ranges(Respond(answer)))


@family.case(
    "sends a part of the file with status 200, range or not",
    "fails: it contradicts itself",
    "RangesRefusedError",
)
def always_part_as_200(place: Place) -> Row:
    headers = {"Content-Range": f"bytes 0-99/{SIZE}", "Content-Length": "100"}

    def answer(exchange: Exchange) -> None:
        exchange.send_head(200, headers)
        exchange.send(data(0, 100), last=True)

    return scripted(place, always(Respond(answer)))


@family.case("states a range of the whole file with status 200", WHOLE)
def whole_as_200(place: Place) -> Row:
    headers = {"Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"}
    return place.serve(Resource(content(), ranges=False, headers=headers), check=bounded)


@family.case(
    "sends wrong bytes for a range, where the list knows the checksum",
    TWICE,
    "ChecksumMismatchError",
)
def wrong_bytes(place: Place) -> Row:
    row = place.serve(Resource(content(), script=to_later_ranges(WrongBytes())))
    return Row(row.url, row.content, checksum=f"sha256:{content().sha256}")


@family.case(
    "sends the bytes beside a range under the right head, where the list knows the checksum",
    TWICE,
    "ChecksumMismatchError",
)
def bytes_beside(place: Place) -> Row:
    def script(exchange: Exchange) -> Fault | None:
        start, end = asked(exchange)
        return partial(start, end - 1, data(start - 1, end - 1)) if start else None

    row = scripted_as_one(place, script)
    return Row(row.url, row.content, checksum=f"sha256:{content().sha256}", check=bounded)


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


@family.case("answers the range of an empty file with a 416 that tells no size", "is an empty file")
def empty_416_bare(place: Place) -> Row:
    return scripted_empty(place, Status(416))


@family.case("answers the range of an empty file with 206", "is an empty file")
def empty_206(place: Place) -> Row:
    return scripted_empty(place, Status(206, {"Content-Range": "bytes 0--1/0"}))


@family.case("answers the range of an empty file with 206", "is an empty file")
def empty_206_of_one(place: Place) -> Row:
    return scripted_empty(place, Status(206, {"Content-Range": "bytes 0-0/0"}))


def scripted_empty(place: Place, fault: Fault) -> Row:
    return place.serve(Resource(Bytes(b""), script=to_ranges(fault)), check=bounded)


@family.case("answers the range of an empty file with 200", "is an empty file")
def empty_200(place: Place) -> Row:
    return place.serve(Resource(Bytes(b""), empty_range=200))


@family.case("has a single byte", RIGHT)
def one_byte(place: Place) -> Row:
    return place.serve(Content(1))


family.cases.extend(partials.family)
