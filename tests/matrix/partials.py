"""Ranges that are not what they say, or not what was asked for (RFC 9110, section 15.3.7)."""

from __future__ import annotations

from collections.abc import Callable

from tests.matrix.cases import KIB, Family, Outcome, Place, Row, content
from tests.servers.exchange import Exchange
from tests.servers.faults import (
    Headers,
    Normal,
    Respond,
    ShortRange,
    Status,
    WrongContentRange,
)
from tests.servers.resource import Fault, Resource

family = Family("ranges", "Ranges")

WHOLE = "comes right, from one answer"
RIGHT = "comes right"
REFUSED = "is refused; comes right, from one answer"

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


def partial(
    first: int, last: int, body: bytes, total: int = SIZE, *, framing: str = "length"
) -> Respond:
    """A 206 of these bounds with these bytes.

    :param framing: where the body ends: by its `length`, by its `chunks`, or by the `end` of the
        connection.
    """

    def answer(exchange: Exchange) -> None:
        headers = {"Content-Range": f"bytes {first}-{last}/{total}", "ETag": '"one"'}
        if framing == "length":
            headers["Content-Length"] = str(len(body))
        elif framing == "chunks":
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Connection"] = "close"
        exchange.send_head(206, headers)
        if framing == "chunks":
            exchange.send_raw(b"%x\r\n" % len(body))
            exchange.send(body)
            exchange.send_raw(b"\r\n0\r\n\r\n", last=True)
        else:
            exchange.send(body, last=True)

    return Respond(answer)


def asked(exchange: Exchange) -> tuple[int, int]:
    """The offsets (start, end) that a request wants."""
    first, last = exchange.range or (0, None)
    return first or 0, SIZE if last is None else min(last + 1, SIZE)


def scripted_as_one(place: Place, script: Callable[[Exchange], Fault | None]) -> Row:
    """With the `ETag` that :func:`partial` has, so that all answers are of one version."""
    return place.serve(Resource(content(), etag='"one"', script=script), check=bounded)


def data(start: int, end: int) -> bytes:
    return content().read(start, end)


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
stating("twice", "sends a `Content-Range` that is none", f"bytes 0-99/{SIZE}, bytes 0-99/{SIZE}")
stating("shifted", "sends another range than was asked for", f"bytes 1-{SIZE - 1}/{SIZE}")
stating("star_total", "does not state the whole size", f"bytes 0-{SIZE - 1}/*")
stating("contradicts_length", "states another length than its `Content-Range`", f"bytes 0-9/{SIZE}")


def answering(
    name: str, what: str, then: str, fault: Callable[[int, int], Fault], least: int = 0
) -> None:
    """Every range from ``least`` on is answered so, given its offsets (start, end)."""

    def put(place: Place) -> Row:
        def script(exchange: Exchange) -> Fault | None:
            start, end = asked(exchange)
            return fault(start, end) if exchange.range is not None and start >= least else None

        return scripted_as_one(place, script)

    put.__name__ = name
    family.case(what, then)(put)


for framing in ("chunks", "end"):
    answering(
        f"shorter_by_{framing}",
        "ends a range before its `Content-Range` says",
        RIGHT,
        lambda start, end, framing=framing: partial(  # type: ignore[misc]
            start, end - 1, data(start, min(end, start + 200 * KIB)), framing=framing
        ),
    )
    answering(
        f"longer_by_{framing}",
        "sends more bytes for a range than its `Content-Range` says",
        RIGHT,
        lambda start, end, framing=framing: partial(  # type: ignore[misc]
            start, end - 1, data(start, end) + b"more", framing=framing
        ),
    )
answering(
    "from_a_block",
    "begins a range at the block before it",
    REFUSED,
    lambda start, end: partial(start - 4096, end - 1, data(start - 4096, end)),
    least=4096,
)
answering(
    "suffix",
    "sends the last bytes of the file instead of its first",
    REFUSED,
    lambda start, end: partial(SIZE - 1000, SIZE - 1, data(SIZE - 1000, SIZE)),
)
answering(
    "whole_as_206",
    "sends the whole file as one range, whichever is asked for",
    WHOLE,
    lambda start, end: partial(0, SIZE - 1, data(0, SIZE)),
)
answering(
    "always_shifted_later",
    "sends a shifted range later on",
    WHOLE,
    lambda start, end: partial(start - 1, end - 2, data(start - 1, end - 1)),
    least=1,
)


@family.case(
    "states a whole size of 8 EiB", "fails before a byte of it is written", "TooLargeError"
)
def huge_total(place: Place) -> Row:
    fault = partial(0, (1 << 63) - 2, b"", (1 << 63) - 1, framing="end")
    return scripted_as_one(place, to_ranges(fault))


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


@family.case(
    "sends 206 although the whole file was asked for",
    "fails: it contradicts itself",
    "RangesRefusedError",
)
def unasked_part(place: Place) -> Row:
    def script(exchange: Exchange) -> Fault | None:
        return Status(416) if exchange.range else partial(0, 9, data(0, 10))

    return scripted(place, script)


@family.case("sends all of the file as 206 although no range was asked for", RIGHT)
def unasked_whole(place: Place) -> Row:
    def script(exchange: Exchange) -> Fault | None:
        return Status(416) if exchange.range else partial(0, SIZE - 1, data(0, SIZE))

    return scripted(place, script)


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
