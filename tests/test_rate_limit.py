"""FETCHER_RATE_LIMIT: crawls that are no faster than they may be, and hardly slower."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from fetcher.rules.bucket import CATCH_UP, READS
from tests.conftest import CertificateAuthority
from tests.crawl import CrawlResult, run_crawl, start_crawl, wait_for, write_list
from tests.meter import metered, read_curve
from tests.servers.content import Content
from tests.servers.ftp import FTPServer
from tests.servers.origin import Origin
from tests.servers.resource import Resource
from tests.servers.sftp import SFTPServer
from tests.test_fetch import checksum
from tests.test_remote import saved
from tests.test_remote_hostile import trust

KIB, MIB = 1 << 10, 1 << 20


@dataclass
class Site:
    """Files that are fetched by one crawl.

    :ivar rows: names and addresses.
    """

    tmp_path: Path
    stack: ExitStack
    rows: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.tmp_path / "out"

    def serve(self, content: Content, *schemes: str) -> None:
        """The same file over each of these protocols."""
        root = self.tmp_path / "root"
        root.mkdir()
        content.write_to(root / "f")
        for scheme in schemes:
            if scheme == "ftp":
                self.rows[scheme] = self.stack.enter_context(FTPServer(root)).url("/f")
            else:
                server = self.stack.enter_context(SFTPServer(root))
                self.rows[scheme] = server.url("/f")
                self.settings |= trust(self.tmp_path / "known_hosts", server)
                self.env |= {"HOME": str(self.tmp_path), "SSH_AUTH_SOCK": ""}

    def command(self, limit: int | str, **settings: object) -> dict[str, Any]:
        return {
            "out": self.out,
            "urls": write_list(self.tmp_path / "list.tsv", self.rows.items()),
            "settings": {
                **self.settings,
                **metered(self.tmp_path / "curve"),
                "FETCHER_RATE_LIMIT": limit,
                "CONCURRENT_REQUESTS_PER_DOMAIN": 100,
                **settings,
            },
            "env": self.env,
        }

    def fetch(self, limit: int | str, **settings: object) -> CrawlResult:
        return run_crawl(**self.command(limit, **settings))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def assert_right(result: CrawlResult, contents: dict[str, Content]) -> None:
    assert result.returncode == 0, result.stderr
    assert set(result.by_name) == set(contents)
    for name, row in result.by_name.items():
        assert (row["status"], row["retries"], row["restarts"]) == ("ok", 0, 0), row
        assert checksum(result.out / name) == contents[name].sha256


def test_all_transfers_together_have_the_rate(
    site: Site,
    origin: Origin,
    tls_origin: Origin,
    certificate_authority: CertificateAuthority,
) -> None:
    """Of all protocols, over several connections each."""
    content, rate = Content(3 * MIB, seed=1), 4 * MIB
    site.serve(content, "ftp", "sftp")
    site.rows |= {
        "http": origin.add("/f", Resource(content)),
        "https": tls_origin.add("/f", Resource(content)),
    }
    site.env |= certificate_authority.env

    result = site.fetch(rate, FETCHER_MIN_SPLIT_SIZE="512K", FETCHER_MAX_SPLITS=3)

    assert_right(result, dict.fromkeys(site.rows, content))
    assert {row["connections"] for row in result.report} == {3}
    curve = read_curve(site.tmp_path / "curve")
    begin, end = curve[0], curve[-1]
    assert end.done == 4 * content.size
    ahead = 12 * rate // READS
    for look in curve:
        assert look.done <= rate * (look.at - begin.at) + ahead, "at first, nothing is made up for"
    for before, look in combinations(curve[::5], 2):
        assert look.done - before.done <= rate * (look.at - before.at + CATCH_UP) + 2 * ahead
    first = next(look for look in curve if look.done)
    assert (end.done - first.done) / (end.at - first.at) >= 0.95 * rate
    assert end.cpu - first.cpu < 0.3 * (end.at - first.at), "it waits, and does not look around"


def test_connections_that_get_next_to_nothing_are_not_given_up(site: Site, origin: Origin) -> None:
    """25 of them have 400 bytes a second each, where a server would have to send 1000."""
    contents = {f"{seed}": Content(6 * KIB, seed) for seed in range(5)}
    site.rows |= {
        name: origin.add(f"/{name}", Resource(content)) for name, content in contents.items()
    }

    result = site.fetch(
        "10K",
        FETCHER_MIN_SPLIT_SIZE="1K",
        FETCHER_STALL_TIMEOUT=1,
        FETCHER_STALL_SPEED=1000,
        FETCHER_MAX_TRIES=1,
    )

    assert_right(result, contents)
    assert {row["connections"] for row in result.report} == {5}
    curve = read_curve(site.tmp_path / "curve")
    assert curve[-1].at - curve[0].at >= 3.0
    assert curve[-1].cpu - curve[0].cpu < 0.25 * (curve[-1].at - curve[0].at)


def test_a_signal_ends_all_pauses_and_the_same_command_goes_on(site: Site, origin: Origin) -> None:
    content = Content(2 * MIB, seed=1)
    site.serve(content, "ftp", "sftp")
    site.rows["http"] = origin.add("/f", Resource(content))

    # Most of the time is spent in pauses: three reads take as many quarters of a second.
    with start_crawl(**site.command("1K", FETCHER_MIN_SPLIT_SIZE="512K")) as crawl:
        wait_for(lambda: all(saved(site.out, name) for name in site.rows), 30, "three journals")
        at = time.monotonic()
        crawl.send_signal(signal.SIGINT)
        result = crawl.wait()
        assert time.monotonic() - at < 2

    assert result.returncode == 1
    assert {row["error"]["type"] for row in result.report} == {"Stopped"}
    there = {name: saved(site.out, name) for name in site.rows}
    assert all(0 < count < 16 * KIB for count in there.values())

    again = site.fetch(0)

    assert_right(again, dict.fromkeys(site.rows, content))
    assert {name: row["resumed"] for name, row in again.by_name.items()} == there
