"""Lists that lie on servers: fetched as safely as files, opened as any list, and no file of the
crawl."""

from __future__ import annotations

import base64
import fcntl
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from scrapy.settings import Settings

from fetcher.errors import InvalidListError
from fetcher.lists import list_name
from fetcher.spiders.assignment import prepare
from fetcher.workers.channel import Job
from fetcher.workers.crew import Crew
from tests.conftest import CertificateAuthority
from tests.crawl import (
    PROJECT,
    CrawlResult,
    clean_environment,
    read_report,
    run_crawl,
    run_scrapy,
    start_crawl,
    wait_for,
)
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Close, Redirect, Reset, Stall, Status
from tests.servers.ftp import FTPServer
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Gate, Resource
from tests.servers.sftp import SFTPServer
from tests.test_fetch import MIB, names_in

FILE = Content(1000, seed=1)
SECRET = "S3CRET"
QUICK: dict[str, str | int | float] = {"FETCHER_MAX_TRIES": 2}


def rows(origin: Origin, *names: str) -> bytes:
    """A list of files that are there."""
    lines = [f"{name}\t{origin.add(f'/{name}', FILE)}\n" for name in names]
    return "".join(["file_name\tcdn_link\n", *lines]).encode()


def stored(out: Path) -> list[Path]:
    """The lists that lie in the state folder, and what is unfinished of them."""
    return [path for path in (out / ".fetcher/lists").iterdir() if path.is_file()]


def right(result: CrawlResult, *names: str) -> None:
    assert result.returncode == 0, result.stderr
    assert names_in(result.out) == set(names)
    assert {row["name"] for row in result.report} == set(names)
    for name in names:
        assert (result.out / name).read_bytes() == FILE.read(0, FILE.size)


def refused(result: CrawlResult, words: str) -> None:
    """Wrong usage: one line, and nothing was fetched."""
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("fetcher: the ")
    assert words in line
    assert SECRET not in line
    assert names_in(result.out) == set()


MANY = """
import json, logging, sys
from scrapy.crawler import AsyncCrawlerProcess
from scrapy.utils.project import get_project_settings

class Keep(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            lines.append(self.format(record))

lines = []
settings = get_project_settings()
settings.setdict(json.loads(sys.argv[1]), priority="cmdline")
process = AsyncCrawlerProcess(settings, install_root_handler=False)
logging.root.addHandler(Keep())
crawlers = {}
for name, arguments in json.loads(sys.argv[2]).items():
    crawlers[name] = process.create_crawler("fetch")
    process.crawl(crawlers[name], **arguments)
process.start()
reasons = {name: each.stats.get_value("finish_reason") for name, each in crawlers.items()}
json.dump([reasons, lines], sys.stdout)
"""


def run_many(
    lists: Mapping[str, str],
    folder: Path,
    settings: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], list[str]]:
    """Crawls of these lists at the same time, each into a folder of its name, in a process that
    somebody else runs: the finish reason of each, and the log's lines from warnings on."""
    arguments = {name: {"urls": url, "out": str(folder / name)} for name, url in lists.items()}
    done = subprocess.run(
        [sys.executable, "-c", MANY, json.dumps(dict(settings)), json.dumps(arguments)],
        cwd=PROJECT,
        env=clean_environment(env),
        capture_output=True,
        text=True,
        check=True,
    )
    assert SECRET not in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    reasons, lines = json.loads(done.stdout)
    return reasons, lines


# --- the main job ---------------------------------------------------------------------------------


def test_a_list_on_a_web_server_is_no_file_of_the_crawl(origin: Origin, tmp_path: Path) -> None:
    """Name and format come from its address: no server, and no redirect, chooses a folder."""
    disposition = {"Content-Disposition": 'attachment; filename="../../evil.csv"'}
    packed = gzip.compress(rows(origin, "a.bin", "b.bin"))
    origin.add("/blob", Resource(Bytes(packed), headers=disposition))
    origin.add("/x/sa1b.tsv.gz", Redirect(origin.url("/blob?token=" + SECRET)))
    url = origin.url("/x/sa1b.tsv.gz", userinfo=f"user:{SECRET}") + f"?sig={SECRET}"

    strict = run_crawl(tmp_path / "strict", urls=url, settings={"FETCHER_CHECKSUM": "require"})
    result = run_scrapy(
        *("crawl", "fetch", "-L", "DEBUG", "-a", f"urls={url}"),
        *("-s", f"FETCHER_OUTPUT_DIR={tmp_path / 'base'}"),
        out=tmp_path / "base/sa1b",
    )

    # What is required of the files is not of the list, which nobody states a checksum of.
    assert {row["error"]["type"] for row in strict.report} == {"NoChecksumError"}
    right(result, "a.bin", "b.bin")
    assert (result.out / "SHA256SUMS").read_text().count("\n") == 2
    assert "2 done, 0 unchanged, 0 failed" in result.stderr
    assert SECRET not in result.stderr + result.stdout
    for path in result.out.rglob("*"):
        assert SECRET not in str(path)
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()


def test_it_is_always_asked_for_and_fetched_only_when_it_has_changed(
    origin: Origin, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    url = origin.add("/l.tsv", rows(origin, "a.bin"))
    right(run_crawl(out, urls=url), "a.bin")
    again = run_crawl(out, urls=url)
    assert (again.returncode, origin.requests[-1].status) == (0, 304)

    # A copy that somebody has changed is not asked after, but fetched anew.
    (copy,) = stored(out)
    copy.write_text("\n".join(["http://127.0.0.1:9/x"] * 5))
    assert run_crawl(out, urls=url).returncode == 0

    origin.replace("/l.tsv", rows(origin, "a.bin", "b.bin"))
    right(run_crawl(out, urls=url), "a.bin", "b.bin")

    # Where it cannot be had, the report of the run before stays.
    before = (out / "report.jsonl").read_bytes()
    origin.replace("/l.tsv", Status(404))
    failed = run_crawl(out, urls=url)
    assert (failed.returncode, len(failed.stderr.splitlines())) == (2, 1)
    assert (out / "report.jsonl").read_bytes() == before

    statuses = [record.status for record in origin.requests_for("/l.tsv")]
    assert statuses == [206, 304, 206, 206, 404]
    assert len(origin.requests_for("/a.bin")) == 1


def test_another_signature_or_server_is_another_list(origin: Origin, tmp_path: Path) -> None:
    """The dates of one say nothing of another. What an earlier one has left is removed, but for
    what another process is at."""
    out = tmp_path / "out"
    with Origin() as other:
        first = origin.add("/l.tsv", Resource(Bytes(rows(origin, "a.bin")), etag=None))
        second = other.add("/l.tsv", Resource(Bytes(rows(other, "b.bin")), etag=None))
        run_crawl(out, urls=f"{first}?sig=1")
        (old,) = stored(out)
        old.with_name(f"{old.name}.part").touch()
        running = old.with_name(f"{'0' * 16}.l.tsv.part")
        strange = old.with_name(f"{'0' * 16}-1-of-2.l.tsv")
        with running.open("x") as lock, strange.open("x"):
            fcntl.flock(lock, fcntl.LOCK_EX)
            result = run_crawl(out, urls=second)

    assert result.returncode == 0, result.stderr
    assert names_in(out) == {"a.bin", "b.bin"}
    (new,) = set(stored(out)) - {running, strange}
    assert new != old
    assert new.name.endswith(".l.tsv")


def test_other_servers(
    origin: Origin,
    tls_origin: Origin,
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
) -> None:
    content = rows(origin, "a.bin")
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "l.tsv").write_bytes(content)
    os.utime(folder / "l.tsv", (1_700_000_000,) * 2)
    hosts = tmp_path / "known_hosts"
    login = f"anna:{SECRET}"
    with FTPServer(folder, {"anna": SECRET}) as ftp, SFTPServer(folder, {"anna": SECRET}) as sftp:
        sftp.known_hosts(hosts)
        lists = {
            "https": tls_origin.add("/l.tsv", content),
            "ftp": ftp.url("/l.tsv", userinfo=login),
            "sftp": sftp.url("/l.tsv", userinfo=login),
        }
        settings = {"FETCHER_SSH_KNOWN_HOSTS": str(hosts), **QUICK}
        home = {"SSH_AUTH_SOCK": "", "HOME": str(tmp_path)}
        trusting = home | certificate_authority.env

        first = run_many(lists, tmp_path / "out", settings, trusting)
        sent = tls_origin.sent(), ftp.asked("RETR"), sftp.sent()
        again = run_many(lists, tmp_path / "out", settings, trusting)
        assert (tls_origin.sent(), ftp.asked("RETR"), sftp.sent()) == sent

        hosts.write_text("")
        wrong = {scheme: url.replace(SECRET, f"{SECRET}no") for scheme, url in lists.items()}
        reasons, lines = run_many(wrong, tmp_path / "no", settings, home)

    assert first == again == (dict.fromkeys(lists, "finished"), [])
    for scheme in lists:
        assert (tmp_path / "out" / scheme / "a.bin").read_bytes() == FILE.read(0, FILE.size)
    assert set(reasons.values()) == {"unusable"}
    assert len(lines) == 3
    for words in ("is not trusted", "check user and password", "known_hosts"):
        assert any(words in line for line in lines), words


# --- logins ---------------------------------------------------------------------------------------


def test_logins_come_from_where_those_of_files_come_from_and_stay_with_their_origin(
    origin: Origin, tmp_path: Path
) -> None:
    basic = "Basic " + base64.b64encode(f"anna:{SECRET}".encode()).decode()

    def guarded(exchange: Exchange) -> Fault | None:
        return None if exchange.headers.get("authorization") == basic else Status(401)

    with Origin() as other:
        elsewhere = other.add("/l", rows(origin, "a.bin"))
        resource = Resource(Bytes(b""), script=lambda each: guarded(each) or Redirect(elsewhere))
        url = origin.add("/l.tsv", resource)
        (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login anna password {SECRET}\n")
        (tmp_path / "netrc").chmod(0o600)
        cookies = tmp_path / "cookies.txt"
        cookies.write_text(
            f"# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/l.tsv\tFALSE\t0\tsession\t{SECRET}\n"
        )

        without = run_crawl(tmp_path / "no", urls=url)
        by_address = run_crawl(tmp_path / "one", urls=url.replace("//", f"//anna:{SECRET}@"))
        by_file = run_crawl(
            tmp_path / "two",
            urls=url,
            settings={"FETCHER_COOKIES": str(cookies)},
            env={"NETRC": str(tmp_path / "netrc")},
        )

        refused(without, "status 401: it wants a login")
        right(by_address, "a.bin")
        right(by_file, "a.bin")
        assert origin.requests_for("/l.tsv")[-1].headers["cookie"] == f"session={SECRET}"
        for record in other.requests:
            assert not {"authorization", "cookie"} & set(record.headers)


def test_headers_of_the_command_line_go_to_the_lists_server_too(
    origin: Origin, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    url = origin.add("/l.tsv", rows(origin, "a.bin"))

    result = run_scrapy(
        *("download", "-i", url, "--dir", str(out), "--header", "X-Key: 1"), out=out
    )
    missing = run_scrapy(
        *("download", "-i", origin.url("/no.tsv"), "--dir", str(tmp_path / "no")),
        out=tmp_path / "no",
    )

    right(result, "a.bin")
    assert [record.headers.get("x-key") for record in origin.requests][:2] == ["1", "1"]
    refused(missing, "status 404")


# --- what goes wrong ------------------------------------------------------------------------------


def test_broken_connections_are_gone_on_with(origin: Origin, tmp_path: Path) -> None:
    content = rows(origin, "a.bin") + b"\n" * MIB
    resource = Resource(Bytes(content), faults=[Reset(after=MIB // 2), Close(after=MIB // 4)])
    url = origin.add("/l.tsv", resource)

    result = run_crawl(tmp_path / "out", urls=url)

    right(result, "a.bin")
    assert origin.sent("/l.tsv") == len(content)
    starts = [record.range and record.range[0] for record in origin.requests_for("/l.tsv")]
    assert starts == [0, MIB // 2, MIB // 2 + MIB // 4]


def test_a_compressed_answer_is_decoded_and_a_bomb_of_a_line_is_one_bad_row(
    origin: Origin, tmp_path: Path
) -> None:
    """The second is a gzip file that was compressed once more on its way."""
    plain = rows(origin, "a.bin")
    coded = {"Content-Encoding": "gzip"}
    first = origin.add("/one.tsv", Resource(Bytes(gzip.compress(plain)), headers=coded))
    bomb = gzip.compress(plain + b"x" * (100 * MIB) + b"\n", 1)
    packed = Resource(Bytes(gzip.compress(bomb)), headers=coded)
    second = origin.add("/two.tsv.gz", packed)

    right(run_crawl(tmp_path / "one", urls=first), "a.bin")
    result = run_crawl(tmp_path / "two", urls=second)

    assert result.returncode == 1
    assert result.by_name["a.bin"]["status"] == "ok"
    (failed,) = [row["error"] for row in result.report if row["error"]]
    assert (failed["line"], "longer than" in failed["message"]) == (3, True)
    assert result.peak_rss < 130 * MIB


def test_rows_of_a_list_from_elsewhere_do_nothing_new(origin: Origin, tmp_path: Path) -> None:
    """It comes by a proxy."""
    content = rows(origin, "a.bin") + b"b\tfile:///etc/passwd\nc\tx.bin\nd\t/etc/passwd\n"
    proxy = origin.add("/l.tsv", content).removesuffix("/l.tsv")

    result = run_crawl(
        tmp_path / "out", urls="http://elsewhere.example/l.tsv", env={"http_proxy": proxy}
    )

    assert result.returncode == 1
    assert origin.requests[0].target == "http://elsewhere.example/l.tsv"
    assert names_in(tmp_path / "out") == {"a.bin"}
    assert [row["error"]["line"] for row in result.report if row["error"]] == [3, 4, 5]


def test_lists_that_cannot_be_used_end_the_crawl_with_the_reason_in_the_log(
    origin: Origin, tmp_path: Path
) -> None:
    one = rows(origin, "a.bin")
    page = b"<!DOCTYPE html><html><body>Please log in</body></html>"
    digest = {"Repr-Digest": f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"}
    answers: dict[str, tuple[Resource | Fault | bytes, str]] = {
        "missing.tsv": (Status(404), "status 404: there is no such file"),
        "secret.tsv": (Status(403), "status 403: access is refused"),
        "busy.tsv": (Status(503), "status 503"),
        "broken.tsv": (Resource(Bytes(one), script=lambda _: Close(after=10)), "broke"),
        "page.tsv": (Resource(Bytes(page), content_type="text/html"), "answered with a web page"),
        "page.txt": (page, "is a web page; look at it"),
        "binary.tsv": (b"\0" * 1000, "no text but binary"),
        "latin.tsv": (b"a\thttp://h/\xe4\n", "no text in UTF-8"),
        "nothing.tsv": (b"", "has no row"),
        "comments.txt": (b"# none\n\n", "has no row"),
        "rss.meta4": (b"<?xml version='1.0'?><rss/>", "XML but no Metalink"),
        "cut.tsv.gz": (gzip.compress(one)[:20], "damaged or cut short"),
        "circle.tsv": (Redirect(origin.url("/circle.tsv")), "redirected too often"),
        "up.tsv": (Redirect("file:///etc/passwd"), "redirects to no http or https address"),
        "wrong.tsv": (Resource(Bytes(one), headers=digest), f"repr-digest says sha256:{'0' * 64}"),
    }
    lists = {
        name: origin.add(f"/{name}", answer) + f"?sig={SECRET}"
        for name, (answer, _) in answers.items()
    }
    settings = {**QUICK, "FETCHER_RETRY_BACKOFF": 0.01, "FETCHER_PROGRESS": "log"}

    reasons, lines = run_many(lists, tmp_path, settings)

    assert set(reasons.values()) == {"unusable"}
    assert len(lines) == len(answers), lines
    for name, (_, words) in answers.items():
        (told,) = (line for line in lines if f"{name}?" in line or f".{name} " in line)
        assert words in told
        assert {path.name for path in (tmp_path / name).iterdir()} == {".fetcher"}
    assert origin.requests_for("/a.bin") == []


@pytest.mark.parametrize(
    ("urls", "format_", "words"),
    [
        ("file:///etc/passwd", "tsv", "does not start with one of http://"),
        (f"http://me:{SECRET}@/x", "tsv", "names no host"),
        ("http://127.0.0.1:9/x.tsv", "xlsx", "use one of tsv"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused_at_once(
    tmp_path: Path, urls: str, format_: str, words: str
) -> None:
    """Before anything is started, as a file would be."""
    out = tmp_path / "out"
    arguments = {"urls": urls, "format": format_, "out": str(out)}

    with pytest.raises(InvalidListError, match=re.escape(words)) as caught:
        prepare(arguments, Settings())

    assert SECRET not in caught.value.message
    assert not out.exists()


def test_a_parent_process_hears_what_is_wrong(origin: Origin, tmp_path: Path) -> None:
    url = origin.add("/l.tsv", Status(404))
    job: Job = {
        "settings": {},
        "arguments": {"urls": f"{url}?sig={SECRET}", "out": str(tmp_path / "out")},
    }
    with Crew([job], lambda *_: None) as crew:
        crew.run(lambda: None, 1.0)
        (child,) = crew.children

    assert child.status == 2
    assert child.usage is not None
    assert "status 404" in child.usage
    assert SECRET not in child.usage


# --- stopping, and others at the same time --------------------------------------------------------


def test_it_stops_while_the_list_is_fetched_and_goes_on_there(
    origin: Origin, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    gate = Gate(after=MIB)
    content = rows(origin, "a.bin") + b"\n" * (2 * MIB)
    url = origin.add("/l.tsv", Resource(Bytes(content), gate=gate))
    silent = origin.add("/silent.tsv", Resource(Bytes(b""), script=lambda _: Stall(None)))
    with (
        start_crawl(out, urls=url) as crawl,
        start_crawl(tmp_path / "silent", urls=silent) as waiting,
    ):
        wait_for(lambda: origin.requests_for("/silent.tsv"))
        gate.wait_until_held()
        wait_for(lambda: any(path.name.endswith(".json") for path in stored(out)))
        began = time.monotonic()
        for each in (crawl, waiting):
            each.send_signal(signal.SIGINT)
        results = [each.wait(timeout=10) for each in (crawl, waiting)]
        assert time.monotonic() - began < 2
    for result in results:
        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        assert names_in(result.out) == set()
    gate.open()

    right(run_crawl(out, urls=url), "a.bin")

    last = origin.requests_for("/l.tsv")[-1]
    assert last.range is not None
    assert last.range[0]


def test_two_runs_at_a_time_say_so_and_shards_do_not_meet(origin: Origin, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = [f"{number}.bin" for number in range(6)]
    gate = Gate()
    url = origin.add("/l.tsv", Resource(Bytes(rows(origin, *names)), gate=gate))
    with start_crawl(out, urls=url) as first:
        gate.wait_until_held()
        second = run_crawl(out, urls=url)
        with (
            start_crawl(out, urls=url, arguments={"shard": "1/2"}) as third,
            start_crawl(out, urls=url, arguments={"shard": "2/2"}) as fourth,
        ):
            gate.wait_until_held(3)
            first.kill()
            gate.open()
            shards = [crawl.wait() for crawl in (third, fourth)]

    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert "the list cannot be fetched: another process is fetching" in line
    assert [crawl.returncode for crawl in shards] == [0, 0]
    reports = [read_report(out, f"report-{number}-of-2.jsonl") for number in (1, 2)]
    assert sorted(row["name"] for report in reports for row in report) == names
    assert names_in(out) - set(names) == {"report-1-of-2.jsonl", "report-2-of-2.jsonl"}


@pytest.mark.parametrize(("remote", "changed"), [(True, False), (True, True), (False, True)])
def test_a_job_folder_counts_the_rows_of_the_same_list_only(
    origin: Origin, tmp_path: Path, remote: bool, changed: bool
) -> None:
    """Whoever applied the old count to a new list would leave out rows of it without a word."""
    out = tmp_path / "out"
    gate = Gate()
    names = [f"{number}.bin" for number in range(8)]
    listed = tmp_path / "l.tsv"
    listed.write_bytes(rows(origin, *names))
    for name in names[2:]:
        origin.replace(f"/{name}", Resource(FILE, gate=gate))
    urls = origin.add("/l.tsv", listed.read_bytes()) if remote else str(listed)
    settings: dict[str, str | int | float] = {
        "JOBDIR": str(tmp_path / "job"),
        "FETCHER_MAX_PARALLEL": 2,
    }
    with start_crawl(out, urls=urls, settings=settings) as crawl:
        gate.wait_until_held(2)
        crawl.send_signal(signal.SIGINT)
        first = crawl.wait(timeout=10)
    done = {row["name"] for row in first.report if row["status"] == "ok"}
    gate.open()
    if remote and not changed:
        # Without its list, nothing of the job folder begins, and nothing of it is lost.
        asked = len(origin.requests_for("/2.bin"))
        origin.replace("/l.tsv", Status(403))
        assert run_crawl(out, urls=urls, settings=settings).returncode == 2
        assert len(origin.requests_for("/2.bin")) == asked
        origin.replace("/l.tsv", listed.read_bytes())
    if changed:
        listed.write_bytes(rows(origin, "new.bin", *names[1:]))
        origin.replace("/l.tsv", listed.read_bytes())

    second = run_crawl(out, urls=urls, settings=settings)

    assert second.returncode == 0, second.stderr
    if remote:
        assert origin.requests_for("/l.tsv")[-1].status == (206 if changed else 304)
    reported = sorted(row["name"] for row in second.report)
    if changed:
        assert reported == sorted(["new.bin", *names[1:]])
        assert "the list has changed since" in second.stderr
    else:
        assert reported == sorted(set(names) - done)
    assert names_in(out) == {*names, *(["new.bin"] if changed else [])}


def test_memory_does_not_grow_with_the_list(origin: Origin, tmp_path: Path) -> None:
    gate = Gate()
    held = origin.add("/held.bin", Resource(Content(10), gate=gate))
    peaks = []
    for count in (10, 1_000_000):
        lines = (f"{number}.bin\t{held}\n" for number in range(count))
        url = origin.add(f"/{count}.tsv", "".join(lines).encode())
        with start_crawl(tmp_path / str(count), urls=url) as crawl:
            gate.wait_until_held(5)
            crawl.send_signal(signal.SIGINT)
            peaks.append(crawl.wait(timeout=10).peak_rss)
    assert peaks[1] - peaks[0] < 25 * MIB


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://h/x/sa1b.tsv.gz?sig=1", "sa1b"),
        ("https://h/sa1b.tar.meta4#part", "sa1b.tar"),
        ("https://h/", "list"),
        ("https://h", "list"),
        ("https://h/?f=a.tsv", "list"),
        ("https://h/%2e%2e", "list"),
        ("https://h/a/..%2f..%2fetc", "etc"),
        ("https://h/..%5c..%5cetc.tsv", "etc"),
        ("ftp://h/a/l%C3%A4ufe.csv;type=i", "läufe"),
        ("sftp://h/~/.fetcher", "_fetcher"),
    ],
)
def test_the_name_of_the_list(address: str, name: str) -> None:
    assert list_name(address) == name
