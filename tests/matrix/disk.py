"""What stands in the output folder before the crawl begins."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fetcher.disk.journal import Journal
from fetcher.rules.answers import Version
from tests.matrix.cases import Family, Outcome, Place, Row, content
from tests.servers.resource import Resource

family = Family("disk", "Disk")

ANEW = "is not believed: the file is begun anew, and comes right"
ALONE = "fails; what stands there is left alone"


def part_of(place: Place) -> tuple[Path, Path]:
    """Where part and journal of the case's file stand."""
    place.final.parent.mkdir(parents=True, exist_ok=True)
    part = place.final.with_name(place.final.name + ".part")
    return part, part.with_name(part.name + ".json")


def journal_of(place: Place, resource: Resource, end: int = 100_000) -> bytes:
    version = Version(resource.content.size, resource.etag, resource.last_modified_date)
    return Journal(place.name, version, ((0, end),)).encode()


def damaged(name: str, what: str, damage: Callable[[bytes], bytes | None]) -> None:
    """A part full of wrong bytes: believing its journal would show in the file."""

    def put(place: Place) -> Row:
        resource = Resource(content())
        part, journal = part_of(place)
        part.write_bytes(b"\xee" * 200_000)
        text = damage(journal_of(place, resource))
        if text is not None:
            journal.write_bytes(text)

        def check(outcome: Outcome) -> None:
            assert outcome.report["resumed"] == 0

        return place.serve(resource, check=check)

    put.__name__ = name
    family.case(what, ANEW)(put)


JOURNAL = "has a journal that is empty, cut, damaged or missing"
damaged("journal_missing", JOURNAL, lambda _: None)
damaged("journal_empty", JOURNAL, lambda _: b"")
damaged("journal_rubbish", JOURNAL, lambda _: b"\0\xff{[" * 99)
damaged("journal_cut", JOURNAL, lambda text: text[:-30])
damaged("journal_flipped", JOURNAL, lambda text: text.replace(b"100000", b"100001"))
damaged("journal_zeroed", JOURNAL, lambda text: bytes(len(text)))
damaged("journal_nested", JOURNAL, lambda _: b"[" * 5_000_000)
OTHER = "has a journal of another file, or of another version of this program"
damaged("journal_version", OTHER, lambda text: text.replace(b'"version": 2', b'"version": 1'))
damaged("journal_name", OTHER, lambda _: Journal("x", Version(9, '"x"'), ((0, 9),)).encode())


@family.case("has a journal without its part, or one that says more than the part holds", ANEW)
def part_missing(place: Place) -> Row:
    resource = Resource(content())
    part_of(place)[1].write_bytes(journal_of(place, resource))
    return place.serve(resource)


@family.case("has a journal without its part, or one that says more than the part holds", ANEW)
def part_short(place: Place) -> Row:
    resource = Resource(content())
    part, journal = part_of(place)
    part.write_bytes(b"\xee" * 99_999)
    journal.write_bytes(journal_of(place, resource))
    return place.serve(resource)


def standing(
    name: str, what: str, put_there: Callable[[Path, Path], object], error: str = "ForeignFileError"
) -> None:
    """Something is in the way of the part or of the file."""

    def put(place: Place) -> Row:
        part, _ = part_of(place)
        put_there(part, place.final)
        return place.serve(content())

    put.__name__ = name
    family.case(what, ALONE, error)(put)


standing("folder", "has a folder where the file belongs", lambda _, final: final.mkdir())
standing(
    "part_folder", "has a folder where the part belongs", lambda part, _: part.mkdir(), "DiskError"
)
standing("part_fifo", "has a pipe where the part belongs", lambda part, _: os.mkfifo(part))


@family.case("has a link where the part belongs", ALONE, "DiskError")
def part_link(place: Place) -> Row:
    target = place.out.parent / "precious"
    target.write_bytes(b"precious")
    part_of(place)[0].symlink_to(target)

    def check(outcome: Outcome) -> None:
        assert target.read_bytes() == b"precious"

    return place.serve(content(), check=check)


@family.case("has a link to a folder elsewhere in the name", ALONE, "ForeignFileError")
def folder_link(place: Place) -> Row:
    target = place.out.parent / "elsewhere"
    target.mkdir()
    (place.out / "linked").symlink_to(target)

    def check(outcome: Outcome) -> None:
        assert not list(target.iterdir())

    return place.serve(content(), name="linked/a.bin", check=check)


@family.case("has a file where a folder of the name belongs", ALONE, "DiskError")
def file_for_folder(place: Place) -> Row:
    (place.out / "occupied").write_bytes(b"precious")

    def check(outcome: Outcome) -> None:
        assert (place.out / "occupied").read_bytes() == b"precious"

    return place.serve(content(), name="occupied/a.bin", check=check)
