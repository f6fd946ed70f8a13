"""Metalinks with the hashes of pieces: what is wrong is found piece by piece, and fetched again."""

from __future__ import annotations

import gzip
import hashlib
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytest

from fetcher.disk.journal import Journal
from fetcher.rules.answers import Version
from tests.crawl import CrawlResult, run_crawl, start_crawl, wait_for
from tests.servers.content import Bytes, Content, Source
from tests.servers.faults import WrongBytes
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource
from tests.test_stopping import Zeros, bytes_read

MIB = 1 << 20
PIECE = 1 * MIB
SIZE = 20 * MIB + 12345
CONTENT = Content(SIZE, seed=1)
SPLIT: dict[str, str | int | float] = {"FETCHER_MIN_SPLIT_SIZE": "1M", "FETCHER_MAX_SPLITS": 4}


@pytest.fixture
def origins() -> Iterator[list[Origin]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Origin()) for _ in range(2)]


def metalink(
    path: Path,
    urls: list[str],
    content: Source = CONTENT,
    *,
    checksum: bool = False,
    piece: int = PIECE,
) -> Path:
    hashes = "".join(
        f"<hash>{hashlib.sha1(block, usedforsecurity=False).hexdigest()}</hash>"
        for block in list(content.blocks(piece)) or [b""]
    )
    whole = f'<hash type="sha-256">{content.sha256}</hash>' if checksum else ""
    addresses = "".join(f'<url priority="{at + 1}">{url}</url>' for at, url in enumerate(urls))
    path.write_text(
        f'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="a.bin">{whole}'
        f'<pieces length="{piece}" type="sha-1">{hashes}</pieces>{addresses}</file></metalink>'
    )
    return path


def fetch(
    tmp_path: Path, urls: list[str], *, checksum: bool = False, **settings: str | float
) -> CrawlResult:
    listed = metalink(tmp_path / "list.meta4", urls, checksum=checksum)
    return run_crawl(tmp_path / "out", listed, settings=SPLIT | settings)


def one(result: CrawlResult) -> dict[str, Any]:
    (row,) = result.report
    return row


def assert_right(result: CrawlResult, tmp_path: Path) -> None:
    assert one(result)["status"] == "ok", one(result)
    assert "pieces" in one(result)["verified_by"]
    assert CONTENT.first_difference(tmp_path / "out" / "a.bin") is None
    assert one(result)["checksum"] == f"sha256:{CONTENT.sha256}"


@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize("checksum", [False, True])
def test_all_is_right(origin: Origin, tmp_path: Path, splits: int, checksum: bool) -> None:
    url = origin.add("/a.bin", Resource(CONTENT))

    result = fetch(tmp_path, [url], checksum=checksum, FETCHER_MAX_SPLITS=splits)

    assert_right(result, tmp_path)
    assert one(result)["received"] == SIZE


def test_a_file_without_validators_is_split_all_the_same(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", Resource(CONTENT, etag=None, last_modified=None))

    result = fetch(tmp_path, [url])

    assert_right(result, tmp_path)
    assert one(result)["connections"] > 1


@pytest.mark.parametrize("checksum", [False, True])
def test_only_wrong_pieces_come_again_from_another_mirror(
    origins: list[Origin], tmp_path: Path, checksum: bool
) -> None:
    lying = Resource(CONTENT, rate=16 * MIB, faults=[WrongBytes()])
    urls = [
        origins[0].add("/a.bin", Resource(CONTENT, rate=16 * MIB)),
        origins[1].add("/a.bin", lying),
    ]

    result = fetch(tmp_path, urls, checksum=checksum)

    assert_right(result, tmp_path)
    (note,) = one(result)["notes"]
    assert note.startswith(f"{urls[1]} was given up: bytes ")
    assert SIZE < one(result)["received"] <= SIZE + 8 * MIB
    assert one(result)["restarts"] == 0


def test_the_first_address_lies_about_everything(origins: list[Origin], tmp_path: Path) -> None:
    wrong = Resource(Content(SIZE, seed=9), rate=32 * MIB)
    urls = [origins[0].add("/a.bin", wrong), origins[1].add("/a.bin", Resource(CONTENT))]

    result = fetch(tmp_path, urls)

    assert_right(result, tmp_path)
    (note,) = one(result)["notes"]
    assert note.startswith(f"{urls[0]} was given up: bytes ")


def test_a_single_address_has_a_second_chance(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", Resource(CONTENT, faults=[WrongBytes()]))

    result = fetch(tmp_path, [url])

    assert_right(result, tmp_path)
    assert one(result)["received"] < SIZE + 8 * MIB


def test_a_piece_that_is_wrong_everywhere_fails_the_file(
    origins: list[Origin], tmp_path: Path
) -> None:
    urls = [each.add("/a.bin", Resource(Content(SIZE, seed=9))) for each in origins]

    result = fetch(tmp_path, urls)

    assert result.returncode == 1
    assert one(result)["error"]["type"] == "ChecksumMismatchError"
    assert "do not have their hash, wherever they come from" in one(result)["error"]["message"]
    assert not (tmp_path / "out" / "a.bin").exists()


def test_a_single_address_has_no_third_chance(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", Resource(Content(SIZE, seed=9)))

    result = fetch(tmp_path, [url])

    assert one(result)["error"]["type"] == "ChecksumMismatchError"
    assert one(result)["received"] <= 2 * SIZE


def test_pieces_of_another_size_are_told(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/a.bin", Resource(Content(SIZE + 2 * MIB, seed=1)))

    result = fetch(tmp_path, [url])

    assert one(result)["error"]["type"] == "SizeMismatchError"
    assert "the hashes of 21 pieces" in one(result)["error"]["message"]


@pytest.mark.parametrize("seed", [1, 9])
def test_what_comes_compressed_is_looked_at_when_it_is_decoded(
    origin: Origin, tmp_path: Path, seed: int
) -> None:
    sent = Content(3 * MIB + 5, seed)
    coded = Bytes(gzip.compress(sent.read(0, sent.size), 1))
    url = origin.add("/a.bin", Resource(coded, headers={"Content-Encoding": "gzip"}))
    listed = metalink(tmp_path / "list.meta4", [url], Content(3 * MIB + 5, 1))

    result = run_crawl(tmp_path / "out", listed, settings=SPLIT)

    if seed == 1:
        assert one(result)["status"] == "ok", one(result)
        assert "pieces" in one(result)["verified_by"]
        assert sent.first_difference(tmp_path / "out" / "a.bin") is None
    else:
        assert one(result)["error"]["type"] == "ChecksumMismatchError"
        assert "bytes 0 to 1048576 of a.bin" in one(result)["error"]["message"]
        assert not list((tmp_path / "out").glob("a.bin*"))


def test_pieces_of_another_size_than_the_decoded_are_told(origin: Origin, tmp_path: Path) -> None:
    coded = Bytes(gzip.compress(CONTENT.read(0, 2 * MIB), 1))
    url = origin.add("/a.bin", Resource(coded, headers={"Content-Encoding": "gzip"}))

    result = fetch(tmp_path, [url])

    assert one(result)["error"]["type"] == "SizeMismatchError"
    assert "the hashes of 21 pieces" in one(result)["error"]["message"]


@pytest.mark.parametrize("pieces", [True, False])
def test_pieces_are_the_checksum_that_is_required(
    origin: Origin, tmp_path: Path, pieces: bool
) -> None:
    url = origin.add("/a.bin", Resource(CONTENT))
    listed = metalink(tmp_path / "list.meta4", [url]) if pieces else None

    result = run_crawl(
        tmp_path / "out", listed, None if pieces else url, {"FETCHER_CHECKSUM": "require"}
    )

    error = one(result)["error"]
    assert (error["type"] if error else None) == (None if pieces else "NoChecksumError")


@pytest.mark.parametrize("length", [1, 1000])
def test_tiny_pieces_are_no_burden(origin: Origin, tmp_path: Path, length: int) -> None:
    """Every other hash of tens of thousands is wrong."""
    content = Content(50_000 * length, seed=1)
    url = origin.add("/a.bin", Resource(content))
    hashes = [
        hashlib.md5(block, usedforsecurity=False).hexdigest() if number % 2 else "0" * 32
        for number, block in enumerate(content.blocks(length))
    ]
    (tmp_path / "list.meta4").write_text(
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="a.bin">'
        f'<pieces length="{length}" type="md5"><hash>{"</hash><hash>".join(hashes)}</hash></pieces>'
        f"<url>{url}</url></file></metalink>"
    )

    result = run_crawl(tmp_path / "out", tmp_path / "list.meta4", timeout=30)

    assert one(result)["error"]["type"] == "ChecksumMismatchError"
    assert len(origin.requests_for("/a.bin")) <= 10


def test_a_part_that_has_other_pieces_than_the_list_by_now_is_begun_anew(
    origin: Origin, tmp_path: Path
) -> None:
    """The file has grown, and the list with it."""
    gate = Gate(after=MIB // 2)
    url = origin.add("/a.bin", Resource(Content(12 * MIB, seed=2), gate=gate))
    listed = metalink(tmp_path / "list.meta4", [url], Content(12 * MIB, seed=2))
    with start_crawl(tmp_path / "out", listed, settings=SPLIT) as crawl:
        gate.wait_until_held(4)
        crawl.send_signal(signal.SIGINT)
        crawl.wait()
    gate.open()
    origin.add("/a.bin", Resource(CONTENT))

    result = fetch(tmp_path, [url])

    assert_right(result, tmp_path)
    assert one(result)["resumed"] == 0


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("status", [200, 416])
def test_an_empty_file_has_one_piece(
    origin: Origin, tmp_path: Path, status: Literal[200, 416], right: bool
) -> None:
    empty = Bytes(b"")
    url = origin.add("/a.bin", Resource(empty, empty_range=status))
    listed = metalink(tmp_path / "list.meta4", [url], Bytes(b"" if right else b"x"))

    result = run_crawl(tmp_path / "out", listed, settings=SPLIT)

    if right:
        assert one(result)["status"] == "ok", one(result)
        assert "pieces" in one(result)["verified_by"]
        assert (tmp_path / "out" / "a.bin").read_bytes() == b""
    else:
        assert one(result)["error"]["type"] == "ChecksumMismatchError"
        assert "bytes 0 to 0 of a.bin" in one(result)["error"]["message"]


def test_what_was_there_before_is_looked_at_too(origin: Origin, tmp_path: Path) -> None:
    """The disk has changed a byte between two runs."""
    gate = Gate(after=MIB // 2)
    url = origin.add("/a.bin", Resource(CONTENT, gate=gate))
    listed = metalink(tmp_path / "list.meta4", [url])
    with start_crawl(tmp_path / "out", listed, settings=SPLIT) as crawl:
        gate.wait_until_held(4)
        crawl.send_signal(signal.SIGINT)
        crawl.wait()
    gate.open()
    with (tmp_path / "out" / "a.bin.part").open("r+b") as part:
        part.write(bytes([CONTENT.read(0, 1)[0] ^ 1]))

    result = run_crawl(tmp_path / "out", listed, settings=SPLIT)

    assert_right(result, tmp_path)
    resumed = one(result)["resumed"]
    assert resumed >= MIB
    assert one(result)["received"] == SIZE - resumed + PIECE


def test_one_signal_ends_the_hashing_of_a_piece(origin: Origin, tmp_path: Path) -> None:
    """It is as long as the file, of which all but the last byte is there: holes."""
    size, part = 2 << 30, tmp_path / "out" / "a.bin.part"
    resource = Resource(Zeros(size))
    listed = tmp_path / "list.meta4"
    listed.write_text(
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="a.bin">'
        f'<pieces length="{size}" type="md5"><hash>{"0" * 32}</hash></pieces>'
        f"<url>{origin.add('/a.bin', resource)}</url></file></metalink>"
    )
    part.parent.mkdir()
    with part.open("wb") as file:
        file.truncate(size)
    version = Version(size, resource.etag, resource.last_modified_date)
    journal = Journal("a.bin", version, ((0, size - 1),))
    part.with_name("a.bin.part.json").write_bytes(journal.encode())

    settings = {"FETCHER_RECORD_CHECKSUM": ""}
    with start_crawl(tmp_path / "out", listed, settings=settings) as crawl:
        wait_for(lambda: origin.sent("/a.bin"), message="the last byte")
        before = bytes_read(crawl.pid)
        wait_for(lambda: bytes_read(crawl.pid) > before + 64 * MIB, message="hashing")
        at = time.monotonic()
        crawl.send_signal(signal.SIGINT)
        result = crawl.wait()
        assert time.monotonic() - at < 2

    assert one(result)["error"]["type"] == "Stopped"
