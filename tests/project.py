"""Another Scrapy project, as its owner would have begun it, run as its owner would run it."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.crawl import PROJECT, Crawl, CrawlResult, clean_environment
from tests.servers.content import Bytes
from tests.servers.resource import Resource

SETTINGS = """\
BOT_NAME = "shop"
SPIDER_MODULES = ["shop.spiders"]
ROBOTSTXT_OBEY = True
FETCHER_RETRY_BACKOFF = 0.05
"""

ADDED = """\
ADDONS = {"fetcher.Addon": 500}
ITEM_PIPELINES = {"fetcher.pipelines.LargeFilesPipeline": 300}
FILES_STORE = "files"
"""

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
"""A spider whose items are the links of a page."""


class Project:
    """A project called ``shop`` in a folder.

    :param settings: lines below those of all such projects.
    :param spiders: a module.
    """

    def __init__(self, folder: Path, spiders: str, settings: str = ADDED) -> None:
        self.folder = folder
        self.files = folder / "files"
        package = folder / "shop"
        package.mkdir(parents=True)
        (folder / "scrapy.cfg").write_text("[settings]\ndefault = shop.settings\n")
        (package / "__init__.py").touch()
        (package / "settings.py").write_text(SETTINGS + settings)
        (package / "spiders.py").write_text(spiders)

    @property
    def items(self) -> list[dict[str, Any]]:
        """What the last crawl has exported."""
        path = self.folder / "items.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def start(
        self, spider: str, *args: str, env: Mapping[str, str] | None = None, **arguments: str
    ) -> Crawl:
        """`scrapy crawl` with spider arguments; `args` stand at the end as they are."""
        command = [sys.executable, "-m", "scrapy", "crawl", spider, "-O", "items.jsonl"]
        for name, value in arguments.items():
            command += ["-a", f"{name}={value}"]
        environment = clean_environment({"PYTHONPATH": str(PROJECT), **(env or {})})
        return Crawl([*command, *args], self.files, environment, "", cwd=self.folder)

    def crawl(
        self, spider: str, *args: str, env: Mapping[str, str] | None = None, **arguments: str
    ) -> CrawlResult:
        """The same, to its end."""
        with self.start(spider, *args, env=env, **arguments) as crawl:
            return crawl.wait()


def page(*links: str) -> Resource:
    """A page with these links."""
    text = "".join(f'<p><a href="{link}">file</a>' for link in links)
    return Resource(Bytes(f"<html>{text}</html>".encode()), content_type="text/html")


def by_link(project: Project) -> dict[str, Any]:
    """What became of each file: the last segment of its address, to what the item got."""
    return {
        item["file_urls"][0].rpartition("/")[2]: item["files"][0] if item["files"] else None
        for item in project.items
    }
