"""A file that becomes another while it is fetched; see `reruns` for one that did so before.

RFC 9110, sections 8.8 (validators), 13.1.5 (`If-Range`), 14.4 and 15.3.7 (ranges).
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from tests.matrix.cases import KIB, MIB, Family, Outcome, Place, Row, content
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Headers, IgnoreIfRange, Instead, Reset, Respond
from tests.servers.resource import Fault, Resource

family = Family("change", "Change")

ANEW = "is noticed; begun anew, and right"
ONE_ANSWER = "comes right, from one answer"
RIGHT = "comes right"

OLD, NEW = content(seed=1), content(seed=2)
DATE = 1_700_000_000
WEAK: dict[str, Any] = {"etag": 'W/"1"', "last_modified": None}
NOTHING: dict[str, Any] = {"etag": None, "last_modified": None}
BY_DATE: dict[str, Any] = {"etag": None}


def becomes(place: Place, old: Resource, new: Resource | Fault, **row: Any) -> Row:
    """The first answer is the old file's, all others are the new one's."""
    then = Instead(new) if isinstance(new, Resource) else new
    asked = count()
    row.setdefault("content", NEW)
    return place.serve(replace(old, script=lambda _: then if next(asked) else None), **row)


def anew(outcome: Outcome) -> None:
    assert outcome.report["restarts"] == 1
    bounded(outcome)


def bounded(outcome: Outcome) -> None:
    """There is a way out, and it is not found by asking again and again."""
    assert len(outcome.requests) <= 16


@family.case("replaces the file meanwhile, with a new strong `ETag`", ANEW)
def strong_etag(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        anew(outcome)
        assert all("if-range" in record.headers for record in outcome.requests[1:3])

    return becomes(place, Resource(OLD), Resource(NEW), check=check)


@family.case("replaces the file meanwhile, with a new weak `ETag` and the same date", ANEW)
def weak_etag(place: Place) -> Row:
    return becomes(place, Resource(OLD, etag='W/"1"'), Resource(NEW, etag='W/"2"'), check=anew)


@family.case("replaces the file meanwhile, and has weak `ETag`s only", ONE_ANSWER)
def weak_etags_only(place: Place) -> Row:
    new = Resource(NEW, etag='W/"2"', last_modified=None)
    return becomes(place, Resource(OLD, **WEAK), new)


@family.case("replaces the file meanwhile, which shows by its date alone", ANEW)
def date(place: Place) -> Row:
    new = Resource(NEW, etag=None, last_modified=DATE + 1)
    return becomes(place, Resource(OLD, etag=None, last_modified=DATE), new, check=anew)


@family.case("replaces the file twice within the second that is its date", ONE_ANSWER)
def twice_within_a_second(place: Place) -> Row:
    """RFC 9110, section 8.8.2.2: such a date is weak, and must not be sent in `If-Range`."""

    def check(outcome: Outcome) -> None:
        assert not any("if-range" in record.headers for record in outcome.requests)

    old, new = Resource(OLD, **BY_DATE), Resource(NEW, **BY_DATE)
    old.headers = new.headers = {"Date": str(old.last_modified_date)}
    return becomes(place, old, new, check=check)


@family.case("replaces the file meanwhile by a larger one, without validators", ONE_ANSWER)
def larger(place: Place) -> Row:
    new = Content(3 * MIB, seed=2)
    return becomes(place, Resource(OLD, **NOTHING), Resource(new, **NOTHING), content=new)


@family.case("replaces the file meanwhile by a smaller one, without validators", ONE_ANSWER)
def smaller(place: Place) -> Row:
    new = Content(100 * KIB, seed=2)
    return becomes(place, Resource(OLD, **NOTHING), Resource(new, **NOTHING), content=new)


@family.case("replaces the file meanwhile by one of the same size, without validators", ONE_ANSWER)
def same_size(place: Place) -> Row:
    return becomes(place, Resource(OLD, **NOTHING), Resource(NEW, **NOTHING))


@family.case("replaces the file after a break, with neither validators nor ranges", ONE_ANSWER)
def after_a_break(place: Place) -> Row:
    new = Instead(Resource(NEW, ranges=False, **NOTHING))
    answers = iter([Reset(after=MIB)])
    old = Resource(OLD, ranges=False, **NOTHING, script=lambda _: next(answers, new))
    return place.serve(old, content=NEW)


@family.case("ignores `If-Range`, and the 206 has another `ETag`", ANEW)
def if_range_ignored(place: Place) -> Row:
    return becomes(place, Resource(OLD), IgnoreIfRange(Resource(NEW)), check=anew)


@family.case("ignores `If-Range`, and the 206 has another date", ANEW)
def if_range_by_date_ignored(place: Place) -> Row:
    new = Resource(NEW, etag=None, last_modified=DATE + 1)
    return becomes(place, Resource(OLD, **BY_DATE), IgnoreIfRange(new), check=anew)


@family.case("ignores `If-Range`, and the 206 has no validator any more", ONE_ANSWER)
def if_range_ignored_without_validators(place: Place) -> Row:
    """RFC 9110, section 15.3.7.3: only what has the same strong validator may be combined."""
    new = IgnoreIfRange(Resource(NEW, **NOTHING))
    return becomes(place, Resource(OLD), new, check=bounded)


# --- servers that cannot make up their mind ------------------------------------------------------


def in_turn(*faults: Fault) -> Callable[[Exchange], Fault]:
    asked = count()
    return lambda _: faults[next(asked) % len(faults)]


BACK_ENDS = (Headers({"ETag": '"one"'}), Headers({"ETag": '"two"'}))


@family.case("has back ends with `ETag`s of their own", ONE_ANSWER)
def back_ends(place: Place) -> Row:
    return place.serve(Resource(content(), script=in_turn(*BACK_ENDS)), check=bounded)


@family.case("has back ends with `ETag`s of their own, and the list a checksum", RIGHT)
def back_ends_and_checksum(place: Place) -> Row:
    source = content()
    return place.serve(
        Resource(source, script=in_turn(*BACK_ENDS)),
        checksum=f"sha256:{source.sha256}",
        check=bounded,
    )


@family.case("has a new `ETag` and a new date for every answer", ONE_ANSWER)
def never_the_same(place: Place) -> Row:
    numbers = count(1)

    def script(_: Exchange) -> Fault:
        number = next(numbers)
        date = f"Wed, 01 Nov 2023 00:00:{number % 60:02} GMT"
        return Headers({"ETag": f'"{number}"', "Last-Modified": date})

    return place.serve(Resource(content(), script=script), check=bounded)


def compressed(source: Content) -> Respond:
    """The whole file by gzip, under the plain one's strong `ETag`, whatever was asked for."""
    data = gzip.compress(source.read(0, source.size), 1)

    def answer(exchange: Exchange) -> None:
        head = {
            "ETag": f'"{source.tag}"',
            "Content-Encoding": "gzip",
            "Content-Length": str(len(data)),
        }
        exchange.send_head(200, head)
        exchange.send(data, last=True)

    return Respond(answer)


def compressed_range(source: Content) -> Respond:
    """The range of the compressed form, under the plain one's strong `ETag`."""
    coded = Resource(Bytes(gzip.compress(source.read(0, source.size), 1)), etag=f'"{source.tag}"')
    coded.headers = {"Content-Encoding": "gzip"}
    return Respond(lambda exchange: Instead(coded).respond(exchange, coded))


@family.case("sends the file compressed after the first range, under one `ETag`", RIGHT)
def compressed_later(place: Place) -> Row:
    source = content()
    return becomes(place, Resource(source), compressed(source), content=source, check=bounded)


@family.case("sends the file compressed at first, and then plain under the same `ETag`", RIGHT)
def compressed_at_first(place: Place) -> Row:
    source = content()
    first = Resource(source, faults=[compressed(source)])
    return place.serve(first, check=bounded)


@family.case("sends it compressed and breaks, and then plain under the same `ETag`", RIGHT)
def compressed_and_cut(place: Place) -> Row:
    source = content()
    data = gzip.compress(source.read(0, source.size), 1)

    def cut(exchange: Exchange) -> None:
        head = {"ETag": f'"{source.tag}"', "Content-Encoding": "gzip"}
        exchange.send_head(200, head | {"Content-Length": str(len(data))})
        exchange.send(data[:MIB])
        exchange.reset()

    return place.serve(Resource(source, faults=[Respond(cut)]), check=bounded)


@family.case("sends ranges of a compressed form now and then, under one `ETag`", RIGHT)
def compressed_ranges(place: Place) -> Row:
    source = content()
    resource = Resource(source)
    resource.script = in_turn(Instead(Resource(source)), compressed_range(source))
    return place.serve(resource, check=bounded)


@family.case("has a date in the future", RIGHT)
def future(place: Place) -> Row:
    return place.serve(Resource(content(), etag=None, last_modified=4_000_000_000))


@family.case("has a date that is none", RIGHT)
def no_date(place: Place) -> Row:
    odd = {"Last-Modified": "the day before yesterday"}
    return place.serve(Resource(content(), last_modified=None, headers=odd))
