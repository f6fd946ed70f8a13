"""Files with several addresses: shared out by speed, and right whatever one of them does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.crawl import CrawlResult, run_crawl
from tests.servers.content import Content
from tests.servers.faults import Close, Status, WrongBytes
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Resource

MIB = 1 << 20
SIZE = 24 * MIB
CONTENT = Content(SIZE, seed=1)
SPLIT: dict[str, str | int | float] = {
    "FETCHER_MIN_SPLIT_SIZE": "1M",
    "FETCHER_MAX_SPLITS": 4,
    "FETCHER_MAX_TRIES": 2,
}


@dataclass
class Mirrors:
    """Three servers, and a crawl over one file that all of them have."""

    origins: list[Origin]
    tmp_path: Path

    def add(self, *resources: Resource | Fault) -> list[str]:
        return [
            origin.add("/a.bin", resource)
            for origin, resource in zip(self.origins, resources, strict=False)
        ]

    def fetch(
        self, urls: list[str], checksum: str = "", size: str = "", **settings: str | float
    ) -> CrawlResult:
        listed = self.tmp_path / "list.tsv"
        columns = ("name", "url", "checksum", "size", "mirrors")
        row = ("a.bin", urls[0], checksum, size, " ".join(urls[1:]))
        listed.write_text("\t".join(columns) + "\n" + "\t".join(row) + "\n")
        return run_crawl(self.tmp_path / "out", listed, settings=SPLIT | settings)

    @property
    def asked(self) -> list[int]:
        return [len(origin.requests_for("/a.bin")) for origin in self.origins]


@pytest.fixture
def mirrors(tmp_path: Path) -> Iterator[Mirrors]:
    with ExitStack() as stack:
        yield Mirrors([stack.enter_context(Origin()) for _ in range(3)], tmp_path)


def one(result: CrawlResult) -> dict[str, Any]:
    (row,) = result.report
    return row


def assert_right(result: CrawlResult, mirrors: Mirrors) -> None:
    assert one(result)["status"] == "ok", one(result)
    assert result.returncode == 0
    assert CONTENT.first_difference(mirrors.tmp_path / "out" / "a.bin") is None


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_ranges_are_spread_and_each_mirror_has_its_own_validators(mirrors: Mirrors) -> None:
    urls = mirrors.add(
        Resource(CONTENT, etag='"one"', rate=8 * MIB),
        Resource(CONTENT, etag='"two"', last_modified=1_600_000_000, rate=8 * MIB),
        Resource(CONTENT, etag=None, last_modified=None, rate=8 * MIB),
    )

    result = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}")

    assert_right(result, mirrors)
    assert min(mirrors.asked) >= 2, mirrors.asked
    assert one(result)["notes"] == []
    assert one(result)["received"] == SIZE
    for origin, etag in zip(mirrors.origins, ('"one"', '"two"', None), strict=True):
        sent = {exchange.headers.get("if-range") for exchange in origin.requests_for("/a.bin")}
        assert sent <= {None, etag}, "each is asked for its own version"


def test_the_faster_brings_more(mirrors: Mirrors) -> None:
    urls = mirrors.add(
        Resource(CONTENT, rate=2 * MIB), Resource(CONTENT, rate=16 * MIB), Resource(CONTENT)
    )[:2]

    result = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}")

    assert_right(result, mirrors)
    slow, fast = (origin.sent("/a.bin") for origin in mirrors.origins[:2])
    assert fast > 2 * slow


def test_without_a_checksum_one_address_is_enough(mirrors: Mirrors) -> None:
    urls = mirrors.add(*(Resource(CONTENT) for _ in range(3)))

    assert_right(mirrors.fetch(urls), mirrors)

    assert mirrors.asked[1:] == [0, 0]


@pytest.mark.parametrize("checksum", ["", f"sha256:{CONTENT.sha256}"])
@pytest.mark.parametrize("first", ["404", "refused", "smaller"])
def test_the_next_takes_over_from_one_that_has_not_the_file(
    mirrors: Mirrors, first: str, checksum: str
) -> None:
    other = Resource(Content(1000, seed=2)) if first == "smaller" else Status(404)
    urls = mirrors.add(other, Resource(CONTENT), Resource(CONTENT))
    if first == "refused":
        urls[0] = f"http://127.0.0.1:{closed_port()}/a.bin"

    result = mirrors.fetch(urls, checksum, size=str(SIZE), FETCHER_RETRY_BACKOFF=0)

    assert_right(result, mirrors)
    (note,) = one(result)["notes"]
    assert note.startswith(f"{urls[0]} was given up: ")


@pytest.mark.parametrize(
    ("etag", "date", "same"),
    [('"1"', 1_700_000_000, True), ('"1"', 1_600_000_000, False), (None, 1_700_000_000, False)],
)
def test_without_a_checksum_another_goes_on_only_where_its_file_is_the_same(
    mirrors: Mirrors, etag: str | None, date: int, same: bool
) -> None:
    """By size, date and strong ETag: each for itself may be that of another file elsewhere."""
    dying = Resource(CONTENT, etag=etag, faults=[Close(after=5 * MIB)])
    dying.script = lambda exchange: Status(404)
    urls = mirrors.add(dying, Resource(CONTENT, etag=etag, last_modified=date))

    result = mirrors.fetch(urls, FETCHER_MAX_SPLITS=1, FETCHER_RETRY_BACKOFF=0)

    assert_right(result, mirrors)
    assert one(result)["restarts"] == (0 if same else 1)
    assert one(result)["received"] == (SIZE if same else SIZE + 5 * MIB)


def test_what_is_another_file_is_passed_over(mirrors: Mirrors) -> None:
    urls = mirrors.add(
        Resource(CONTENT, rate=16 * MIB),
        Resource(Content(SIZE + 1, seed=1)),
        Resource(CONTENT, ranges=False),
    )

    result = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}")

    assert_right(result, mirrors)
    other, whole = sorted(one(result)["notes"], key=lambda note: "whole" in note)
    assert f"{SIZE + 1} bytes" in other
    assert urls[1] in other
    assert "whole file" in whole
    assert mirrors.asked[1:] == [1, 1]


def test_one_that_fails_later_is_done_without(mirrors: Mirrors) -> None:
    failing = Resource(CONTENT, rate=4 * MIB, faults=[Close(after=100_000)])
    failing.script = lambda exchange: Status(410)
    urls = mirrors.add(Resource(CONTENT, rate=16 * MIB), failing, Resource(CONTENT, rate=16 * MIB))

    result = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}", FETCHER_RETRY_BACKOFF=0)

    assert_right(result, mirrors)
    assert one(result)["restarts"] == 0
    assert one(result)["received"] == SIZE


def test_a_much_slower_one_is_set_aside(mirrors: Mirrors) -> None:
    urls = mirrors.add(Resource(CONTENT, rate=4 * MIB), Resource(CONTENT, rate=10_000))

    result = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}", FETCHER_MIN_SPLIT_SIZE="2M")

    assert_right(result, mirrors)
    assert one(result)["seconds"] < 20, "the rest of its range would take minutes"
    (note,) = one(result)["notes"]
    assert note == f"{urls[1]} was set aside: another mirror is much faster"


@pytest.mark.parametrize("liar", [0, 1])
def test_one_that_lies_is_named_and_the_file_comes_right(mirrors: Mirrors, liar: int) -> None:
    honest = Resource(CONTENT, rate=16 * MIB)
    wrong = Resource(Content(SIZE, seed=9), rate=16 * MIB)
    urls = mirrors.add(*(wrong if at == liar else honest for at in range(3)))

    result = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}")

    assert_right(result, mirrors)
    assert one(result)["notes"] == [f"{urls[liar]} served wrong bytes"]


def test_all_lie(mirrors: Mirrors) -> None:
    urls = mirrors.add(*(Resource(Content(SIZE, seed=at)) for at in (5, 6, 7)))

    result = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}")

    assert result.returncode == 1
    assert one(result)["error"]["type"] == "ChecksumMismatchError"
    assert one(result)["notes"] == [f"{url} served wrong bytes" for url in urls]
    assert not list((mirrors.tmp_path / "out").glob("a.bin*"))


def test_a_login_goes_to_its_own_mirror_only(mirrors: Mirrors) -> None:
    urls = mirrors.add(*(Resource(CONTENT, rate=8 * MIB) for _ in range(3)))
    with_logins = [url.replace("://", f"://user{at}:secret@") for at, url in enumerate(urls[:2])]

    result = mirrors.fetch([*with_logins, urls[2]], f"sha256:{CONTENT.sha256}")

    assert_right(result, mirrors)
    sent = [
        {exchange.headers.get("authorization") for exchange in origin.requests_for("/a.bin")}
        for origin in mirrors.origins
    ]
    assert [len(values) for values in sent] == [1, 1, 1]
    assert sent[0] != sent[1]
    assert sent[2] == {None}
    assert "secret" not in result.stderr


def test_an_interrupted_file_goes_on_from_any_of_them(mirrors: Mirrors) -> None:
    """What is there came from both; the one that is left finishes it."""
    first = Resource(CONTENT, etag='"one"', rate=16 * MIB, faults=[])
    urls = mirrors.add(first, Resource(CONTENT, etag='"two"', rate=16 * MIB))
    ends = Content(SIZE - 6 * MIB, seed=1).size
    broken = [
        Resource(CONTENT, etag=f'"{name}"', script=refuse_beyond(ends)) for name in ("one", "two")
    ]
    urls = mirrors.add(*broken)
    stopped = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}", FETCHER_RETRY_BACKOFF=0)
    assert one(stopped)["status"] == "failed"
    there = one(stopped)["received"]
    urls = mirrors.add(Status(404), Resource(CONTENT, etag='"two"'))

    result = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}")

    assert_right(result, mirrors)
    assert one(result)["resumed"] == there > 0
    assert one(result)["received"] == SIZE - there


def refuse_beyond(end: int) -> Any:
    def script(exchange: Any) -> Fault | None:
        start = exchange.range[0] if exchange.range else 0
        return Status(404) if start >= end else None

    return script


def test_wrong_bytes_on_the_way_are_the_mirrors_own_too(mirrors: Mirrors) -> None:
    """It lies about a stretch in the middle only, once."""
    lying = Resource(CONTENT, rate=16 * MIB, faults=[WrongBytes()])
    urls = mirrors.add(Resource(CONTENT, rate=16 * MIB), lying)

    result = mirrors.fetch(urls, f"sha256:{CONTENT.sha256}")

    assert_right(result, mirrors)
    assert one(result)["notes"] == [f"{urls[1]} served wrong bytes"]
