"""Names from headers, addresses and lists that want to leave the folder."""

from __future__ import annotations

from tests.matrix.cases import Family, Outcome, Place, Row
from tests.servers.content import Content
from tests.servers.faults import Redirect
from tests.servers.resource import Resource

family = Family("names", "Names")

SAFE = "gets a safe name in the folder, and comes right"
REFUSED = "fails: the list's name may not be used"
OWN = "each comes right under a name of its own"

SEEDS = iter(range(1000, 2000))


def small() -> Content:
    return Content(5000, seed=next(SEEDS))


def inside(outcome: Outcome) -> None:
    assert outcome.final.resolve().is_file()
    assert not outcome.final.is_symlink()


def disposition(name: str, what: str, header: str, final: str) -> None:
    """A row without a name; the server gives one."""

    def put(place: Place) -> Row:
        resource = Resource(small(), headers={"Content-Disposition": header})
        return place.serve(resource, name="", final=final, check=inside)

    put.__name__ = name
    family.case(what, SAFE)(put)


CLIMB = "gives a name with `..`, folders, backslashes or a drive"
disposition("dots", CLIMB, 'attachment; filename=".."', "dots")
disposition("climbing", CLIMB, 'attachment; filename="../../climbed.bin"', "climbed.bin")
disposition("absolute", CLIMB, 'attachment; filename="/etc/absolute.bin"', "absolute.bin")
disposition("backslashes", CLIMB, 'attachment; filename="..\\\\..\\\\back.bin"', "back.bin")
disposition("drive", CLIMB, 'attachment; filename="C:drive.bin"', "drive.bin")
STEER = "gives a name with NUL, controls or terminal escapes"
disposition("nul", STEER, "attachment; filename*=UTF-8''nul%00led.bin", "nul_led.bin")
disposition("escapes", STEER, "attachment; filename*=UTF-8''esc%1B%5B2Jape.bin", "esc_[2Jape.bin")
disposition(
    "turned", STEER, "attachment; filename*=UTF-8''turned%E2%80%AEnib.bin", "turned_nib.bin"
)
disposition(
    "long",
    "gives a name of 5,000 characters",
    f'attachment; filename="{"x" * 5000}.bin"',
    "x" * 255,
)
BROKEN = "gives a name in a broken or unknown encoding"
disposition(
    "charset", BROKEN, "attachment; filename*=klingon''a%20b; filename=charset.bin", "charset.bin"
)
disposition("utf8", BROKEN, "attachment; filename*=UTF-8''%ff%fe; filename=utf8.bin", "utf8.bin")
disposition(
    "starred",
    "gives two names",
    "attachment; filename=no; filename*=UTF-8''gr%C3%B6%C3%9Fe.bin",
    "größe.bin",
)
disposition(
    "bare_utf8",
    "gives a name in bare UTF-8",
    'attachment; filename="für.bin"'.encode().decode("latin-1"),
    "für.bin",
)
OWNS = "gives a name that this program uses"
disposition("part", OWNS, "attachment; filename=p.part", "p.part_")
disposition("journal", OWNS, "attachment; filename=p.part.json", "p.part.json_")
disposition("report", OWNS, "attachment; filename=report.jsonl", "report.jsonl_")
disposition(
    "hidden", "gives the name of a dot file or a device", "attachment; filename=.bashrc", "_bashrc"
)
disposition(
    "state", "gives the name of a dot file or a device", "attachment; filename=.fetcher", "_fetcher"
)
disposition(
    "device", "gives the name of a dot file or a device", "attachment; filename=CON.bin", "_CON.bin"
)
disposition("nothing", "gives an empty name", 'attachment; filename=""', "nothing")


def addressed(name: str, segment: str, final: str) -> None:
    """The address has the name."""

    def put(place: Place) -> Row:
        source = small()
        return Row(
            place.origin.add(f"/names/{segment}", source),
            source,
            name="",
            final=final,
            check=inside,
        )

    put.__name__ = name
    family.case("has an address with encoded slashes, dots or NUL", SAFE)(put)


addressed("url_climbing", "%2e%2e%2f%2e%2e%2furl.bin", "url.bin")
addressed("url_nul", "url%00nul.bin", "url_nul.bin")
addressed("url_folder", "folder/", "index")


@family.case("redirects to an address with another name", "gets the name of the list's address")
def redirected(place: Place) -> Row:
    source = small()
    place.origin.add("/names/.bashrc", source)
    url = place.origin.add("/names/redirected.bin", Redirect("/names/.bashrc"))
    return Row(url, source, name="", final="redirected.bin")


def listed(name: str, given: str) -> None:
    def put(place: Place) -> Row:
        return place.serve(small(), name=given, final=f"names/{name}")

    put.__name__ = name
    family.case(
        "stands in the list under a name that leaves the folder, or steers",
        REFUSED,
        "InvalidNameError",
    )(put)


listed("list_climbing", "../climbed-by-list.bin")
listed("list_absolute", "/absolute-by-list.bin")
listed("list_backslash", "a\\b.bin")
listed("list_escape", "a\x1b[2Jb.bin")
listed("list_long", "x" * 300)
listed("list_part", "mine.part")
listed("list_decoded", "mine.part.data")


def own(name: str, what: str, given: str, final: str | None = None) -> None:
    def put(place: Place) -> Row:
        return place.serve(small(), name=given, final=final)

    put.__name__ = name
    family.case(what, OWN)(put)


own("same", "stands in the list twice under one name", "names/same.bin")
own("same_again", "stands in the list twice under one name", "names/same.bin", "names/same.1.bin")
CASE = "differs from another one only in case, or only in Unicode form"
own("lower", CASE, "names/case.bin")
own("upper", CASE, "names/CASE.bin")
own("composed", CASE, "names/caf\u00e9.bin")
own("decomposed", CASE, "names/cafe\u0301.bin")
