"""Rows whose files are there: told without a request and without a turn, as if with both."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy import Request

from fetcher import settings
from fetcher.disk.ledger import Ledger
from fetcher.rules import names, urls
from fetcher.rules.existing import Completed
from tests.crawl import CrawlResult, run_crawl, run_scrapy, start_crawl, wait_for
from tests.servers.content import Content
from tests.servers.faults import Status
from tests.servers.origin import Origin
from tests.servers.resource import Resource

LONG_WAY = {"ITEM_PIPELINES": json.dumps({**settings.ITEM_PIPELINES, "tests.listeners.Step": 900})}
STATS_FILE = "tests.listeners.StatsFile"


@dataclass(frozen=True)
class Counted:
    """A crawl and its stats."""

    result: CrawlResult
    stats: dict[str, Any]

    @property
    def turns(self) -> int:
        """How many rows went through the scheduler."""
        return int(self.stats.get("scheduler/enqueued", 0))


def crawl_counted(out: Path, own: dict[str, str] | None = None, **given: Any) -> Counted:
    path = out.with_name("stats.json")
    extensions = {STATS_FILE: 900} | json.loads((own or {}).get("EXTENSIONS", "{}"))
    known = {"EXTENSIONS": json.dumps(extensions), "TESTS_STATS": str(path)}
    result = run_crawl(out, settings={**(own or {}), **known}, **given)
    return Counted(result, json.loads(path.read_text()))


def without_time(report: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({**row, "seconds": 0} for row in report), key=lambda row: str(row["name"]))


@pytest.fixture
def rows(origin: Origin, tmp_path: Path) -> Path:
    """A list of rows of many kinds, all good but the last."""
    disposition = {"Content-Disposition": 'attachment; filename="given.bin"'}
    content = Content(1000)
    one = origin.add("/one.bin?sig=secret", content)
    called = origin.add("/get?id=1", Resource(Content(2000), headers=disposition))
    second = origin.add("/get?id=2", Resource(Content(3000), headers=disposition))
    odd = origin.add("/odd%20name%C3%A4.bin", content)
    login = origin.add("/login.bin", content).replace("://", "://user:pass@")
    path = tmp_path / "list.tsv"
    lines = [
        "name\turl\tsize\tsha256\tmirrors",
        f"a/b/named.bin\t{one}\t1000\t{content.sha256}",
        f"\t{called}",
        f"\t{second}",
        f"\t{odd}",
        f"\t{odd}?again",
        f"\t{login}\t1000",
        f"twice.bin\t{one}\t\t\t{odd}",
        f"\t{one.replace('secret', 'another')}",
    ]
    origin.add("/odd%20name%C3%A4.bin?again", content)
    origin.add("/one.bin?sig=another", content)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_second_run_tells_what_the_long_way_would(
    origin: Origin, tmp_path: Path, rows: Path
) -> None:
    out = tmp_path / "out"
    first = crawl_counted(out, urls=rows)
    assert first.result.returncode == 0, first.result.stderr
    assert first.turns == 8
    asked = len(origin.requests)

    short = crawl_counted(out, urls=rows)
    reported = short.result.report
    long = crawl_counted(out, LONG_WAY, urls=rows)

    assert short.result.returncode == long.result.returncode == 0, short.result.stderr
    assert (short.turns, long.turns) == (0, 8)
    assert len(origin.requests) == asked
    assert [row["status"] for row in reported] == ["unchanged"] * 8
    assert without_time(reported) == without_time(long.result.report)
    for each in (short, long):
        assert each.stats["fetcher/files/unchanged"] == each.stats["item_scraped_count"] == 8
    assert "secret" not in json.dumps(reported)
    assert "pass" not in json.dumps(reported)


def test_only_files_that_are_as_they_were_need_no_turn(
    origin: Origin, tmp_path: Path, rows: Path
) -> None:
    out = tmp_path / "out"
    run_crawl(out, urls=rows)
    os.utime(out / "given.bin", (0, 0))
    (out / "a" / "b" / "named.bin").unlink()
    (out / "twice.bin").write_bytes(b"x")

    again = crawl_counted(out, urls=rows)

    assert again.turns == 3
    found = again.result.by_name
    assert found["a/b/named.bin"]["status"] == "ok"
    # Of the right size, it may be another's; of another, it is.
    assert found["given.bin"]["verified_by"] == ["size"]
    assert found["twice.bin"]["error"]["type"] == "ForeignFileError"
    assert (out / "twice.bin").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("own", "status"),
    [
        ({"FETCHER_IF_EXISTS": "update"}, "unchanged"),
        ({"FETCHER_IF_EXISTS": "overwrite"}, "ok"),
        ({"FETCHER_UNPACK": "True"}, "unchanged"),
        ({"SPIDER_MIDDLEWARES": json.dumps({"tests.listeners.Layer": 900})}, "unchanged"),
    ],
)
def test_where_more_is_to_be_done_each_row_has_its_turn(
    origin: Origin, tmp_path: Path, own: dict[str, str], status: str
) -> None:
    url = origin.add("/a.bin", Content(10))
    run_crawl(tmp_path / "out", url=url)
    again = crawl_counted(tmp_path / "out", own, url=url)
    assert again.turns == 1
    assert [row["status"] for row in again.result.report] == [status]


def test_a_row_whose_name_a_server_has_given_to_another_has_its_turn(
    origin: Origin, tmp_path: Path
) -> None:
    disposition = {"Content-Disposition": 'attachment; filename="b.bin"'}
    taker = origin.add("/taker", Resource(Content(2000), headers=disposition))
    url = origin.add("/b.bin", Content(1000))
    out = tmp_path / "out"
    run_crawl(out, url=taker)
    assert (out / "b.bin").stat().st_size == 2000

    result = run_crawl(out, url=url)

    assert [row["path"] for row in result.report] == ["b.1.bin"]
    assert (out / "b.1.bin").stat().st_size == 1000


def test_all_who_listen_are_told(origin: Origin, tmp_path: Path) -> None:
    given = [origin.add(f"/{number}.bin", Content(10)) for number in range(3)]
    run_crawl(tmp_path / "out", url=" ".join(given))
    extensions = {"EXTENSIONS": json.dumps({"tests.listeners.Listeners": 900})}

    again = crawl_counted(tmp_path / "out", extensions, url=" ".join(given))

    assert again.result.returncode == 0, again.result.stderr
    assert again.turns == 0
    assert {name: count for name, count in again.stats.items() if name.startswith("told/")} == {
        "told/failing": 3,
        "told/later of fetch": 3,
        "told/anything item response sender signal spider": 3,
        "told/nothing": 3,
    }
    assert again.result.stderr.count("ValueError: not a good listener to") == 3
    assert len(again.result.report) == 3


def test_a_file_that_is_there_is_no_longer_in_the_retry_list(
    origin: Origin, tmp_path: Path
) -> None:
    quick = {"FETCHER_MAX_TRIES": "1"}
    good, bad = origin.add("/good.bin", Content(10)), origin.add("/bad.bin", Status(404))
    out = tmp_path / "out"
    run_crawl(out, url=f"{good} {bad}", settings=quick)
    assert "/bad.bin" in (out / "retry.tsv").read_text()
    origin.replace("/bad.bin", Content(20))
    # Another report, and another list of what has failed.
    assert run_crawl(out, url=bad, arguments={"shard": "1/1"}).returncode == 0
    assert (out / "retry.tsv").exists()

    assert run_crawl(out, url=f"{good} {bad}").returncode == 0

    assert not (out / "retry.tsv").exists()


def test_several_processes(origin: Origin, tmp_path: Path, rows: Path) -> None:
    out = tmp_path / "out"
    command = ("download", "-i", str(rows), "--dir", str(out))
    first = run_scrapy(*command, out=out)
    assert first.returncode == 0, first.stderr
    asked = len(origin.requests)
    alone = run_scrapy(*command, out=out).report

    several = run_scrapy(*command, "--processes", "2", out=out)

    assert several.returncode == 0, several.stderr
    assert without_time(several.report) == without_time(alone)
    assert len(origin.requests) == asked


def test_a_long_list_that_is_there_stops_within_two_seconds(tmp_path: Path) -> None:
    out, listed = tmp_path / "out", tmp_path / "list.txt"
    out.mkdir()
    (out / "a.bin").touch()
    time_of_all = (out / "a.bin").stat().st_mtime_ns
    count = 40_000
    ledger = Ledger(out)
    with listed.open("w") as file:
        for first in range(0, count, 500):
            numbers = range(first, first + 500)
            ledger.record(*(Completed(f"{number}.bin", 0, time_of_all) for number in numbers))
            file.writelines(f"http://127.0.0.1:9/{number}.bin\n" for number in numbers)
            for number in numbers:
                (out / f"{number}.bin").touch()
                os.utime(out / f"{number}.bin", ns=(time_of_all, time_of_all))
    ledger.close()
    with start_crawl(out, urls=listed) as crawl:
        wait_for(lambda: any((out / ".fetcher").glob("report.jsonl.*")), 20, "the first rows")
        wait_for(
            lambda: max(path.stat().st_size for path in (out / ".fetcher").glob("report.jsonl.*")),
            20,
            "the first rows",
        )
        crawl.send_signal(signal.SIGINT)
        result = crawl.wait()
    assert result.seconds < 20
    assert result.returncode == 1
    assert 0 < len(result.report) < count
    assert {row["status"] for row in result.report} == {"unchanged"}


HOSTS = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}(:[1-9][0-9]{0,4})?", fullmatch=True)
PATHS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)


@given(st.sampled_from(["http", "https"]), HOSTS, PATHS)
def test_a_plain_address_needs_no_closer_look(scheme: str, host: str, path: str) -> None:
    url = f"{scheme}://{host}/{path}"
    if not urls.is_plain(url):
        return
    assert urls.check_url(url) == url
    assert Request(url).url == url
    assert urls.split_credentials(url) == (url, None)
    # One with a login in front of it goes the long way.
    assert urls.redact(url.replace("://", "://u:p@")) == urls.redact(url)


BASES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,9}\.(bin|tar|tar\.gz|zip)", fullmatch=True)


@given(st.lists(st.sampled_from(["SHA256SUMS", "a", "CON", "x-1"]), max_size=4), BASES)
def test_a_plain_name_needs_no_closer_look(folders: list[str], base: str) -> None:
    name = "/".join([*folders, base])
    if names.is_plain(name):
        assert names.check_name(name) == name
    url = f"http://h/{name}"
    # With a fragment it goes the long way, and means the same.
    assert names.url_name(url) == names.url_name(f"{url}#fragment")


@pytest.mark.parametrize("name", ["CON.bin", "nul.zip", "lpt1.tar.gz"])
def test_devices_are_no_plain_names_of_addresses(name: str) -> None:
    assert names.url_name(f"http://h/{name}") == f"_{name}"
