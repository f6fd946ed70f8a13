"""Mirrors that lie, die, differ or are busy: no byte of theirs gets a final name unproven, and what
the others can bring comes."""

from __future__ import annotations

import base64
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fetcher.lists.rows import MAX_MIRRORS
from tests.crawl import CrawlResult, run_crawl, start_crawl, wait_for, write_list
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Close, Drip, IgnoreRange, Instead, Respond, Status
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Gate, Resource
from tests.test_mirrors import MIB, SPLIT, one
from tests.test_pieces import metalink

TRIES = 2
SIZE = 12 * MIB
GOOD = Content(SIZE, seed=1)
BAD = Content(SIZE, seed=2)
DIGEST = "sha-256=:" + base64.b64encode(bytes.fromhex(GOOD.sha256)).decode() + ":"


class Site:
    """Two servers, and crawls over the one file that both have."""

    def __init__(self, origins: list[Origin], tmp_path: Path) -> None:
        self.origins = origins
        self.tmp_path = tmp_path
        self.out = tmp_path / "out"
        self.final = self.out / "a.bin"

    def serve(self, *resources: Resource | Fault) -> list[str]:
        """The addresses of the file, the first one's first."""
        return [
            origin.add("/a.bin", resource)
            for origin, resource in zip(self.origins, resources, strict=True)
        ]

    def listed(self, urls: list[str], checksum: str = "", size: str = "") -> Path:
        """A list of the file."""
        path = self.tmp_path / "list.tsv"
        path.write_text(
            "name\turl\tchecksum\tsize\tmirrors\n"
            f"a.bin\t{urls[0]}\t{checksum}\t{size}\t{' '.join(urls[1:])}\n"
        )
        return path

    def fetch(self, urls: Path, **settings: str | float) -> CrawlResult:
        """A whole crawl."""
        return run_crawl(self.out, urls, settings=SPLIT | {"FETCHER_MAX_TRIES": TRIES} | settings)

    def interrupt(self, urls: Path, *gates: Gate, **settings: str | float) -> CrawlResult:
        """A crawl that is stopped when a connection stands at each gate; they are open then."""
        with start_crawl(
            self.out, urls, settings=SPLIT | {"FETCHER_MAX_TRIES": TRIES} | settings
        ) as crawl:
            for gate in gates:
                gate.wait_until_held()
            crawl.send_signal(signal.SIGINT)
            result = crawl.wait()
        for gate in gates:
            gate.open()
        assert one(result)["error"]["type"] == "Stopped"
        return result

    @property
    def asked(self) -> list[int]:
        """How many requests each server has had."""
        return [len(origin.requests_for("/a.bin")) for origin in self.origins]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site([stack.enter_context(Origin()) for _ in range(2)], tmp_path)


def assert_right(result: CrawlResult, site: Site, status: str = "ok") -> dict[str, Any]:
    """The file is whole and right; its row of the report."""
    row = one(result)
    assert row["status"] == status, row
    assert GOOD.first_difference(site.final) is None
    return row


# --- what may be gone on with -------------------------------------------------------------------


def test_retry_tsv_has_no_pieces_that_would_tell_the_bytes_of_mirrors(site: Site) -> None:
    """The first run mixed, as the pieces would have told; the second has nothing to tell by."""
    gates = Gate(MIB // 2), Gate(MIB // 2)
    urls = site.serve(Resource(GOOD, gate=gates[0]), Resource(BAD, gate=gates[1]))
    site.interrupt(metalink(site.tmp_path / "list.meta4", urls, GOOD), *gates)

    result = site.fetch(site.out / "retry.tsv")

    assert_right(result, site)


def test_a_digest_that_is_no_longer_stated_tells_no_bytes_of_mirrors(site: Site) -> None:
    gates = Gate(MIB // 2), Gate(MIB // 2)
    first = Resource(GOOD, gate=gates[0], headers={"Repr-Digest": DIGEST})
    urls = site.serve(first, Resource(BAD, gate=gates[1]))
    site.interrupt(site.listed(urls), *gates)
    site.serve(Resource(GOOD), Resource(BAD))

    result = site.fetch(site.listed(urls))

    assert_right(result, site)


@pytest.mark.parametrize(
    ("settings", "stated", "error"),
    [
        ({"FETCHER_CHECKSUM": "require"}, None, "NoChecksumError"),
        ({}, DIGEST, "ChecksumMismatchError"),
        ({"DOWNLOAD_MAXSIZE": "1M"}, None, "TooLargeError"),
    ],
)
def test_a_mirror_that_goes_on_first_is_asked_for_all_that_the_first_address_is(
    site: Site, settings: dict[str, str], stated: str | None, error: str
) -> None:
    """It has another file under the same ETag, date and size."""
    gate = Gate(MIB // 2)
    first = Resource(GOOD, etag='"1"', gate=gate, headers={"Repr-Digest": DIGEST})
    mirror = Resource(BAD, etag='"1"', headers={"Repr-Digest": stated} if stated else {})
    urls = site.serve(first, mirror)
    site.interrupt(site.listed(urls), gate, FETCHER_MAX_SPLITS=1)
    site.serve(Status(404), mirror)

    result = site.fetch(site.listed(urls), **settings)

    assert one(result)["error"]["type"] == error, one(result)
    assert not site.final.exists()


def test_of_thousands_of_mirrors_the_first_are_used(site: Site) -> None:
    """All in one line; none of them has the file."""
    urls = [site.origins[0].add("/a.bin", Status(404))]
    urls += [site.origins[1].url(f"/{number}") for number in range(20_000)]
    path = site.tmp_path / "list.txt"
    path.write_text("\t".join(urls) + "\n")

    result = site.fetch(path)

    assert one(result)["error"]["type"] == "StatusError"
    assert len(site.origins[1].requests) == MAX_MIRRORS
    notes = one(result)["notes"]
    assert notes[0] == (
        f"{20_000 - MAX_MIRRORS} of its mirrors are not used: {MAX_MIRRORS} are enough"
    )
    assert len(notes) == 2 + MAX_MIRRORS, "the others were given up"


# --- who lies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("liar", [0, 1])
def test_where_pieces_are_of_both_each_is_asked_alone(site: Site, liar: int) -> None:
    """Every piece is longer than a range, so that all of them hold bytes of both."""
    contents = (GOOD, BAD) if liar else (BAD, GOOD)
    urls = site.serve(*(Resource(content, rate=8 * MIB) for content in contents))
    listed = metalink(site.tmp_path / "list.meta4", urls, GOOD, piece=4 * MIB)

    row = assert_right(site.fetch(listed), site)

    assert len(row["notes"]) == 1
    assert row["notes"][0].startswith(f"{urls[liar]} was given up: bytes ")
    assert row["restarts"] == 0


@pytest.mark.parametrize("splits", [1, 4])
def test_the_only_piece_is_of_three_of_whom_one_lies(tmp_path: Path, splits: int) -> None:
    with ExitStack() as stack:
        site = Site([stack.enter_context(Origin()) for _ in range(3)], tmp_path)
        resources = [Resource(content, rate=8 * MIB) for content in (GOOD, BAD, GOOD)]
        urls = site.serve(*resources)
        listed = metalink(tmp_path / "list.meta4", urls, GOOD, piece=SIZE)

        row = assert_right(site.fetch(listed, FETCHER_MAX_SPLITS=splits), site)

    assert row["received"] <= 4 * SIZE
    assert not any(urls[0] in note or urls[2] in note for note in row["notes"])


# --- who is asked instead -----------------------------------------------------------------------


def test_a_slow_address_is_used_again_when_the_fast_one_is_gone(site: Site) -> None:
    slow, fast = Resource(GOOD, etag='"slow"'), Resource(GOOD, etag='"fast"', rate=3 * MIB)
    urls = site.serve(slow, fast)
    gone = threading.Event()

    def die_when_alone(exchange: Exchange) -> Fault | None:
        first = site.origins[0]
        if first.requests_for("/a.bin") and not first.active("/a.bin"):
            gone.set()
        return Status(410) if gone.is_set() else None

    slow.script = lambda exchange: None if gone.is_set() else Drip(20_000)
    fast.script = die_when_alone
    listed = site.listed(urls, f"sha256:{GOOD.sha256}")

    row = assert_right(site.fetch(listed, FETCHER_MIN_SPLIT_SIZE="2M", FETCHER_MAX_SPLITS=2), site)

    aside, given_up = row["notes"]
    assert aside == f"{urls[0]} was set aside: another mirror is much faster"
    assert given_up.startswith(f"{urls[1]} was given up: ")
    assert row["restarts"] == 0


def changing() -> Fault:
    """Another version for each request, which breaks."""
    numbers = count()

    def answer(exchange: Exchange) -> None:
        exchange.send_head(200, {"ETag": f'"{next(numbers)}"', "Content-Length": str(SIZE)})
        exchange.send(bytes(1000))
        exchange.close()

    return Respond(answer)


@pytest.mark.parametrize(
    "useless",
    [
        Status(200, {"Content-Range": f"bytes 0-99/{SIZE}"}, bytes(100)),
        Status(206, {"Content-Range": "bytes 0-99/*"}, bytes(100)),
        Status(416),
        changing(),
    ],
)
def test_the_mirror_is_asked_where_the_first_address_makes_no_sense(
    site: Site, useless: Fault
) -> None:
    urls = site.serve(useless, Resource(GOOD))
    listed = site.listed(urls, f"sha256:{GOOD.sha256}", str(SIZE))

    row = assert_right(site.fetch(listed), site)

    assert row["notes"][0].startswith(f"{urls[0]} was ")


@pytest.mark.parametrize(("again", "ranges"), [(False, False), (True, False), (True, True)])
def test_what_is_there_is_not_given_up_for_a_file_of_another_size(
    site: Site, again: bool, ranges: bool
) -> None:
    """Without anything in the list that would tell who is right; in one run, or in the next."""
    breaking = Resource(GOOD, faults=[Close(after=9 * MIB)], script=lambda exchange: Status(503))
    mirror = Resource(Bytes(b"maintenance\n"), ranges=ranges)
    urls = site.serve(breaking, Status(503) if again else mirror)
    result = site.fetch(site.listed(urls), FETCHER_MAX_SPLITS=1)
    if again:
        site.serve(breaking, mirror)
        result = site.fetch(site.listed(urls))

    error = one(result)["error"]
    assert error["type"] == "SizeMismatchError"
    assert f"{SIZE} bytes" in error["message"]
    assert "12 bytes" in error["message"]
    assert not site.final.exists()

    site.serve(Resource(GOOD), mirror)
    assert assert_right(site.fetch(site.listed(urls)), site)["resumed"] >= 8 * MIB


@pytest.mark.parametrize(
    "later", [IgnoreRange(), Instead(Resource(Content(SIZE, seed=3), last_modified=None))]
)
def test_the_mirror_goes_on_where_the_first_address_has_not_the_file_any_more(
    site: Site, later: Fault
) -> None:
    requests = count()
    first = Resource(GOOD, rate=8 * MIB, script=lambda _: later if next(requests) > 3 else None)
    urls = site.serve(first, Resource(GOOD, etag='"mirror"', rate=8 * MIB))

    row = assert_right(site.fetch(site.listed(urls, f"sha256:{GOOD.sha256}")), site)

    assert row["restarts"] == 0
    assert row["received"] < SIZE + 6 * MIB
    (note,) = row["notes"]
    assert note.startswith(f"{urls[0]} was passed over: ")


def test_who_was_passed_over_begins_anew_when_the_others_are_gone(site: Site) -> None:
    """The first sends the whole file only, from some time on; and then the mirror dies."""
    requests = count(1)
    last = 2 + TRIES
    asked = 0

    def ignore_later(_: Exchange) -> Fault | None:
        nonlocal asked
        asked = next(requests)
        return IgnoreRange() if asked > 2 else None

    def die_when_alone(_: Exchange) -> Fault | None:
        alone = asked >= last and not site.origins[0].active("/a.bin")
        return Status(410) if alone else None

    urls = site.serve(
        Resource(GOOD, rate=8 * MIB, script=ignore_later),
        Resource(GOOD, rate=8 * MIB, etag='"mirror"', script=die_when_alone),
    )

    row = assert_right(site.fetch(site.listed(urls, f"sha256:{GOOD.sha256}")), site)

    passed_over, given_up = row["notes"]
    assert passed_over.startswith(f"{urls[0]} was passed over: ")
    assert given_up.startswith(f"{urls[1]} was given up: ")
    assert row["restarts"] == 1


# --- a file that stands there already -----------------------------------------------------------


def test_a_mirror_tells_of_a_file_that_nobody_remembers(site: Site) -> None:
    urls = site.serve(Status(410), Resource(GOOD))
    site.out.mkdir()
    GOOD.write_to(site.final)

    row = assert_right(site.fetch(site.listed(urls)), site, "unchanged")

    assert row["verified_by"] == ["size"]
    assert row["received"] == 0


def test_where_none_tells_of_it_the_first_address_is_named(site: Site) -> None:
    urls = site.serve(Status(410), Status(404))
    site.out.mkdir()
    GOOD.write_to(site.final)

    error = one(site.fetch(site.listed(urls)))["error"]

    assert error["type"] == "StatusError"
    assert error["message"].startswith(f"{urls[0]} was answered with status 410")


def test_a_server_that_serves_another_file_is_waited_for(origin: Origin, tmp_path: Path) -> None:
    """It takes one connection; the file to compare with has its turn when the other is through."""
    gate, other = Gate(after=1000), Content(100_000, seed=3)
    small = Resource(GOOD, script=lambda _: None if gate.is_open else Status(503))
    rows = [
        ("other.bin", origin.add("/other", Resource(other, gate=gate))),
        ("a.bin", origin.add("/a.bin", small)),
    ]
    (tmp_path / "out").mkdir()
    GOOD.write_to(tmp_path / "out" / "a.bin")
    listed = write_list(tmp_path / "list.tsv", rows)

    with start_crawl(tmp_path / "out", listed, settings={"FETCHER_MAX_TRIES": TRIES}) as crawl:
        gate.wait_until_held()
        wait_for(lambda: len(origin.requests_for("/a.bin")) >= TRIES, message="the refusals")
        gate.open()
        result = crawl.wait()

    assert {name: row["status"] for name, row in result.by_name.items()} == {
        "other.bin": "ok",
        "a.bin": "unchanged",
    }


# --- busy servers -------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True])
def test_an_idle_mirror_is_asked_while_the_first_server_is_busy(site: Site, begun: bool) -> None:
    """It takes one connection, and serves another file until this one is there."""
    gate, held = Gate(after=1000), Gate(MIB // 2)
    first, mirror = site.origins
    busy = Resource(GOOD, script=lambda _: None if gate.is_open else Status(503))
    other = first.add("/other", Resource(Content(100_000, seed=3), gate=gate))
    urls = site.serve(Resource(GOOD, gate=held), Resource(GOOD, etag='"mirror"', rate=8 * MIB))
    listed = site.listed(urls, f"sha256:{GOOD.sha256}")
    if begun:
        site.interrupt(listed, held, FETCHER_MAX_SPLITS=1)
    first.add("/a.bin", busy)
    text = listed.read_text().splitlines(keepends=True)
    listed.write_text(f"{text[0]}other.bin\t{other}\t\t\t\n{text[1]}")

    with start_crawl(site.out, listed, settings=SPLIT) as crawl:
        gate.wait_until_held()
        wait_for(site.final.exists, message="the file")
        gate.open()
        result = crawl.wait()

    assert {row["status"] for row in result.report} == {"ok"}
    assert GOOD.first_difference(site.final) is None
    assert (result.by_name["a.bin"]["resumed"] > 0) == begun
    assert mirror.peak("/a.bin") > 1


# --- FETCHER_IF_EXISTS=update -------------------------------------------------------------------


UPDATE = {"FETCHER_IF_EXISTS": "update"}
OLDER = 1_600_000_000


def test_validators_of_another_server_are_not_sent(site: Site) -> None:
    """The list has moved to a server with an older file: not modified since, it would say."""
    first, second = site.serve(
        Resource(BAD, etag=None), Resource(GOOD, etag=None, last_modified=OLDER)
    )
    assert one(site.fetch(site.listed([first])))["status"] == "ok"

    result = site.fetch(site.listed([second]), **UPDATE)

    assert_right(result, site)
    (asked, *_) = site.origins[1].requests
    assert not {"if-none-match", "if-modified-since"} & asked.headers.keys()


def test_another_server_with_the_same_size_and_date_has_nothing_new(site: Site) -> None:
    first, second = site.serve(Resource(GOOD), Resource(GOOD, etag='"other"'))
    assert one(site.fetch(site.listed([first])))["status"] == "ok"

    row = assert_right(site.fetch(site.listed([second]), **UPDATE), site, "unchanged")

    assert row["received"] == 0
    assert len(site.origins[1].requests) == 1


@pytest.mark.parametrize("old", [False, True])
def test_the_same_address_is_asked_by_its_validators(site: Site, old: bool) -> None:
    """Whatever its query; and also where an earlier version has not noted the address."""
    url, _ = site.serve(Resource(GOOD), Status(404))
    assert one(site.fetch(site.listed([url + "?signature=1"])))["status"] == "ok"
    if old:
        with closing(sqlite3.connect(site.out / ".fetcher" / "completed.sqlite3")) as ledger:
            ledger.execute("ALTER TABLE completed DROP COLUMN address")

    assert_right(site.fetch(site.listed([url + "?signature=2"]), **UPDATE), site, "unchanged")

    last = site.origins[0].requests[-1]
    assert last.status == 304
    assert last.headers["if-none-match"] == f'"{GOOD.tag}"'


def test_the_mirror_that_it_came_from_is_asked_by_its_own_validators(site: Site) -> None:
    urls = site.serve(Status(404), Resource(GOOD))
    listed = site.listed(urls)
    assert one(site.fetch(listed))["status"] == "ok"

    assert_right(site.fetch(listed, **UPDATE), site, "unchanged")

    assert "if-none-match" not in site.origins[0].requests[-1].headers
    assert site.origins[1].requests[-1].status == 304
