"""Ranges that are ignored, refused or wrong (RFC 9110, sections 14 and 15.3.7)."""

from tests.matrix.cases import Family, Place, Row, content
from tests.servers.faults import IgnoreRange
from tests.servers.resource import Resource

family = Family("ranges", "Ranges")

WHOLE = "comes right, from one answer"


@family.case("ignores `Range`", WHOLE)
def ignored(place: Place) -> Row:
    return place.serve(Resource(content(), ranges=False))


@family.case("advertises `Accept-Ranges` and ignores `Range`", WHOLE)
def advertised(place: Place) -> Row:
    return place.serve(Resource(content(), script=lambda _: IgnoreRange()))
