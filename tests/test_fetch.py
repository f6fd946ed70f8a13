"""The main job, end to end: the real program, real servers, bytes compared by hash."""

from __future__ import annotations

import base64
import hashlib
import json
import signal
import time
from pathlib import Path

import pytest

from fetcher.disk.ledger import Ledger
from tests.conftest import CertificateAuthority
from tests.crawl import run_crawl, run_scrapy, start_crawl, wait_for, write_list
from tests.servers.content import Content
from tests.servers.exchange import Exchange
from tests.servers.faults import (
    Close,
    Drip,
    NoContentLength,
    Normal,
    Redirect,
    Reset,
    Stall,
    Status,
)
from tests.servers.origin import Origin
from tests.servers.relay import Tunnel
from tests.servers.resource import Fault, Gate, Resource

MIB = 1 << 20


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names_in(folder: Path) -> set[str]:
    """What stands in an output folder beside what the program writes of its own."""
    own = {"report.jsonl", "retry.tsv", "SHA256SUMS", ".fetcher"}
    return {path.name for path in folder.iterdir()} - own


@pytest.fixture
def eight(origin: Origin) -> dict[str, Resource]:
    """Eight files with the troubles of everyday life."""
    resources = {
        "plain.bin": Resource(Content(20 * MIB, seed=1)),
        "noranges.bin": Resource(Content(12 * MIB, seed=2), ranges=False),
        "reset.bin": Resource(
            Content(16 * MIB, seed=3), faults=[Reset(after=MIB), Reset(after=MIB), Reset(after=MIB)]
        ),
        "busy.bin": Resource(Content(MIB, seed=4), faults=[Status(503), Status(503), Status(503)]),
        "empty.bin": Resource(Content(0)),
        "one.bin": Resource(Content(1, seed=5)),
        "chunked.bin": Resource(Content(3 * MIB, seed=6), chunked=True, ranges=False),
        "small.bin": Resource(Content(1000, seed=7)),
    }
    for name, resource in resources.items():
        origin.add(f"/{name}", resource)
    return resources


def test_eight_files_come_whole_and_are_not_asked_for_again(
    origin: Origin, eight: dict[str, Resource], tmp_path: Path
) -> None:
    urls = write_list(tmp_path / "list.tsv", [(name, origin.url(f"/{name}")) for name in eight])
    out = tmp_path / "out"

    first = run_crawl(out, urls=urls)

    assert first.returncode == 0, first.stderr
    assert names_in(out) == set(eight)
    for name, resource in eight.items():
        assert checksum(out / name) == resource.content.sha256, name
        row = first.by_name[name]
        assert (row["status"], row["size"], row["error"]) == ("ok", resource.content.size, None)
        assert row["checksum"] == f"sha256:{resource.content.sha256}"
        assert origin.requests_for(f"/{name}")[0].method == "GET"
    assert {record.method for record in origin.requests} == {"GET"}

    asked = len(origin.requests)
    again = run_crawl(out, urls=urls)

    assert again.returncode == 0, again.stderr
    assert len(origin.requests) == asked
    assert {row["status"] for row in again.report} == {"unchanged"}
    assert len(again.report) == len(eight)


def test_another_file_under_the_name_is_left_alone(origin: Origin, tmp_path: Path) -> None:
    content = Content(5000, seed=1)
    origin.add("/a.bin", Resource(content))
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.bin").write_bytes(b"precious")

    crawl = run_crawl(out, url=origin.url("/a.bin"))

    assert crawl.returncode == 1
    assert (out / "a.bin").read_bytes() == b"precious"
    assert names_in(out) == {"a.bin"}
    error = crawl.report[0]["error"]
    assert error["type"] == "ForeignFileError"
    assert "overwrite or rename" in error["message"]


def test_somebodys_file_of_the_right_size_is_unchanged(origin: Origin, tmp_path: Path) -> None:
    content = Content(5000, seed=1)
    origin.add("/a.bin", Resource(content))
    out = tmp_path / "out"
    out.mkdir()
    content.write_to(out / "a.bin")

    crawl = run_crawl(out, url=origin.url("/a.bin"))

    assert crawl.returncode == 0, crawl.stderr
    assert crawl.report[0]["status"] == "unchanged"
    assert origin.sent("/a.bin") <= 1


@pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB])
def test_a_file_up_to_8_mib_takes_one_request(origin: Origin, tmp_path: Path, size: int) -> None:
    content = Content(size, seed=1)
    origin.add("/a.bin", Resource(content))

    crawl = run_crawl(tmp_path / "out", url=origin.url("/a.bin"))

    assert crawl.returncode == 0, crawl.stderr
    assert len(origin.requests) == 1
    assert checksum(tmp_path / "out/a.bin") == content.sha256


@pytest.mark.parametrize("size", [12 * MIB, 16 * MIB, 100 * MIB])
def test_a_larger_file_is_split_and_hardly_a_byte_sent_twice(
    origin: Origin, tmp_path: Path, size: int
) -> None:
    content = Content(size, seed=1)
    origin.add("/a.bin", Resource(content))

    crawl = run_crawl(tmp_path / "out", url=origin.url("/a.bin"))

    assert crawl.returncode == 0, crawl.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256
    assert origin.sent("/a.bin") <= 1.1 * size
    connections = {record.connection for record in origin.requests}
    assert len(connections) >= (2 if size >= 16 * MIB else 1)
    assert crawl.report[0]["connections"] >= (2 if size >= 16 * MIB else 1)
    smallest = min(
        record.range[1] - record.range[0] + 1  # type: ignore[operator]
        for record in origin.requests
        if record.range and record.range[0]
    )
    assert smallest >= (8 * MIB if size >= 16 * MIB else 4 * MIB)


def test_kill_and_a_fresh_link_go_on_from_the_journal(origin: Origin, tmp_path: Path) -> None:
    size = 64 * MIB
    content = Content(size, seed=1)
    gate = Gate(after=10 * MIB)
    resource = Resource(content, gate=gate)
    origin.add("/a.bin", resource)
    out = tmp_path / "out"
    first = write_list(tmp_path / "one.tsv", [("a.bin", origin.url("/a.bin") + "?sig=1")])
    journal = out / "a.bin.part.json"
    with start_crawl(out, urls=first) as crawl:
        wait_for(lambda: journal.exists() and b"[[0, " in journal.read_bytes(), timeout=30)
        gate.wait_until_held(connections=2)
        time_of_journal = journal.stat().st_mtime_ns
        wait_for(lambda: journal.stat().st_mtime_ns > time_of_journal or size, timeout=5)
        crawl.kill()
    assert not (out / "a.bin").exists()
    before = origin.sent("/a.bin")
    asked = len(origin.requests)
    gate.open()

    second = write_list(tmp_path / "two.tsv", [("a.bin", origin.url("/a.bin") + "?sig=2")])
    result = run_crawl(out, urls=second)

    assert result.returncode == 0, result.stderr
    assert checksum(out / "a.bin") == content.sha256
    assert names_in(out) == {"a.bin"}
    row = result.report[0]
    assert row["resumed"] > 0
    assert row["received"] == size - row["resumed"]
    assert origin.sent("/a.bin") - before <= size - row["resumed"] + MIB
    assert all("if-range" in record.headers for record in origin.requests[asked:])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_stops_within_two_seconds_and_the_same_command_goes_on(
    origin: Origin, tmp_path: Path, number: signal.Signals
) -> None:
    content = Content(64 * MIB, seed=1)
    gate = Gate(after=9 * MIB)
    origin.add("/a.bin", Resource(content, gate=gate))
    origin.add("/dead.bin", Resource(Content(MIB), faults=[Status(503)] * 9))
    out = tmp_path / "out"
    rows = [("a.bin", origin.url("/a.bin")), ("dead.bin", origin.url("/dead.bin"))]
    urls = write_list(tmp_path / "list.tsv", rows)
    with start_crawl(out, urls=urls, settings={"FETCHER_RETRY_BACKOFF": 60}) as crawl:
        gate.wait_until_held(connections=2)
        wait_for(lambda: origin.requests_for("/dead.bin"), timeout=10)
        began = time.monotonic()
        crawl.send_signal(number)
        result = crawl.wait(timeout=10)
        assert time.monotonic() - began < 2
    assert result.returncode == 1
    assert {row["error"]["type"] for row in result.report} == {"Stopped"}
    assert "Traceback" not in result.stderr
    gate.open()
    origin.replace("/dead.bin", Content(MIB))

    again = run_crawl(out, urls=urls)

    assert again.returncode == 0, again.stderr
    assert checksum(out / "a.bin") == content.sha256
    assert again.by_name["a.bin"]["resumed"] >= 8 * MIB


def test_a_replaced_file_is_begun_anew_and_never_mixed(origin: Origin, tmp_path: Path) -> None:
    old, new = Content(200 * MIB, seed=1), Content(200 * MIB, seed=2)
    gate = Gate(after=9 * MIB)
    origin.add("/a.bin", Resource(old, gate=gate))
    out = tmp_path / "out"
    with start_crawl(out, url=origin.url("/a.bin")) as crawl:
        gate.wait_until_held(connections=4)
        origin.replace("/a.bin", Resource(new))
        gate.open()
        result = crawl.wait(timeout=60)

    assert result.returncode == 0, result.stderr
    assert checksum(out / "a.bin") == new.sha256
    assert result.report[0]["restarts"] == 1


def test_update_asks_once_and_fetches_only_what_changed(origin: Origin, tmp_path: Path) -> None:
    old, new = Content(MIB, seed=1), Content(MIB, seed=2)
    origin.add("/a.bin", Resource(old))
    update = {"FETCHER_IF_EXISTS": "update"}
    out = tmp_path / "out"
    statuses = []
    for content in (old, old, new, new):
        origin.replace("/a.bin", Resource(content))
        result = run_crawl(out, url=origin.url("/a.bin"), settings=update)
        assert checksum(out / "a.bin") == content.sha256
        statuses.append((result.report[0]["status"], origin.requests[-1].status))
    assert statuses == [("ok", 206), ("unchanged", 304), ("ok", 206), ("unchanged", 304)]
    assert len(origin.requests) == 4


def test_replaced_between_two_runs(origin: Origin, tmp_path: Path) -> None:
    old, new = Content(64 * MIB, seed=1), Content(64 * MIB, seed=2)
    gate = Gate(after=9 * MIB)
    origin.add("/a.bin", Resource(old, gate=gate))
    out = tmp_path / "out"
    with start_crawl(out, url=origin.url("/a.bin")) as crawl:
        gate.wait_until_held(connections=2)
        crawl.send_signal(signal.SIGINT)
        crawl.wait(timeout=10)
    gate.open()
    origin.replace("/a.bin", Resource(new))

    result = run_crawl(out, url=origin.url("/a.bin"))

    assert result.returncode == 0, result.stderr
    assert checksum(out / "a.bin") == new.sha256
    assert result.report[0]["restarts"] == 1


def test_wrong_checksum_is_fetched_once_more_and_then_fails(origin: Origin, tmp_path: Path) -> None:
    content = Content(MIB, seed=1)
    origin.add("/a.bin", Resource(content))
    urls = tmp_path / "list.csv"
    urls.write_text(f"name,url,sha256\na.bin,{origin.url('/a.bin')},{'0' * 64}\n")
    out = tmp_path / "out"

    result = run_crawl(out, urls=urls)

    assert result.returncode == 1
    assert names_in(out) == set()
    row = result.report[0]
    assert row["error"]["type"] == "ChecksumMismatchError"
    assert content.sha256 in row["error"]["message"]
    assert "0" * 64 in row["error"]["message"]
    assert row["error"]["line"] == 2
    assert len(origin.requests) == 2


def test_servers_checksum_is_compared(origin: Origin, tmp_path: Path) -> None:
    content = Content(9 * MIB, seed=1)
    md5 = content.digest("md5")
    header = "md5=" + base64.b64encode(bytes.fromhex(md5)).decode()
    origin.add("/good.bin", Resource(content, headers={"X-Goog-Hash": header}))
    origin.add("/bad.bin", Resource(Content(9 * MIB, seed=2), headers={"X-Goog-Hash": header}))
    urls = write_list(
        tmp_path / "l.tsv", [(n, origin.url(f"/{n}")) for n in ("good.bin", "bad.bin")]
    )

    result = run_crawl(tmp_path / "out", urls=urls)

    assert "x-goog-hash" in result.by_name["good.bin"]["verified_by"]
    assert result.by_name["bad.bin"]["error"]["type"] == "ChecksumMismatchError"
    assert names_in(tmp_path / "out") == {"good.bin"}


def test_list_and_server_contradict_each_other_about_the_size(
    origin: Origin, tmp_path: Path
) -> None:
    origin.add("/a.bin", Resource(Content(1000)))
    urls = tmp_path / "list.csv"
    urls.write_text(f"name,url,size\na.bin,{origin.url('/a.bin')},999\n")

    result = run_crawl(tmp_path / "out", urls=urls)

    assert result.returncode == 1
    message = result.report[0]["error"]["message"]
    assert "999" in message
    assert "1000" in message
    assert names_in(tmp_path / "out") == set()


def test_names_from_content_disposition_last_over_runs(origin: Origin, tmp_path: Path) -> None:
    one, two = Content(1000, seed=1), Content(2000, seed=2)
    disposition = {"Content-Disposition": 'attachment; filename="../../data.bin"'}
    origin.add("/get?id=1", Resource(one, headers=disposition))
    origin.add("/get?id=2", Resource(two, headers=disposition))
    urls = tmp_path / "list.txt"
    urls.write_text(f"{origin.url('/get?id=1')}\n{origin.url('/get?id=2')}\n")
    out = tmp_path / "out"

    first = run_crawl(out, urls=urls)

    assert first.returncode == 0, first.stderr
    assert names_in(out) == {"data.bin", "data.1.bin"}
    assert {checksum(out / name) for name in names_in(out)} == {one.sha256, two.sha256}
    asked = len(origin.requests)
    assert asked == 2

    again = run_crawl(out, urls=urls)

    assert {row["status"] for row in again.report} == {"unchanged"}
    assert len(origin.requests) == asked


def test_redirect_is_followed_once_and_asked_for_anew_when_its_target_expires(
    origin: Origin, tmp_path: Path
) -> None:
    content = Content(200 * MIB, seed=1)
    origin.add("/old", Resource(content))
    origin.add("/new", Resource(content))
    origin.add("/a.bin", Redirect(origin.url("/new")))
    origin.fail("/a.bin", Redirect(origin.url("/old")))
    expired = [Status(403)] * 100
    origin.fail("/old", Normal(), *expired)

    result = run_crawl(tmp_path / "out", url=origin.url("/a.bin"))

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256
    assert len(origin.requests_for("/new")) > len(origin.requests_for("/a.bin"))


def test_credentials_stay_with_their_origin_and_out_of_every_text(
    origin: Origin, tmp_path: Path
) -> None:
    origin.add("/a.bin", Redirect(origin.url("/b.bin?sig=S3CRET", host="localhost")))
    origin.add("/b.bin", Resource(Content(1000)))
    url = origin.url("/a.bin", userinfo="user:pa%20ss%2Fw") + "?token=T0KEN"
    out = tmp_path / "out"

    result = run_crawl(out, url=url, args=("-L", "DEBUG"))

    assert result.returncode == 0, result.stderr
    first, second = origin.requests
    assert first.headers["authorization"] == "Basic dXNlcjpwYSBzcy93"
    assert "authorization" not in second.headers
    written = result.stderr + result.stdout + (out / "report.jsonl").read_text()
    for secret in ("pa%20ss", "pa ss", "dXNlcjpwYSBzcy93", "S3CRET", "T0KEN"):
        assert secret not in written


def test_tls_is_verified(
    tls_origin: Origin, certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    content = Content(20 * MIB, seed=1)
    tls_origin.add("/a.bin", Resource(content))
    url = tls_origin.url("/a.bin")

    untrusted = run_crawl(tmp_path / "no", url=url)
    trusted = run_crawl(tmp_path / "yes", url=url, env=certificate_authority.env)

    assert untrusted.returncode == 1
    assert untrusted.report[0]["error"]["type"] == "CertificateError"
    assert names_in(tmp_path / "no") == set()
    assert trusted.returncode == 0, trusted.stderr
    assert checksum(tmp_path / "yes/a.bin") == content.sha256


def test_second_process_on_the_same_file_says_so(origin: Origin, tmp_path: Path) -> None:
    gate = Gate(after=1000)
    content = Content(MIB, seed=1)
    origin.add("/a.bin", Resource(content, gate=gate))
    out = tmp_path / "out"
    with start_crawl(out, url=origin.url("/a.bin")) as crawl:
        gate.wait_until_held(connections=1)
        second = run_crawl(out, url=origin.url("/a.bin"))
        gate.open()
        first = crawl.wait(timeout=20)
    assert first.returncode == 0, first.stderr
    assert second.returncode == 1
    assert "another process" in second.stderr
    assert checksum(out / "a.bin") == content.sha256


def test_stalled_connection_is_given_up_and_its_range_fetched_again(
    origin: Origin, tmp_path: Path
) -> None:
    content = Content(16 * MIB, seed=1)
    origin.add("/a.bin", Resource(content, faults=[Stall(after=MIB)]))

    # There is no other connection that would take its range over.
    settings = {"FETCHER_STALL_TIMEOUT": 1, "FETCHER_MAX_SPLITS": 1}
    result = run_crawl(tmp_path / "out", url=origin.url("/a.bin"), settings=settings)

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256
    assert result.report[0]["retries"] == 1


@pytest.mark.parametrize("fault", [Drip(100_000), Stall(after=MIB)], ids=["slow", "standing"])
@pytest.mark.parametrize("size", [40 * MIB, 20 * MIB], ids=["large", "small"])
def test_a_file_does_not_wait_for_one_slow_connection(
    origin: Origin, tmp_path: Path, fault: Fault, size: int
) -> None:
    content = Content(size, seed=1)
    origin.add("/a.bin", Resource(content, rate=20 * MIB, faults=[Normal(), fault]))

    result = run_crawl(tmp_path / "out", url=origin.url("/a.bin"))

    assert result.returncode == 0, result.stderr
    assert checksum(tmp_path / "out/a.bin") == content.sha256
    # What is left to it would take a minute and more.
    assert result.report[0]["seconds"] < 20
    assert result.report[0]["received"] < size + MIB
    assert result.report[0]["retries"] == 0
    assert result.report[0]["notes"] == []


def test_body_that_ends_with_the_connection(origin: Origin, tmp_path: Path) -> None:
    content = Content(MIB, seed=1)
    origin.add("/whole.bin", NoContentLength())
    origin.replace("/whole.bin", Resource(content, ranges=False, faults=[NoContentLength()]))
    origin.add(
        "/reset.bin",
        Resource(
            content, ranges=False, chunked=True, faults=[Reset(after=1000), Close(after=1000)]
        ),
    )
    urls = write_list(
        tmp_path / "l.tsv", [(n, origin.url(f"/{n}")) for n in ("whole.bin", "reset.bin")]
    )

    result = run_crawl(tmp_path / "out", urls=urls)

    assert result.returncode == 0, result.stderr
    for name in ("whole.bin", "reset.bin"):
        assert checksum(tmp_path / "out" / name) == content.sha256
    assert result.by_name["reset.bin"]["retries"] == 2


def test_over_one_connection_a_file_is_one_request(origin: Origin, tmp_path: Path) -> None:
    content = Content(20 * MIB, seed=1)
    url = origin.add("/a.bin", Resource(content))
    settings = {"CONCURRENT_REQUESTS_PER_DOMAIN": 1}
    result = run_crawl(tmp_path / "out", url=url, settings=settings)
    assert result.by_name["a.bin"]["checksum"] == f"sha256:{content.sha256}"
    assert len(origin.requests_for("/a.bin")) == 1


def test_a_signal_does_not_wait_for_the_turn_of_queued_ranges(
    origin: Origin, tmp_path: Path
) -> None:
    # Two connections per host: the ranges of one file hold both, and all others queue.
    gate = Gate(after=9 * MIB)
    origin.add("/held.bin", Resource(Content(200 * MIB, seed=1), gate=gate))
    held = origin.url("/held.bin")
    out = tmp_path / "out"
    settings = {"CONCURRENT_REQUESTS_PER_DOMAIN": 2}
    with start_crawl(out, url=f"{held} {origin.url('/b.bin')}", settings=settings) as crawl:
        gate.wait_until_held(connections=2)
        began = time.monotonic()
        crawl.send_signal(signal.SIGINT)
        crawl.wait(timeout=10)
        assert time.monotonic() - began < 2


def test_job_folder_goes_on_with_the_list_where_it_was_stopped(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=100)
    contents = {f"{number}.bin": Content(1000, seed=number) for number in range(60)}
    for name, content in contents.items():
        late = int(name.partition(".")[0]) >= 20
        origin.add(f"/{name}", Resource(content, gate=gate if late else None))
    urls = write_list(tmp_path / "l.tsv", [(name, origin.url(f"/{name}")) for name in contents])
    out = tmp_path / "out"
    settings = {"JOBDIR": str(tmp_path / "job")}
    with start_crawl(out, urls=urls, settings=settings) as crawl:
        gate.wait_until_held(connections=5)
        crawl.send_signal(signal.SIGINT)
        first = crawl.wait(timeout=10)
    gate.open()
    done = {row["name"] for row in first.report if row["status"] == "ok"}
    asked = len(origin.requests)
    assert len(done) == 20

    second = run_crawl(out, urls=urls, settings=settings)

    assert second.returncode == 0, second.stderr
    assert names_in(out) == set(contents)
    assert {row["name"] for row in second.report} == set(contents) - done
    assert len(origin.requests) - asked == 40
    for name, content in contents.items():
        assert checksum(out / name) == content.sha256


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_row_of_a_job_is_lost_whatever_ends_its_runs(
    origin: Origin, tmp_path: Path, number: signal.Signals
) -> None:
    """Interrupted, then killed (or interrupted as soon as it can be), then to its end."""
    gates = [Gate(), Gate()]
    names = [f"{each}.bin" for each in range(30)]
    for each, name in enumerate(names):
        gate = gates[0] if each == 7 else gates[1] if each >= 15 else None
        origin.add(f"/{name}", Resource(Content(1000, seed=each), gate=gate))
    urls = write_list(tmp_path / "l.tsv", [(name, origin.url(f"/{name}")) for name in names])
    out, job = tmp_path / "out", tmp_path / "job"
    settings = {"JOBDIR": str(job), "LOG_LEVEL": "DEBUG"}
    with start_crawl(out, urls=urls, settings=settings) as crawl:
        # One in the middle is not done, others behind it are.
        gates[1].wait_until_held(connections=4)
        crawl.send_signal(signal.SIGINT)
        crawl.wait(timeout=10)
    with start_crawl(out, urls=urls, settings=settings) as crawl:
        if number is signal.SIGKILL:
            gates[0].wait_until_held()
        else:
            wait_for(lambda: "Spider opened" in crawl.stderr)
        crawl.send_signal(number)
        crawl.wait(timeout=10)
    for gate in gates:
        gate.open()

    result = run_crawl(out, urls=urls, settings=settings)

    assert result.returncode == 0, result.stderr
    assert names_in(out) == set(names)
    # Those before the first that was not done are not looked at any more.
    assert {row["name"] for row in result.report} == set(names[7:])
    assert [path.name for path in job.rglob("q*") if path.is_file()] == []


def test_overwrite_replaces_and_rename_keeps_what_stands_there(
    origin: Origin, tmp_path: Path
) -> None:
    content = Content(5000, seed=1)
    origin.add("/a.bin", Resource(content))
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.bin").write_bytes(b"mine")

    renamed = run_crawl(out, url=origin.url("/a.bin"), settings={"FETCHER_IF_EXISTS": "rename"})
    assert renamed.returncode == 0, renamed.stderr
    assert renamed.report[0]["path"] == "a.1.bin"
    assert (out / "a.bin").read_bytes() == b"mine"
    assert checksum(out / "a.1.bin") == content.sha256

    replaced = run_crawl(out, url=origin.url("/a.bin"), settings={"FETCHER_IF_EXISTS": "overwrite"})
    assert replaced.returncode == 0, replaced.stderr
    assert checksum(out / "a.bin") == content.sha256


def test_memory_does_not_grow_with_the_list(origin: Origin, tmp_path: Path) -> None:
    gate = Gate(after=0)
    origin.add("/held.bin", Resource(Content(10), gate=gate))
    origin.add("/small.bin", Resource(Content(10)))
    peaks = []
    for rows in (10, 300_000):
        urls = write_list(
            tmp_path / f"{rows}.tsv",
            ((f"{rows}/{n}", origin.url("/held.bin" if n % 200 > 190 else "/small.bin"))
             for n in range(rows)),
        )  # fmt: skip
        with start_crawl(tmp_path / "out", urls=urls) as crawl:
            if rows == 10:
                peaks.append(crawl.wait(timeout=30).peak_rss)
            else:
                gate.wait_until_held(connections=5)
                crawl.send_signal(signal.SIGINT)
                peaks.append(crawl.wait(timeout=10).peak_rss)
    assert peaks[1] - peaks[0] < 25 * MIB


def test_memory_does_not_grow_with_the_file(origin: Origin, tmp_path: Path) -> None:
    content = Content(700 * MIB, seed=1)
    origin.add("/a.bin", Resource(content))

    result = run_crawl(tmp_path / "out", url=origin.url("/a.bin"))

    assert result.returncode == 0, result.stderr
    assert result.peak_rss < 130 * MIB
    (tmp_path / "out/a.bin").unlink()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({}, "nothing to fetch"),
        ({"urls": "missing.tsv"}, "missing.tsv"),
        ({"urls": "empty.txt"}, "no row"),
        ({"urls": "binary.txt"}, "text"),
        ({"urls": "."}, "folder"),
        ({"url": "http://h/x", "ulrs": "x"}, "ulrs"),
        ({"url": "http://h/x", "out": "empty.txt/out"}, "output folder"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    tmp_path: Path, arguments: dict[str, str], word: str
) -> None:
    (tmp_path / "empty.txt").write_bytes(b"\n# nothing\n")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    given = {
        name: str(tmp_path / value) if name in ("urls", "out") else value
        for name, value in arguments.items()
    }
    out = Path(given.pop("out", tmp_path / "out"))

    result = run_crawl(out, arguments=given)

    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert word in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fech", "-a", "url=http://h/x"], "there is no spider 'fech', only fetch"),
        (["fetch", "list.txt"], "scrapy crawl fetch -a urls=list.txt"),
        ([], "no spider is named"),
    ],
)
def test_a_wrong_spider_is_wrong_usage(tmp_path: Path, args: list[str], words: str) -> None:
    result = run_scrapy("crawl", *args, out=tmp_path)

    assert result.returncode == 2
    assert result.stderr.startswith("fetcher: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("FETCHER_MAX_SPLITS", "many", "=many: give a whole number from 1 on"),
        ("FETCHER_RATE_LIMIT", "abc", ": 'abc' is no size; write bytes, or 8M, 1G"),
        ("CONCURRENT_REQUESTS_PER_DOMAIN", "0", "=0: give a whole number from 1 on"),
        ("FETCHER_RATE_LIMIT", "-1", ": '-1' is no size; write bytes, or 8M, 1G"),
    ],
)
def test_bad_setting_is_wrong_usage(tmp_path: Path, name: str, value: str, advice: str) -> None:
    result = run_crawl(tmp_path, url="http://h/x", settings={name: value})

    assert result.returncode == 2
    assert result.stderr == f"fetcher: {name}{advice}\n"


def test_a_misspelt_setting_is_told_once(origin: Origin, tmp_path: Path) -> None:
    origin.add("/a.bin", Resource(Content(10)))

    settings = {"FETCHER_MAX_SPLIT": 1, "FETCHER_XYZ": 2, "MYFETCHER_X": 3}
    result = run_crawl(tmp_path / "out", url=origin.url("/a.bin"), settings=settings)

    assert result.returncode == 0
    told = [line.partition("WARNING: ")[2] for line in result.stderr.splitlines()]
    words = "is not known and is passed over"
    assert [line for line in told if line] == [
        f"the setting FETCHER_MAX_SPLIT {words}; did you mean FETCHER_MAX_SPLITS?",
        f"the setting FETCHER_XYZ {words}",
    ]


def test_bad_rows_fail_with_their_line_and_the_others_go_on(origin: Origin, tmp_path: Path) -> None:
    origin.add("/a.bin", Resource(Content(10)))
    urls = tmp_path / "list.tsv"
    urls.write_text(
        "file_name\tcdn_link\n"
        f"good.bin\t{origin.url('/a.bin')}\n"
        "none.bin\t\n"
        "gopher.bin\tgopher://h/x\n"
        f"../up.bin\t{origin.url('/a.bin')}\n"
        f"also.bin\t{origin.url('/a.bin')}\n"
    )

    result = run_crawl(tmp_path / "out", urls=urls)

    assert result.returncode == 1
    failed = {row["error"]["line"]: row["name"] for row in result.report if row["error"]}
    assert failed == {3: "none.bin", 4: "gopher.bin", 5: "../up.bin"}
    assert names_in(tmp_path / "out") == {"good.bin", "also.bin"}


def test_list_from_a_pipe_begins_before_it_ends(origin: Origin, tmp_path: Path) -> None:
    origin.add("/a.bin", Resource(Content(10)))
    out = tmp_path / "out"
    line = f"a.bin\t{origin.url('/a.bin')}\n"

    result = run_crawl(out, arguments={"urls": "-"}, stdin=line)

    assert result.returncode == 0, result.stderr
    assert names_in(out) == {"a.bin"}


def test_a_checksum_of_another_kind_than_was_recorded_is_not_taken_as_kept(
    origin: Origin, tmp_path: Path
) -> None:
    old, new = Content(3000, seed=1), Content(3000, seed=2)
    out, urls = tmp_path / "out", tmp_path / "list.tsv"

    def run(checksum: str) -> tuple[str, int]:
        before = len(origin.requests)
        urls.write_text(f"name\turl\tchecksum\na.bin\t{origin.url('/a.bin')}\t{checksum}\n")
        result = run_crawl(out, urls=urls)
        return result.report[0]["status"], len(origin.requests) - before

    origin.add("/a.bin", old)
    assert run("") == ("ok", 1)
    assert run(f"md5:{old.digest('md5')}") == ("unchanged", 0)
    ledger = Ledger(out)
    completed = ledger.find("a.bin")
    ledger.close()
    assert completed is not None
    assert completed.known("md5:") == f"md5:{old.digest('md5')}", "the next run need not hash it"
    origin.replace("/a.bin", new)
    assert run(f"md5:{new.digest('md5')}") == ("ok", 1)
    assert checksum(out / "a.bin") == new.sha256
    assert run(f"sha512:{new.digest('sha512')}") == ("unchanged", 0)


def test_each_scheme_has_its_proxy(
    origin: Origin, certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    plain, secure = Content(MIB, seed=1), Content(3 * MIB, seed=2)
    origin.add("/a.bin", Resource(plain))
    with Origin(certificate_authority.server_context("tls.example")) as tls:
        tls.add("/b.bin", Resource(secure))
        near = tls.url("/near.bin", host="localhost")
        with Tunnel(tls.port) as tunnel:
            proxies = {
                "http_proxy": origin.url("").rstrip("/"),
                "https_proxy": tunnel.url.replace("//", "//anna:s3cret@"),
                "no_proxy": "localhost",
            }
            result = run_crawl(
                tmp_path / "out",
                url=f"http://elsewhere.example/a.bin https://tls.example/b.bin {near}",
                settings={"FETCHER_MIN_SPLIT_SIZE": "1M", "FETCHER_MAX_TRIES": 1},
                env=certificate_authority.env | proxies,
            )

    rows = result.by_name
    assert rows["a.bin"]["status"] == rows["b.bin"]["status"] == "ok", result.stderr
    assert checksum(tmp_path / "out/a.bin") == plain.sha256
    assert checksum(tmp_path / "out/b.bin") == secure.sha256
    assert origin.requests[0].target == "http://elsewhere.example/a.bin"
    assert len(tunnel.asked) > 1
    login = base64.b64encode(b"anna:s3cret").decode()
    for head in tunnel.asked:
        assert head.startswith("CONNECT tls.example:443 ")
        assert f"Proxy-Authorization: Basic {login}" in head
    # The proxy's login is for the proxy alone; and whom `no_proxy` names is asked directly, here a
    # server whose certificate is not for this name.
    assert not any("proxy-authorization" in record.headers for record in tls.requests)
    assert rows["near.bin"]["error"]["type"] == "CertificateError"
    assert "s3cret" not in result.stderr


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://127.0.0.1:1", "the proxy http://127.0.0.1:1 refused the connection"),
        ("socks5://u:pw@127.0.0.1:1", "the proxy socks5://127.0.0.1:1 "),
        ("http://no.invalid", "the proxy http://no.invalid "),
    ],
)
def test_a_proxy_that_leads_nowhere_is_named(
    origin: Origin, tmp_path: Path, proxy: str, words: str
) -> None:
    """And not the server, which has nothing to do with it."""
    urls = f"{origin.add('/a.bin', Content(10))} https://127.0.0.1:9/b.bin"
    result = run_crawl(
        tmp_path / "out",
        url=urls,
        settings={"FETCHER_MAX_TRIES": 1, "FETCHER_CONNECT_TIMEOUT": 5},
        env={"http_proxy": proxy, "https_proxy": proxy},
    )

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    for name in ("a.bin", "b.bin"):
        message = result.by_name[name]["error"]["message"]
        assert message.startswith(words)
        assert "check http_proxy and https_proxy" in message
    if proxy.startswith("socks"):
        assert "a kind that is not known" in result.by_name["a.bin"]["error"]["message"]
    assert not origin.requests


def test_a_proxy_gets_its_login_wherever_redirects_lead_and_nobody_else_does(
    origin: Origin, certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    content = Content(MIB, seed=1)
    logins = {scheme: base64.b64encode(f"{scheme}:s3cret".encode()).decode() for scheme in "ab"}

    def by_proxy(location: str) -> Resource:
        def script(exchange: Exchange) -> Fault:
            given = exchange.headers.get("proxy-authorization")
            return Redirect(location) if given == f"Basic {logins['a']}" else Status(407)

        return Resource(content, script=script)

    near = origin.add("/near", content).replace("127.0.0.1", "localhost")
    with Origin(certificate_authority.server_context("one.example", "two.example")) as tls:
        origin.add("/first", by_proxy("http://other.example/second"))
        origin.add("/second", by_proxy("https://one.example/third"))
        tls.add("/third", Redirect("https://two.example/fourth"))
        tls.add("/fourth", content)
        origin.add("/aside", by_proxy(near))
        urls = [f"http://elsewhere.example/{path}" for path in ("first", "aside")]
        rows = [{"url": url, "headers": {"X-Key": "r0w", "Authorization": "r0w"}} for url in urls]
        (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
        with Tunnel(tls.port) as tunnel:
            proxies = {
                "http_proxy": origin.url("").replace("//", "//a:s3cret@").rstrip("/"),
                "https_proxy": tunnel.url.replace("//", "//b:s3cret@"),
                "no_proxy": "localhost",
            }
            result = run_crawl(
                tmp_path / "out",
                tmp_path / "list.jsonl",
                env=certificate_authority.env | proxies,
            )

    assert result.returncode == 0, result.stderr
    for name in ("first", "aside"):
        assert checksum(tmp_path / "out" / name) == content.sha256
    assert {head.split()[1] for head in tunnel.asked} == {"one.example:443", "two.example:443"}
    assert all(f"Proxy-Authorization: Basic {logins['b']}\r\n" in head for head in tunnel.asked)
    for record in (*tls.requests, *origin.requests):
        to_the_row = "elsewhere.example" in record.target
        assert ("x-key" in record.headers) is to_the_row, record.target
        assert ("authorization" in record.headers) is to_the_row, record.target
        to_the_proxy = record.target.startswith("http://")
        assert ("proxy-authorization" in record.headers) is to_the_proxy, record.target
    assert "r0w" not in "".join(tunnel.asked)


def test_job_folder_that_others_may_write_to_is_refused(origin: Origin, tmp_path: Path) -> None:
    """Scrapy reads pickles from it: who writes there runs programs here."""
    url = origin.add("/a.bin", b"a")
    jobs = tmp_path / "jobs"
    settings = {"JOBDIR": str(jobs)}

    made = run_crawl(tmp_path / "one", url=url, settings=settings)
    mode = jobs.stat().st_mode & 0o777
    (jobs / "spider.state").chmod(0o666)
    refused = run_crawl(tmp_path / "two", url=url, settings=settings)

    assert (made.returncode, mode) == (0, 0o700)
    assert refused.returncode == 2
    assert "spider.state" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
