"""The large files of another Scrapy project: through its items, and as requests of its spiders."""

import re
import signal
from pathlib import Path
from typing import Any

import brotli

from fetcher.disk.journal import decode
from tests.crawl import PROJECT, wait_for
from tests.project import Project
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Redirect, Reset, Status
from tests.servers.ftp import FTPServer
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Gate, Resource
from tests.servers.sftp import SFTPServer

MIB = 1 << 20
README = (PROJECT / "README.md").read_text("utf-8")
ITEMS = """
import scrapy


class ItemsSpider(scrapy.Spider):
    name = "items"
    allowed_domains = ["127.0.0.1"]

    async def start(self):
        yield scrapy.Request(self.url)

    def parse(self, response):
        for link in response.css("a::attr(href)").getall():
            yield {"file_urls": [response.urljoin(link)]}
"""


def page(*links: str) -> Resource:
    text = "".join(f'<p><a href="{link}">file</a>' for link in links)
    return Resource(Bytes(f"<html>{text}</html>".encode()), content_type="text/html")


def by_link(project: Project) -> dict[str, Any]:
    """What became of each file: the last segment of its address, to what the item got."""
    return {
        item["file_urls"][0].rpartition("/")[2]: item["files"][0] if item["files"] else None
        for item in project.items
    }


def safe_bytes(project: Project) -> int:
    """What the journals say is there."""
    journals = (project.files / "full").glob("*.part.json")
    ranges = [each for path in journals for each in decode(path.read_bytes()).ranges]
    return sum(end - start for start, end in ranges)


def test_two_files_of_a_page_through_a_kill_a_ctrl_c_and_to_the_end(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=2 * MIB)
    contents = {"/a.bin": Content(24 * MIB, 1), "/b.bin": Content(24 * MIB, 2)}
    for path, content in contents.items():
        origin.add(path, Resource(content, gate=gate))
    url = origin.add("/", page(*contents))
    project = Project(tmp_path / "shop", ITEMS)

    with project.start("items", url=url) as crawl:
        gate.wait_until_held(6)
        wait_for(lambda: safe_bytes(project) == 2 * 3 * 2 * MIB, message="the journals")
        crawl.send_signal(signal.SIGKILL)
        assert crawl.wait().returncode == -signal.SIGKILL
    assert not list((project.files / "full").glob("*.bin"))
    wait_for(lambda: not any(map(origin.active, contents)), message="the end of the connections")

    with project.start("items", url=url) as crawl:
        gate.wait_until_held(2)
        crawl.send_signal(signal.SIGINT)
        stopped = crawl.wait(10)
    assert "'finish_reason': 'shutdown'" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert [item["files"] for item in project.items] == [[], []]

    gate.open()
    before = origin.sent()
    done = project.crawl("items", url=url)
    assert "'fetcher/bytes/resumed'" in done.stderr, done.stderr
    for path, content in contents.items():
        found = by_link(project)[path[1:]]
        assert found == {
            "url": origin.url(path),
            "path": found["path"],
            "checksum": f"sha256:{content.sha256}",
            "status": "downloaded",
            "size": content.size,
            "verified_by": ["size", "etag"],
        }
        assert content.first_difference(project.files / str(found["path"])) is None
    assert origin.sent() - before < 44 * MIB

    asked = len(origin.requests)
    project.crawl("items", url=url)
    assert [record.path for record in origin.requests[asked:]] == ["/robots.txt", "/"]
    assert {each["status"] for each in by_link(project).values()} == {"uptodate"}
    project.crawl("items", "-s", "FILES_EXPIRES=0", url=url)
    assert [(each.path, each.status) for each in origin.requests[-2:]] == [
        ("/a.bin", 304),
        ("/b.bin", 304),
    ]


def test_memory_does_not_grow_with_a_file(origin: Origin, tmp_path: Path) -> None:
    content = Content(256 * MIB)
    origin.add("/a.bin", content)
    project = Project(tmp_path / "shop", ITEMS)
    result = project.crawl("items", url=origin.add("/", page("/a.bin")))
    found = by_link(project)["a.bin"]
    assert (found["status"], found["checksum"]) == ("downloaded", f"sha256:{content.sha256}")
    assert result.peak_rss < 130 * MIB


HOSTILE = (
    ITEMS
    + """
from dataclasses import dataclass, field

from itemadapter import ItemAdapter

from fetcher.pipelines import LargeFilesPipeline


@dataclass
class Row:
    file_urls: list = field(default_factory=list)
    files: list = field(default_factory=list)


class Item(scrapy.Item):
    file_urls = scrapy.Field()
    files = scrapy.Field()


class Pipeline(LargeFilesPipeline):
    def get_media_requests(self, item, info):
        for request in super().get_media_requests(item, info):
            name = request.url.rpartition("/")[2]
            request.meta.update(OPTIONS.get(name, {}))
            request.cookies = {"own": "1"}
            request.headers["X-Key"] = "2"
            yield request

    def file_path(self, request, response=None, info=None, *, item=None):
        return "same/" + {"second.bin": "first.bin"}.get(name := request.url.split("/")[-1], name)

    def item_completed(self, results, item, info):
        item = super().item_completed(results, item, info)
        errors = [str(failure.value) for good, failure in results if not good]
        return {**ItemAdapter(item), "errors": errors}


OPTIONS = {
    "away.bin": {"allow_offsite": True},
    "wrong.bin": {"fetch": {"checksum": "md5:" + 32 * "0"}},
    "right.bin": {"fetch": {"checksum": "sha256:RIGHT", "size": 300_000}},
    "typo.bin": {"fetch": {"chksum": "md5:" + 32 * "0"}},
}


class KindsSpider(ItemsSpider):
    name = "kinds"

    def parse(self, response):
        for number, item in enumerate(super().parse(response)):
            urls = item["file_urls"]
            yield [item, Row(urls), Item(file_urls=urls)][number % 3]


class PageSpider(ItemsSpider):
    name = "page"

    def parse(self, response):
        yield {"size": len(response.body)}
"""
)

HOSTILE_SETTINGS = """\
ADDONS = {"fetcher.Addon": 500}
ITEM_PIPELINES = {"shop.spiders.Pipeline": 300}
FILES_STORE = "files"
HTTPCACHE_ENABLED = True
RETRY_ENABLED = False
DOWNLOAD_TIMEOUT = 1
DOWNLOAD_DELAY = 0.01
AUTOTHROTTLE_ENABLED = True
AUTOTHROTTLE_START_DELAY = 0.02
FETCHER_MIN_SPLIT_SIZE = "1M"
FETCHER_MAX_SPLITS = 3
"""


def test_no_middleware_of_a_project_harms_a_file(origin: Origin, tmp_path: Path) -> None:
    small = Content(300_000, 5)
    away = origin.url("/elsewhere/away.bin", host="localhost")

    def with_logins(exchange: Exchange) -> Fault | None:
        cookies = exchange.headers.get("cookie", "")
        sent = {"own=1", "jar=3"} <= set(cookies.split("; ")) and "x-key" in exchange.headers
        return None if sent else Status(403)

    files: dict[str, Resource] = {
        "/slow.bin": Resource(Content(4 * MIB, 1), rate=MIB // 2 + 1),
        "/breaks.bin": Resource(Content(4 * MIB, 2), faults=[Reset(after=MIB), Status(503)]),
        "/zipped.bin": Resource(Bytes(BROTLI), headers={"Content-Encoding": "br"}),
        "/login.bin": Resource(small, script=with_logins),
        "/moved.bin": Resource(small, script=lambda _: Redirect(origin.url("/target"))),
        "/offsite.bin": Resource(small, script=lambda _: Redirect(away)),
        "/forbidden.bin": Resource(small),
        "/first.bin": Resource(Content(300_000, 6)),
        "/second.bin": Resource(Content(300_000, 7)),
        "/wrong.bin": Resource(small),
        "/right.bin": Resource(small),
        "/typo.bin": Resource(small),
        "/busy.bin": Resource(small, script=lambda _: Status(500)),
    }
    for path, resource in files.items():
        origin.add(path, resource)
    origin.add("/target", small)
    origin.add("/elsewhere/away.bin", small)
    origin.add("/robots.txt", b"User-agent: *\nDisallow: /forbidden.bin")
    start = page(*files, away, origin.url("/elsewhere/other.bin", host="localhost"))
    start.headers = {"Set-Cookie": "jar=3; Path=/"}
    url = origin.add("/", start)
    spiders = HOSTILE.replace("RIGHT", small.sha256)
    project = Project(tmp_path / "shop", spiders, HOSTILE_SETTINGS)

    result = project.crawl("kinds", "-s", f"JOBDIR={tmp_path / 'job'}", url=url)

    assert not [line for line in result.stderr.splitlines() if " ERROR: " in line]
    found = by_link(project)
    errors = {
        item["file_urls"][0].rpartition("/")[2]: item["errors"][0]
        for item in project.items
        if item["errors"]
    }
    right = {
        "slow.bin": Content(4 * MIB, 1),
        "breaks.bin": Content(4 * MIB, 2),
        "zipped.bin": Bytes(b"brotli " * 1000),
        "first.bin": Content(300_000, 6),
        **dict.fromkeys(["login.bin", "moved.bin", "right.bin", "away.bin"], small),
    }
    for name, content in right.items():
        assert found[name], errors[name]
        assert content.first_difference(project.files / "same" / name) is None
    assert found.keys() - right.keys() == errors.keys()
    for name, words in {
        "offsite.bin": "Filtered offsite request to 'localhost'",
        "other.bin": "Filtered offsite request to 'localhost'",
        "forbidden.bin": "Forbidden by robots.txt",
        "second.bin": "another address of this crawl",
        "wrong.bin": "checksum of same/wrong.bin",
        "typo.bin": "chksum",
        "busy.bin": "status 500",
    }.items():
        assert words in errors.pop(name)
        assert not (project.files / "same" / name).exists()
    assert errors == {}
    assert not origin.requests_for("/forbidden.bin")

    project.crawl("page", url=origin.url("/right.bin"))
    assert [item["size"] for item in project.items] == [small.size]


def test_the_example_of_the_readme(origin: Origin, tmp_path: Path) -> None:
    _, _, section = README.partition("\n### In any other Scrapy project\n")
    section, _, _ = section.partition("\n### ")
    blocks = re.findall(r"^```py\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    settings, *spiders = (block.replace("https://ftp.gnu.org", origin.url("")) for block in blocks)
    content = Content(20 * MIB)
    origin.add("/gnu/hello/", page("hello-2.12.tar.gz"))
    origin.add("/gnu/hello/hello-2.12.tar.gz", content)
    project = Project(tmp_path / "shop", "\n".join(spiders), settings)

    project.crawl("releases")
    found = by_link(project)["hello-2.12.tar.gz"]
    assert (found["status"], found["size"]) == ("downloaded", content.size)
    assert content.first_difference(project.files / found["path"]) is None

    result = project.crawl("one_file", "-s", f"JOBDIR={tmp_path / 'job'}")
    (item,) = project.items
    assert (item["status"], item["checksum"]) == ("ok", f"sha256:{content.sha256}")
    assert item["connections"] > 1
    assert content.first_difference(project.files / "hello/hello-2.12.tar.gz") is None
    assert "'fetcher/files/ok': 1" in result.stderr


def test_files_of_other_protocols(origin: Origin, tmp_path: Path) -> None:
    folder, home = tmp_path / "srv", tmp_path / "home"
    folder.mkdir()
    (home / ".ssh").mkdir(parents=True)
    content = Content(9 * MIB)
    content.write_to(folder / "a.bin")
    users = {"anna": "secret"}
    with (
        FTPServer(folder) as open_to_all,
        FTPServer(folder, users, anonymous=False) as closed,
        SFTPServer(folder, users) as sftp,
    ):
        sftp.known_hosts(home / ".ssh/known_hosts")
        urls = [
            open_to_all.url("/a.bin"),
            f"ftp://anna:secret@127.0.0.1:{closed.port}/a.bin",
            f"sftp://anna:secret@127.0.0.1:{sftp.port}/a.bin",
        ]
        project = Project(tmp_path / "shop", ITEMS)
        env = {"HOME": str(home), "SSH_AUTH_SOCK": ""}
        result = project.crawl("items", url=origin.add("/", page(*urls)), env=env)
    files = [item["files"][0] for item in project.items]
    assert sorted(each["url"] for each in files) == sorted(urls)
    assert {each["checksum"] for each in files} == {f"sha256:{content.sha256}"}
    assert " ERROR: " not in result.stderr
    assert not re.findall("(?:Crawled|File) .*secret", result.stderr)


ASKING = """
import scrapy
from fetcher.contract import plain_row


class AskingSpider(scrapy.Spider):
    name = "asking"

    async def start(self):
        for name in "abcdefg":
            meta = {"fetch": plain_row(f"{name}.bin", self.out)}
            yield scrapy.Request(self.url.replace("?", name), meta=meta, callback=self.fetched)

    def fetched(self, response):
        if response.item is not None:
            yield response.item
"""


def test_requests_for_files_that_were_stopped_are_in_the_job_folder(
    origin: Origin, tmp_path: Path
) -> None:
    gate = Gate(after=1000)
    contents = {f"{name}.bin": Content(100_000, seed) for seed, name in enumerate("abcdefg")}
    for name, content in contents.items():
        origin.add(f"/{name}", Resource(content, gate=gate))
    project = Project(tmp_path / "shop", ASKING)
    job, url, out = f"JOBDIR={tmp_path / 'job'}", origin.url("/?.bin"), str(project.files)

    with project.start("asking", "-s", job, url=url, out=out) as crawl:
        gate.wait_until_held(5)
        crawl.send_signal(signal.SIGINT)
        crawl.wait(10)
    assert {item["error"]["type"] for item in project.items} == {"Stopped"}

    gate.open()
    project.crawl("asking", "-s", job, url=url, out=out)
    assert sorted(item["name"] for item in project.items) == sorted(contents)
    for name, content in contents.items():
        assert content.first_difference(project.files / name) is None


def test_files_are_verified_where_pages_are_not(tls_origin: Origin, tmp_path: Path) -> None:
    tls_origin.add("/a.bin", Content(1000))
    url = tls_origin.add("/", page("/a.bin"))
    project = Project(tmp_path / "shop", ITEMS)
    result = project.crawl("items", url=url)
    assert by_link(project) == {"a.bin": None}
    assert "certificate" in result.stderr
    assert "Traceback" not in result.stderr
    project.crawl("items", "-s", "DOWNLOAD_VERIFY_CERTIFICATES=False", url=url)
    assert by_link(project)["a.bin"]["status"] == "downloaded"


BROTLI = brotli.compress(b"brotli " * 1000)
