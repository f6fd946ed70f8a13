"""What a project's own settings and middlewares could do to its large files, and do not."""

import re
from pathlib import Path

import brotli

from tests.project import ADDED, ITEMS, Project, by_link, page
from tests.servers.content import Bytes, Content
from tests.servers.exchange import Exchange
from tests.servers.faults import Redirect, Reset, Status
from tests.servers.origin import Origin
from tests.servers.resource import Fault, Resource

MIB = 1 << 20
BROTLI = brotli.compress(b"brotli " * 1000)

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
    handle_httpstatus_list = [302]

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


PATHS = (
    ITEMS
    + """
from fetcher.pipelines import LargeFilesPipeline


class Pipeline(LargeFilesPipeline):
    def file_path(self, request, response=None, info=None, *, item=None):
        return "one.bin"
"""
)
ONE_PATH = ADDED.replace("fetcher.pipelines.LargeFilesPipeline", "shop.spiders.Pipeline")


def test_a_path_that_another_address_had_before_gets_its_own_content(
    origin: Origin, tmp_path: Path
) -> None:
    contents = {path: Content(1000, seed) for seed, path in enumerate(["/a?1", "/a?2", "/b"])}
    for path, content in contents.items():
        origin.add(path, Resource(content, last_modified=1_700_000_000 + content.seed))
    project = Project(tmp_path / "shop", PATHS, ONE_PATH)
    for path, content in contents.items():
        project.crawl("items", url=origin.add("/", page(path)))
        assert project.items[0]["files"][0]["status"] == "downloaded"
        assert content.first_difference(project.files / "one.bin") is None
    asked = len(origin.requests)
    project.crawl("items", url=origin.url("/"))
    assert project.items[0]["files"][0]["status"] == "uptodate"
    assert [each.path for each in origin.requests[asked:]] == ["/robots.txt", "/"]


THROTTLED = (
    ITEMS
    + """
    def closed(self, reason):
        self.logger.info("delay %.3f", self.crawler.engine.downloader.slots["localhost"].delay)
"""
)


def test_autothrottle_comes_down_where_there_are_only_files(origin: Origin, tmp_path: Path) -> None:
    paths = [f"/{number}.bin" for number in range(6)]
    for path in paths:
        origin.add(path, Content(1000))
    spider = THROTTLED.replace('["127.0.0.1"]', "[]")
    throttle = "AUTOTHROTTLE_ENABLED = True\nAUTOTHROTTLE_START_DELAY = 0.8\n"
    project = Project(tmp_path / "shop", spider, ADDED + throttle + "ROBOTSTXT_OBEY = False\n")
    links = (origin.url(path, host="localhost") for path in paths)
    result = project.crawl("items", url=origin.add("/", page(*links)))
    assert all(item["files"] for item in project.items)
    delay = re.search(r"delay ([0-9.]+)", result.stderr)
    assert delay is not None
    assert float(delay[1]) < 0.1
