"""Servers that lie or break, end to end: a file under its final name is right, or is not there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from fetcher.disk.journal import Journal
from fetcher.rules.answers import Version
from tests.crawl import CrawlResult, run_crawl, start_crawl, wait_for
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Exchange
from tests.servers.faults import (
    Close,
    Headers,
    IgnoreRange,
    NoContentLength,
    Normal,
    Redirect,
    Reset,
    Respond,
    Stall,
    Status,
)
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Gate, Resource
from tests.test_fetch import MIB, checksum, names_in

OLD, NEW = 1, 2


def fetch(origin: Origin, out: Path, **settings: str | int | float) -> CrawlResult:
    return run_crawl(out, url=origin.url("/a.bin"), settings=settings)


def interrupted(origin: Origin, out: Path, resource: Resource, gate: Gate) -> None:
    """Leave a part with a journal behind: stopped while ranges stand at the gate."""
    origin.add("/a.bin", resource)
    with start_crawl(out, url=origin.url("/a.bin")) as crawl:
        gate.wait_until_held(connections=2)
        crawl.send_signal(signal.SIGINT)
        crawl.wait(timeout=10)
    gate.open()
    assert (out / "a.bin.part.json").exists()


# --- what is already there is only joined with what proves to belong to it -----------------------


def test_a_journal_that_says_complete_is_confirmed_and_verified(
    origin: Origin, tmp_path: Path
) -> None:
    right, wrong = Content(MIB, seed=1), Content(MIB, seed=2)
    origin.add("/a.bin", Resource(right, etag='"one"'))
    out = tmp_path / "out"
    out.mkdir()
    wrong.write_to(out / "a.bin.part")
    journal = Journal("a.bin", Version(MIB, '"one"', None), ((0, MIB),))
    (out / "a.bin.part.json").write_bytes(journal.encode())
    urls = tmp_path / "list.csv"
    urls.write_text(f"name,url,sha256\na.bin,{origin.url('/a.bin')},{right.sha256}\n")

    result = run_crawl(out, urls=urls, settings={"FETCHER_CHECKSUM": "require"})

    assert result.returncode == 0, result.stderr
    assert checksum(out / "a.bin") == right.sha256
    assert "sha256" in result.report[0]["verified_by"]


@pytest.mark.parametrize("faults", [[Status(304)] * 9, [Normal()] + [Status(304)] * 30])
def test_304_that_nobody_asked_for_is_no_file(
    origin: Origin, tmp_path: Path, faults: list[Fault]
) -> None:
    origin.add("/a.bin", Resource(Content(30 * MIB, seed=1), faults=faults))

    result = fetch(origin, tmp_path / "out")

    assert result.returncode == 1
    assert result.report[0]["status"] == "failed"
    assert not (tmp_path / "out/a.bin").exists()


@pytest.mark.parametrize("chunked", [True, False])
def test_whole_answer_without_validators_is_not_taken_for_the_version_that_was_begun(
    origin: Origin, tmp_path: Path, chunked: bool
) -> None:
    old, new = Content(6 * MIB, seed=1), Content(6 * MIB, seed=2)
    anonymous = Resource(new, etag=None, last_modified=None, ranges=False, chunked=chunked)
    origin.add("/a.bin", Resource(old, faults=[Reset(after=5 * MIB)], etag='"old"'))
    held = Gate(after=10 * MIB)
    held.open()
    with start_crawl(tmp_path / "out", url=origin.url("/a.bin")) as crawl:
        wait_for(lambda: origin.requests, timeout=20)
        origin.replace("/a.bin", anonymous)
        result = crawl.wait(timeout=60)

    assert result.returncode == 0, result.stderr
    there = checksum(tmp_path / "out/a.bin")
    assert there in (old.sha256, new.sha256)
    assert result.report[0]["checksum"] == f"sha256:{there}"


def test_versions_that_nothing_tells_apart_are_not_mixed(origin: Origin, tmp_path: Path) -> None:
    old, new = Content(100 * MIB, seed=1), Content(100 * MIB, seed=2)
    gate = Gate(after=9 * MIB)
    origin.add("/a.bin", Resource(old, gate=gate, etag=None, last_modified=None))
    with start_crawl(tmp_path / "out", url=origin.url("/a.bin")) as crawl:
        gate.wait_until_held(connections=1)
        faults: list[Fault] = [Reset(after=MIB)]
        origin.replace("/a.bin", Resource(new, faults=faults, etag=None, last_modified=None))
        gate.open()
        result = crawl.wait(timeout=60)

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") in (old.sha256, new.sha256)


def test_without_validators_a_broken_small_file_comes_from_one_answer(
    origin: Origin, tmp_path: Path
) -> None:
    old, new = Content(6 * MIB, seed=1), Content(6 * MIB, seed=2)
    faults: list[Fault] = [Reset(after=2 * MIB)]
    origin.add("/a.bin", Resource(old, etag=None, last_modified=None, faults=faults))
    origin.add("/b", Resource(new, etag=None, last_modified=None))

    def swap(exchange: Exchange) -> Fault | None:
        origin.replace("/a.bin", Resource(new, etag=None, last_modified=None))
        return Reset(after=2 * MIB)

    origin.replace("/a.bin", Resource(old, etag=None, last_modified=None, script=swap))

    result = fetch(origin, tmp_path / "out")

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == new.sha256


def test_list_knows_the_size_better_than_a_body_without_length(
    origin: Origin, tmp_path: Path
) -> None:
    content = Content(100_000, seed=1)
    cut = Resource(content, ranges=False, faults=[NoContentLength(after=50_000)])
    origin.add("/cut.bin", cut)
    origin.add("/long.bin", Resource(content, ranges=False, chunked=True))
    urls = tmp_path / "list.csv"
    urls.write_text(
        f"name,url,size\ncut.bin,{origin.url('/cut.bin')},100000\n"
        f"long.bin,{origin.url('/long.bin')},99999\n"
    )

    result = run_crawl(tmp_path / "out", urls=urls)

    assert result.by_name["cut.bin"]["status"] == "ok", result.stderr
    assert checksum(tmp_path / "out/cut.bin") == content.sha256
    assert result.by_name["long.bin"]["error"]["type"] == "SizeMismatchError"
    assert not (tmp_path / "out/long.bin").exists()


# --- nothing that was safely fetched is lost to one odd answer -----------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        Status(200, {"Content-Type": "text/html"}, b"<h1>Please log in</h1>"),
        Status(416, {"Content-Range": "bytes */999"}),
        Status(416, {"Content-Range": "bytes */0"}),
        IgnoreRange(),
        Headers({"Content-Range": "bytes 1-2/3"}),
    ],
    ids=["portal", "416 shorter", "416 empty", "whole", "other range"],
)
def test_one_odd_answer_on_resume_costs_nothing(origin: Origin, tmp_path: Path, odd: Fault) -> None:
    content = Content(64 * MIB, seed=1)
    gate = Gate(after=9 * MIB)
    out = tmp_path / "out"
    interrupted(origin, out, Resource(content, gate=gate), gate)
    origin.fail("/a.bin", odd)

    result = fetch(origin, out)

    assert result.returncode == 0, result.stderr
    assert checksum(out / "a.bin") == content.sha256
    row = result.report[0]
    assert row["resumed"] > 8 * MIB
    assert row["restarts"] == 0
    assert row["received"] <= content.size - row["resumed"] + MIB


def test_odd_answers_now_and_then_leave_the_file_split(origin: Origin, tmp_path: Path) -> None:
    content = Content(300 * MIB, seed=1)
    pattern: list[Fault] = [Normal(), Normal(), Normal(), IgnoreRange()]
    origin.add("/a.bin", Resource(content, faults=pattern * 3))

    result = fetch(origin, tmp_path / "out")

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256
    assert result.report[0]["received"] < 1.1 * content.size


def test_server_that_gave_up_ranges_has_its_bytes_passed_over(
    origin: Origin, tmp_path: Path
) -> None:
    content = Content(20 * MIB, seed=1)
    faults: list[Fault] = [Reset(after=15 * MIB), IgnoreRange(), IgnoreRange(), IgnoreRange()]
    origin.add("/a.bin", Resource(content, faults=faults))

    result = fetch(origin, tmp_path / "out", FETCHER_MAX_SPLITS=1)

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256
    assert result.report[0]["restarts"] == 0


def test_resume_by_date_when_the_etag_is_gone(origin: Origin, tmp_path: Path) -> None:
    content = Content(64 * MIB, seed=1)
    gate = Gate(after=9 * MIB)
    out = tmp_path / "out"
    date = 1_700_000_000
    interrupted(origin, out, Resource(content, gate=gate, last_modified=date), gate)
    origin.replace("/a.bin", Resource(content, etag=None, last_modified=date))

    result = fetch(origin, out)

    assert result.returncode == 0, result.stderr
    assert checksum(out / "a.bin") == content.sha256
    assert result.report[0]["resumed"] > 0
    assert result.report[0]["restarts"] == 0


def test_a_size_that_the_list_forbids_leaves_part_and_journal(
    origin: Origin, tmp_path: Path
) -> None:
    content = Content(64 * MIB, seed=1)
    gate = Gate(after=9 * MIB)
    out = tmp_path / "out"
    interrupted(origin, out, Resource(content, gate=gate), gate)
    origin.replace("/a.bin", Resource(Content(1000, seed=3)))
    urls = tmp_path / "list.csv"
    urls.write_text(f"name,url,size\na.bin,{origin.url('/a.bin')},{content.size}\n")

    refused = run_crawl(out, urls=urls)
    assert refused.report[0]["error"]["type"] == "SizeMismatchError"
    origin.replace("/a.bin", Resource(content))
    result = run_crawl(out, urls=urls)

    assert result.returncode == 0, result.stderr
    assert checksum(out / "a.bin") == content.sha256
    assert result.report[0]["resumed"] > 8 * MIB


# --- files that can be had are had ---------------------------------------------------------------


def test_validators_that_are_new_on_every_answer(origin: Origin, tmp_path: Path) -> None:
    content = Content(20 * MIB, seed=1)
    count = iter(range(1, 1000))

    def script(exchange: Exchange) -> Fault:
        number = next(count)
        date = f"Wed, 01 Nov 2023 00:00:{number % 60:02} GMT"
        return Headers({"ETag": f'"{number}"', "Last-Modified": date})

    origin.add("/a.bin", Resource(content, script=script))

    result = fetch(origin, tmp_path / "out")

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256


def test_back_ends_with_etags_of_their_own(origin: Origin, tmp_path: Path) -> None:
    content = Content(40 * MIB, seed=1)
    count = iter(range(1000))
    origin.add(
        "/a.bin",
        Resource(
            content,
            last_modified=1_700_000_000,
            script=lambda exchange: Headers({"ETag": f'"back end {next(count) % 2}"'}),
        ),
    )

    result = fetch(origin, tmp_path / "out")

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256


def test_neither_ranges_nor_validators_and_two_breaks(origin: Origin, tmp_path: Path) -> None:
    content = Content(4 * MIB, seed=1)
    faults: list[Fault] = [Reset(after=3 * MIB), Reset(after=MIB), Reset(after=2 * MIB)]
    plain = Resource(content, ranges=False, etag=None, last_modified=None, faults=faults)
    origin.add("/a.bin", plain)

    result = fetch(origin, tmp_path / "out")

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256
    assert result.report[0]["checksum"] == f"sha256:{content.sha256}"


def test_server_that_has_gone_without_the_last_chunk(origin: Origin, tmp_path: Path) -> None:
    content = Content(MIB, seed=1)

    def answer(exchange: Exchange) -> None:
        exchange.send_head(
            206,
            {
                "Transfer-Encoding": "chunked",
                "Content-Range": f"bytes 0-{MIB - 1}/{MIB}",
                "ETag": '"x"',
            },
        )
        exchange.send_raw(f"{MIB:x}\r\n".encode())
        exchange.send(content.read(0, MIB))
        exchange.wait(30)

    origin.add("/a.bin", Respond(answer))

    result = fetch(origin, tmp_path / "out", FETCHER_STALL_TIMEOUT=2)

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256
    assert len(origin.requests) == 1


# --- bounded time and memory, and sentences instead of tracebacks --------------------------------


def test_headers_without_end_are_cut_off(origin: Origin, tmp_path: Path) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.send_raw(b"HTTP/1.1 200 OK\r\n")
        for number in range(100_000):
            exchange.send_raw(f"X-{number}: {'x' * 1000}\r\n".encode())

    origin.add("/a.bin", Respond(answer))

    result = fetch(origin, tmp_path / "out", FETCHER_MAX_TRIES=1)

    assert result.report[0]["error"]["type"] == "ProtocolError"
    assert result.peak_rss < 150 * MIB


@pytest.mark.parametrize("line", [b"a:\n", b" \n", b"HTTP/1.1 100 Continue\n\n"])
def test_a_head_of_very_many_lines_is_not_read(origin: Origin, tmp_path: Path, line: bytes) -> None:
    def answer(exchange: Exchange) -> None:
        head = b"" if line.startswith(b"HTTP") else b"HTTP/1.1 200 OK\nA: b\n"
        tail = b"Content-Length: 1\n\nx"
        exchange.send_raw(head + line * 2000 + (tail if head else b"HTTP/1.1 200 OK\n" + tail))

    origin.add("/a.bin", Respond(answer))

    result = fetch(origin, tmp_path / "out", FETCHER_MAX_TRIES=1)

    assert result.report[0]["error"]["type"] == "ProtocolError"
    assert "headers without end" in result.report[0]["error"]["message"]


@pytest.mark.parametrize(
    "location",
    [
        "http://u:s3cret@[bad",
        "http://h:99999/?s3cret&a=s3cret",
        "http://u:s3cret@h\u2100x/".encode().decode("latin-1"),
        "javascript:x",
        "file:///etc/passwd",
        "ftp://u:s3cret@h/x?s3cret",
        "data:,x",
    ],
)
def test_redirect_to_nowhere(origin: Origin, tmp_path: Path, location: str) -> None:
    origin.add("/a.bin", Redirect(location))

    result = fetch(origin, tmp_path / "out", FETCHER_MAX_TRIES=1, LOG_LEVEL="DEBUG")

    assert result.returncode == 1
    assert result.report[0]["error"]["type"] in ("RedirectError", "ConnectionFailedError")
    assert "Traceback" not in result.stderr
    assert "s3cret" not in result.stderr + (tmp_path / "out" / "report.jsonl").read_text()


@pytest.mark.parametrize(
    "host", ["a" * 20_000, "\u0301" * 60_000 + "\u0323" * 60_000, "\u0301" * 300]
)
def test_redirect_to_an_address_as_long_as_a_book(
    origin: Origin, tmp_path: Path, host: str
) -> None:
    origin.add("/a.bin", Redirect(f"http://{host}/".encode().decode("latin-1")))

    result = fetch(origin, tmp_path / "out", FETCHER_MAX_TRIES=1)

    assert result.seconds < 10
    assert result.report[0]["error"]["type"] == "RedirectError"
    assert "too long" in result.report[0]["error"]["message"]


def test_redirects_without_end(origin: Origin, tmp_path: Path) -> None:
    origin.add("/a.bin", Redirect(origin.url("/a.bin")))

    result = fetch(origin, tmp_path / "out")

    assert result.report[0]["error"]["type"] == "RedirectError"
    assert len(origin.requests) <= 21


def test_a_file_that_somebody_puts_under_the_name_meanwhile_is_kept(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=1000)
    origin.add("/a.bin", Resource(Content(MIB), gate=gate))
    out = tmp_path / "out"
    with start_crawl(out, url=origin.url("/a.bin")) as crawl:
        gate.wait_until_held(connections=1)
        (out / "a.bin").write_bytes(b"precious")
        gate.open()
        result = crawl.wait(timeout=20)

    assert result.report[0]["error"]["type"] == "ForeignFileError"
    assert (out / "a.bin").read_bytes() == b"precious"


def test_a_byte_a_connection_comes_to_an_end(origin: Origin, tmp_path: Path) -> None:
    origin.add("/a.bin", Resource(Content(MIB, OLD), script=lambda _: Close(after=1)))

    speed = {"FETCHER_STALL_SPEED": 20, "FETCHER_RETRY_BACKOFF": 0.2}
    crawl = fetch(origin, tmp_path / "out", FETCHER_MAX_TRIES=3, **speed)

    assert crawl.report[0]["error"]["type"] == "ConnectionFailedError"
    assert len(origin.requests) < 10


def test_a_server_that_breaks_every_few_bytes_is_asked_until_it_is_through(
    origin: Origin, tmp_path: Path
) -> None:
    content = Content(MIB, OLD)
    origin.add("/a.bin", Resource(content, script=lambda _: Close(after=content.size // 16)))

    crawl = fetch(origin, tmp_path / "out", FETCHER_MAX_TRIES=2)

    assert crawl.returncode == 0, crawl.stderr
    assert checksum(tmp_path / "out" / "a.bin") == content.sha256


def test_a_signal_breaks_off_the_hashing_of_somebodys_file(origin: Origin, tmp_path: Path) -> None:
    size = 30 << 30
    out = tmp_path / "out"
    out.mkdir()
    with (out / "a.bin").open("wb") as file:
        os.truncate(file.fileno(), size)
    head = {"Content-Range": f"bytes 0-0/{size}", "ETag": '"x"'}
    origin.add("/a.bin", Status(206, head, b"x"))
    urls = tmp_path / "list.csv"
    urls.write_text(f"name,url,sha256\na.bin,{origin.url('/a.bin')},{'0' * 64}\n")
    with start_crawl(out, urls=urls) as crawl:
        wait_for(lambda: origin.requests, timeout=20)
        wait_for(lambda: _reads(crawl.pid, out / "a.bin"), timeout=20)
        began = time.monotonic()
        crawl.send_signal(signal.SIGINT)
        crawl.wait(timeout=20)
        assert time.monotonic() - began < 2


def _reads(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    folder = Path(f"/proc/{pid}/fd")
    return any(entry.is_symlink() and entry.readlink() == path for entry in folder.iterdir())


@pytest.mark.parametrize("name", [".fetcher", "report.jsonl"])
def test_output_folder_that_cannot_be_used_is_wrong_usage(
    origin: Origin, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if name == ".fetcher":
        (out / name).write_bytes(b"")
    else:
        (out / name).mkdir()

    result = fetch(origin, out)

    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert str(out) in result.stderr
    assert not origin.requests


def test_bad_file_beside_good_ones(origin: Origin, tmp_path: Path) -> None:
    origin.add("/a.bin", Stall(after=None))
    good = Content(MIB, seed=1)
    origin.add("/b.bin", Resource(good))
    origin.add("/c.bin", Bytes(b"c"))
    url = " ".join(origin.url(f"/{name}.bin") for name in "abc")

    settings = {"FETCHER_CONNECT_TIMEOUT": 1, "FETCHER_MAX_TRIES": 2}
    result = run_crawl(tmp_path / "out", url=url, settings=settings)

    assert result.by_name["a.bin"]["error"]["type"] == "ConnectTimeoutError"
    assert names_in(tmp_path / "out") == {"b.bin", "c.bin"}
    assert checksum(tmp_path / "out/b.bin") == good.sha256
