"""What an earlier run has left, and what has become of the file on the server since then.

RFC 9110, sections 8.8 (validators), 13.1.5 (`If-Range`) and 15.3.7.3 (combining parts).
"""

from __future__ import annotations

from collections.abc import Callable

from fetcher.disk.journal import Journal
from fetcher.rules.answers import Version
from tests.matrix.cases import KIB, MIB, Family, Outcome, Place, Row
from tests.matrix.change import (
    ANEW,
    BY_DATE,
    DATE,
    NEW,
    NOTHING,
    OLD,
    ONE_ANSWER,
    WEAK,
    anew,
    bounded,
)
from tests.servers.content import Content
from tests.servers.faults import IgnoreIfRange
from tests.servers.resource import Resource

family = Family("reruns", "Reruns")

RESUMED = "is gone on with, by `If-Range`"
COMPARED = "is gone on with; the checksum has the last word"
KEPT = "fails; what is there is kept for the next run"

THERE = MIB
"""Bytes that an earlier run has left."""


def left(place: Place, version: Version, source: Content = OLD, done: int = THERE) -> None:
    """An earlier run was interrupted when so many bytes of the old file were there."""
    part = place.final.with_name(place.final.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(source.read(0, done))
    journal = Journal(place.name, version, ((0, done),))
    part.with_name(part.name + ".json").write_bytes(journal.encode())


def dated(size: int, resource: Resource, *, etag: bool = False) -> Version:
    return Version(size, resource.etag if etag else None, resource.last_modified_date)


def asked_with(value: str | None) -> Callable[[Outcome], None]:
    """The first request goes on from what is there, on this condition; it does not hold."""

    def check(outcome: Outcome) -> None:
        first = outcome.requests[0]
        assert first.headers.get("if-range") == value
        assert first.range is not None
        assert first.range[0] == THERE
        assert outcome.report["resumed"] == 0
        anew(outcome)

    return check


def went_on(value: str) -> Callable[[Outcome], None]:
    """Each request asks for a part of the rest, on this condition."""

    def check(outcome: Outcome) -> None:
        assert outcome.report["resumed"] == THERE
        assert outcome.report["received"] == OLD.size - THERE
        assert outcome.report["restarts"] == 0
        for record in outcome.requests:
            assert record.headers.get("if-range") == value
            assert (record.range or (0,))[0] >= THERE  # type: ignore[operator]

    return check


def not_resumed(outcome: Outcome) -> None:
    assert outcome.report["resumed"] == 0
    bounded(outcome)


@family.case("has the same file as in the run before, by a strong `ETag`", RESUMED)
def unchanged(place: Place) -> Row:
    resource = Resource(OLD)
    left(place, dated(OLD.size, resource, etag=True))
    return place.serve(resource, check=went_on(str(resource.etag)))


@family.case("has the same file as in the run before, by its date", RESUMED)
def unchanged_by_date(place: Place) -> Row:
    resource = Resource(OLD, **BY_DATE)
    left(place, dated(OLD.size, resource))
    return place.serve(resource, check=went_on(str(resource.last_modified_date)))


@family.case("has replaced the file since the run before, with a new strong `ETag`", ANEW)
def replaced(place: Place) -> Row:
    left(place, dated(OLD.size, Resource(OLD), etag=True))
    return place.serve(Resource(NEW), check=asked_with(Resource(OLD).etag))


@family.case("has replaced the file since the run before, and ignores `If-Range`", ANEW)
def replaced_if_range_ignored(place: Place) -> Row:
    left(place, dated(OLD.size, Resource(OLD), etag=True))
    return place.serve(
        Resource(NEW, script=lambda _: IgnoreIfRange(Resource(NEW))),
        check=asked_with(Resource(OLD).etag),
    )


@family.case("has replaced the file since the run before, which shows by its date alone", ANEW)
def replaced_by_date(place: Place) -> Row:
    old = Resource(OLD, **BY_DATE)
    left(place, dated(OLD.size, old))
    new = Resource(NEW, etag=None, last_modified=DATE + 1)
    return place.serve(new, check=asked_with(old.last_modified_date))


@family.case("has replaced the file since the run before, and nothing tells so", ONE_ANSWER)
def replaced_without_validators(place: Place) -> Row:
    """A version that nothing could tell from another is not even asked for."""
    left(place, Version(OLD.size, None, None))
    return place.serve(
        Resource(NEW, **NOTHING),
        check=not_resumed,
    )


@family.case("had a weak `ETag` in the run before", ONE_ANSWER)
def weak_etag_before(place: Place) -> Row:
    left(place, Version(OLD.size, 'W/"1"', None))
    return place.serve(
        Resource(NEW, **WEAK),
        check=not_resumed,
    )


@family.case("had a weak `ETag` in the run before, and the list has a checksum", COMPARED)
def weak_etag_and_checksum(place: Place) -> Row:
    def check(outcome: Outcome) -> None:
        assert outcome.report["resumed"] == THERE
        assert not any("if-range" in record.headers for record in outcome.requests)

    left(place, Version(OLD.size, 'W/"1"', None))
    checksum = f"sha256:{OLD.sha256}"
    return place.serve(Resource(OLD, **WEAK), checksum=checksum, check=check)


@family.case("has a smaller file than what is there already", ANEW)
def smaller_than_what_is_there(place: Place) -> Row:
    left(place, dated(OLD.size, Resource(OLD), etag=True))
    return place.serve(Resource(Content(300 * KIB, seed=2)), check=asked_with(Resource(OLD).etag))


@family.case("has a smaller file than what is there already, and answers 416", ANEW)
def smaller_and_416(place: Place) -> Row:
    left(place, dated(OLD.size, Resource(OLD), etag=True))
    small = Resource(Content(300 * KIB, seed=2))
    small.script = lambda _: IgnoreIfRange(small)
    return place.serve(small, check=asked_with(Resource(OLD).etag))


@family.case("has a file that has grown since the run before", ANEW)
def grown(place: Place) -> Row:
    left(place, dated(OLD.size, Resource(OLD), etag=True))
    return place.serve(Resource(Content(3 * MIB, seed=1)), check=asked_with(Resource(OLD).etag))


@family.case("has the file no more (404)", KEPT, fails="StatusError")
def gone(place: Place) -> Row:
    version = dated(OLD.size, Resource(OLD), etag=True)
    left(place, version)

    def check(outcome: Outcome) -> None:
        part = outcome.final.with_name(outcome.final.name + ".part")
        assert part.read_bytes() == OLD.read(0, THERE)
        kept = part.with_name(part.name + ".json").read_bytes()
        assert kept == Journal(place.name, version, ((0, THERE),)).encode()
        assert "404" in outcome.report["error"]["message"]

    return Row(place.origin.url(place.path), check=check)
