"""One signal ends whatever is in flight, over every protocol, and the same command goes on."""

from __future__ import annotations

import csv
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fetcher.disk.journal import Journal
from fetcher.rules.answers import Version
from tests.conftest import CertificateAuthority
from tests.crawl import CrawlResult, start_crawl, wait_for
from tests.interruption import at_opening
from tests.servers.content import Bytes, Content, Source
from tests.servers.exchange import Record
from tests.servers.faults import Stall, Status
from tests.servers.ftp import FTPServer
from tests.servers.ftp_faults import Behaviour
from tests.servers.ftp_faults import Stall as FTPStall
from tests.servers.origin import Origin
from tests.servers.resource import Gate, Resource
from tests.servers.sftp import SFTPServer
from tests.servers.sftp_session import After
from tests.test_fetch import MIB, checksum
from tests.test_remote import saved
from tests.test_remote_hostile import FOREVER, put, trust

CONTENT = Content(3 * MIB, seed=1)
HALF = MIB // 2
"""Within the first range of every connection."""
SLOW = MIB // 8
"""Bytes a second: a file takes seconds, even over several connections."""
HUGE = 1536 * MIB
"""Holes: two checksums of so many bytes take longer than a process may take to end."""
NOT_BEGUN = ("queued-1", "queued-2", "queued-3")


@dataclass
class Site:
    """Servers whose files are in all states that a transfer can be in.

    :ivar rows: names and addresses.
    :ivar reached: for each name, tells whether its transfer has come into its state.
    :ivar sent: for each name, the bytes that its server has sent so far.
    :ivar heal: make everything well.
    """

    out: Path
    stack: ExitStack
    rows: dict[str, str] = field(default_factory=dict)
    reached: dict[str, Callable[[], object]] = field(default_factory=dict)
    sent: dict[str, Callable[[], int]] = field(default_factory=dict)
    heal: list[Callable[[], object]] = field(default_factory=list)
    hashing: Gate = field(default_factory=Gate)
    """Opened, it lets a file be hashed that has only waited for its first byte."""

    def add(self, name: str, url: str, reached: Callable[[], object]) -> None:
        self.rows[name], self.reached[name] = url, reached

    def there(self, name: str) -> bool:
        """Whether some of the file is on disk."""
        part = self.out / f"{name}.part"
        return part.exists() and part.stat().st_size > 0

    def write_list(self, path: Path) -> Path:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "url", "md5"])
            digest = CONTENT.digest("md5")
            for name, url in self.rows.items():
                writer.writerow([name, url, digest if name == "hashing" else ""])
        return path


def add_web(site: Site, origin: Origin, scheme: str) -> None:
    def serve(kind: str, resource: Resource, reached: Callable[[str, str], object]) -> None:
        name, path = f"{scheme}-{kind}", f"/{kind}"
        site.add(name, origin.add(path, resource), lambda: reached(name, path))
        site.sent[name] = lambda: origin.sent(path)
        site.heal.append(lambda: origin.replace(path, Resource(CONTENT)))

    later = Status(503, {"Retry-After": "60"})
    serve("slow", Resource(CONTENT, rate=SLOW), lambda name, _: site.there(name))
    serve("stalled", Resource(CONTENT, script=lambda _: Stall(HALF)), lambda n, _: site.there(n))
    serve("silent", Resource(CONTENT, script=lambda _: Stall(None)), lambda _, p: origin.active(p))
    serve("waiting", Resource(CONTENT, script=lambda _: later), lambda _, p: answered(origin, p))


def answered(origin: Origin, path: str) -> bool:
    return any(record.ended for record in origin.requests_for(path))


def add_ftp(site: Site, root: Path) -> None:
    slow = site.stack.enter_context(FTPServer(root, behaviour=Behaviour(rate=SLOW)))
    stalled = site.stack.enter_context(FTPServer(root))
    stalled.fail("/f", *[FTPStall(HALF)] * FOREVER)
    silent = site.stack.enter_context(FTPServer(root, behaviour=Behaviour(replies={"RETR": None})))
    site.add("ftp-slow", slow.url("/f"), lambda: site.there("ftp-slow"))
    site.add("ftp-stalled", stalled.url("/f"), lambda: site.there("ftp-stalled"))
    site.add("ftp-silent", silent.url("/f"), lambda: silent.asked("RETR"))

    def heal() -> None:
        slow.behaviour.rate = None
        stalled.behaviour.faults.clear()
        silent.behaviour.replies.clear()

    site.heal.append(heal)


def add_sftp(site: Site, root: Path, known_hosts: Path) -> dict[str, str]:
    """:return: the settings that its servers need."""
    slow, stalled, silent = (site.stack.enter_context(SFTPServer(root)) for _ in range(3))
    slow.behaviour.rate = SLOW
    stalled.behaviour.faults["/f"] = [After(HALF, "stall")] * FOREVER
    silent.behaviour.faults["/f"] = [After(0, "stall")] * FOREVER
    site.add("sftp-slow", slow.url("/f"), lambda: site.there("sftp-slow"))
    site.add("sftp-stalled", stalled.url("/f"), lambda: site.there("sftp-stalled"))
    site.add("sftp-silent", silent.url("/f"), silent.open_files)
    site.sent |= {"sftp-slow": slow.sent, "sftp-stalled": stalled.sent}

    def heal() -> None:
        slow.behaviour.rate = None
        stalled.behaviour.faults.clear()
        silent.behaviour.faults.clear()

    site.heal.append(heal)
    return trust(known_hosts, slow, stalled, silent)


def add_connecting(site: Site) -> None:
    """A port whose queue is full: the system answers no attempt to connect any more."""
    full = site.stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    port: int = full.getsockname()[1]
    site.stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    schemes = ("http", "https", "ftp", "sftp")
    for scheme in schemes:
        url = f"{scheme}://127.0.0.1:{port}/f"
        site.add(f"{scheme}-connecting", url, lambda: attempts(port) >= len(schemes))
    site.heal.append(full.close)


def attempts(port: int) -> int:
    """Sockets of this machine that wait for a first answer from a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    syn_sent, remote = "02", f":{port:04X}"
    return sum(line[2].endswith(remote) and line[3] == syn_sent for line in lines)


@dataclass(frozen=True)
class Zeros(Source):
    """What the holes of a file read as."""

    tag: str = "zeros"

    def read(self, start: int, end: int) -> bytes:
        return bytes(max(0, min(end, self.size) - start))


def add_hashing(site: Site, origin: Origin) -> None:
    """All but the first byte and the last mebibyte of a large file is there: with the first byte
    all of it can be hashed, and meanwhile the rest comes."""
    resource = Resource(Zeros(HUGE), gate=site.hashing, rate=SLOW)
    site.add("hashing", origin.add("/hashing", resource), lambda: origin.active("/hashing"))
    site.heal.append(lambda: origin.replace("/hashing", Resource(CONTENT)))
    part = site.out / "hashing.part"
    part.parent.mkdir()
    with part.open("wb") as file:
        file.truncate(HUGE)
    version = Version(HUGE, resource.etag, resource.last_modified_date)
    journal = Journal("hashing", version, ((1, HUGE - MIB),))
    part.with_name("hashing.part.json").write_bytes(journal.encode())


def bytes_read(pid: int) -> int:
    """By a process, from files."""
    lines = Path(f"/proc/{pid}/io").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path / "out", stack)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_all_that_is_in_flight_and_the_same_command_goes_on(
    site: Site,
    origin: Origin,
    tls_origin: Origin,
    certificate_authority: CertificateAuthority,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    put(root, "f", CONTENT)
    add_hashing(site, origin)
    add_web(site, origin, "http")
    add_web(site, tls_origin, "https")
    add_ftp(site, root)
    keys = add_sftp(site, root, tmp_path / "known_hosts")
    add_connecting(site)
    begun = tuple(site.rows)
    for name in NOT_BEGUN:
        site.rows[name] = origin.add(f"/{name}", Bytes(name.encode()))
    command: dict[str, Any] = {
        "urls": site.write_list(tmp_path / "list.csv"),
        "env": {
            **certificate_authority.env,
            "HOME": str(tmp_path / "home"),
            "SSH_AUTH_SOCK": "",
        },
        "settings": {
            **keys,
            "FETCHER_MAX_PARALLEL": len(begun),
            "FETCHER_MIN_SPLIT_SIZE": "1M",
            "FETCHER_RECORD_CHECKSUM": "sha512",
            "CONCURRENT_REQUESTS_PER_DOMAIN": 100,
        },
    }

    with start_crawl(site.out, **command) as crawl:
        for name, reached in site.reached.items():
            wait_for(reached, 20, f"{name} in its state")
        before = bytes_read(crawl.pid)
        site.hashing.open()
        wait_for(lambda: bytes_read(crawl.pid) > before + 64 * MIB, 20, "hashing")
        at = time.monotonic()
        crawl.send_signal(number)
        result = crawl.wait(timeout=30)
        assert time.monotonic() - at < 2

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert sorted(row["name"] for row in result.report) == sorted(begun)
    for name, row in result.by_name.items():
        assert row["status"] == "failed"
        assert row["error"]["type"] == "Stopped", (name, row)
        assert "the same command goes on" in row["error"]["message"]
        assert not (site.out / name).exists()

    there = {name: saved(site.out, name) for name in begun}
    sent = {name: count() for name, count in site.sent.items()}
    asked = {server: len(server.requests) for server in (origin, tls_origin)}
    for heal in site.heal:
        heal()
    with start_crawl(site.out, **command) as crawl:
        again = crawl.wait()

    requests = {server: server.requests[count:] for server, count in asked.items()}
    assert_went_on(site, again, there, sent)
    for records in requests.values():
        assert_conditional(records)
    row = again.by_name["hashing"]
    assert (row["status"], row["restarts"]) == ("ok", 1), "it is another file now"
    assert row["seconds"] < 4, "what was there is not hashed to its end before it is given up"
    for name in NOT_BEGUN:
        assert (site.out / name).read_bytes() == name.encode()


def assert_went_on(
    site: Site, result: CrawlResult, there: dict[str, int], sent: dict[str, int]
) -> None:
    """Everything is right in the end, and nothing that was there was fetched again."""
    assert "Traceback" not in result.stderr
    for name in site.rows:
        row = result.by_name[name]
        if name.endswith("-connecting"):
            assert row["error"]["type"] == "ConnectionFailedError", "nobody listens any more"
        elif name not in NOT_BEGUN:
            assert row["status"] == "ok", row
            assert checksum(site.out / name) == CONTENT.sha256
        if name.endswith(("-slow", "-stalled")):
            assert there[name] > 0
            assert row["resumed"] == there[name], name
            # FTP has no word for where to end, and other bytes are on their way.
            if not name.startswith("ftp-"):
                rest = CONTENT.size - there[name]
                assert row["received"] == rest, name
                assert site.sent[name]() - sent[name] <= rest + 64, name


def assert_conditional(records: list[Record]) -> None:
    """What is gone on with is gone on with by `If-Range`, from where it was left."""
    for path in ("/slow", "/stalled", "/hashing"):
        of_it = [record for record in records if record.path == path]
        if of_it:
            assert "if-range" in of_it[0].headers, path
            assert of_it[0].range != (0, None), path


SILENT_NAME_SERVER = """
import socket, time

def patiently(ask):
    def asked(host, *args, **kwargs):
        if str(host).endswith("silent.invalid"):
            open({marker!r}, "a").write("asked\\n")
            time.sleep(60)
        return ask(host, *args, **kwargs)
    return asked

socket.getaddrinfo = patiently(socket.getaddrinfo)
socket.gethostbyname = patiently(socket.gethostbyname)
"""
"""The system's resolver as it is when the name server gives no answer: it cannot be interrupted."""


def test_a_name_server_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path) -> None:
    marker, out = tmp_path / "asked", tmp_path / "out"
    (tmp_path / "sitecustomize.py").write_text(SILENT_NAME_SERVER.format(marker=str(marker)))
    schemes = ("http", "https", "ftp", "sftp")
    urls = " ".join(f"{scheme}://{scheme}.silent.invalid/{scheme}" for scheme in schemes)
    with start_crawl(out, url=urls, env={"PYTHONPATH": str(tmp_path)}) as crawl:
        wait_for(
            lambda: marker.exists() and len(marker.read_text().splitlines()) == len(schemes),
            message="four questions",
        )
        at = time.monotonic()
        crawl.send_signal(signal.SIGTERM)
        result = crawl.wait(timeout=30)
        assert time.monotonic() - at < 2

    assert "Traceback" not in result.stderr
    assert {row["error"]["type"] for row in result.report} == {"Stopped"}
    assert {row["name"] for row in result.report} == set(schemes)


@pytest.mark.parametrize("waiting", [False, True])
def test_a_signal_before_the_first_row_is_read(
    origin: Origin, tmp_path: Path, waiting: bool
) -> None:
    """Scrapy forgets one that comes before its engine runs, and would go through the whole list."""
    rows = tmp_path / "list.txt"
    with rows.open("w") as file:
        file.writelines(f"{origin.url()}{n}\n" for n in range(50_000))
    pipe = tmp_path / "sums"
    os.mkfifo(pipe)
    silent = os.open(pipe, os.O_RDWR)
    os.write(silent, b"# what the command itself looks at\n")
    arguments = {"checksums": str(pipe)} if waiting else {}
    try:
        with start_crawl(
            tmp_path / "out", rows, settings=at_opening(), arguments=arguments
        ) as crawl:
            result = crawl.wait(timeout=20)
    finally:
        os.close(silent)

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "run the same command again to go on" in result.stderr
    assert len(result.report) < 100
    assert not waiting or not origin.requests


def test_a_signal_while_ranges_wait_for_the_delay_between_requests(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=HALF)
    url = origin.add("/a.bin", Resource(CONTENT, gate=gate))
    settings = {"FETCHER_MIN_SPLIT_SIZE": "1M", "DOWNLOAD_DELAY": "60"}
    with start_crawl(tmp_path / "out", url=url, settings=settings) as crawl:
        gate.wait_until_held()
        at = time.monotonic()
        crawl.send_signal(signal.SIGINT)
        result = crawl.wait(timeout=30)
        assert time.monotonic() - at < 2

    assert "Traceback" not in result.stderr
    assert [row["error"]["type"] for row in result.report] == ["Stopped"]
    assert len(origin.requests) == 1
