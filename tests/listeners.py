"""Components of users, for tests: one that takes part in items, and some that only listen."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Self

from scrapy import signals
from scrapy.crawler import Crawler


class Step:
    """A pipeline's step that only lets items pass."""

    def process_item(self, item: Any) -> Any:
        return item


class Layer:
    """A spider middleware that only lets items pass."""

    async def process_spider_output(self, response: Any, result: Any) -> Any:
        async for each in result:
            yield each


class StatsFile:
    """Extension: writes the crawl's stats to the file that the setting TESTS_STATS names."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        crawler.signals.connect(self.write, signals.engine_stopped)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def write(self) -> None:
        stats = json.dumps(self._crawler.stats.get_stats(), default=str)
        Path(self._crawler.settings["TESTS_STATS"]).write_text(stats)


class Listeners:
    """Extension: says at the end who was told of how many items, in stats ``told/NAME``."""

    def __init__(self, crawler: Crawler) -> None:
        self._stats = crawler.stats
        for receiver in (self.failing, self.later, self.anything, self.nothing):
            crawler.signals.connect(receiver, signals.item_scraped)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        return cls(crawler)

    def failing(self, item: Any) -> None:
        self._stats.inc_value("told/failing")
        raise ValueError(f"not a good listener to {item.name}")

    async def later(self, item: Any, spider: Any) -> None:
        await asyncio.sleep(0)
        self._stats.inc_value(f"told/later of {spider.name}")

    def anything(self, **known: Any) -> None:
        self._stats.inc_value("told/anything " + " ".join(sorted(known)))

    def nothing(self) -> None:
        self._stats.inc_value("told/nothing")
