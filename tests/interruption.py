"""A Scrapy extension for crawls under test: one signal at a moment that no test can hit."""

import asyncio
import json
import os
import signal
from typing import Self

from scrapy import signals
from scrapy.crawler import Crawler

from fetcher import settings


class AtOpening:
    """Ctrl-C when the spider has been opened and the engine has not been started yet."""

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        interruption = cls()
        crawler.signals.connect(interruption.interrupt, signals.spider_opened)
        return interruption

    async def interrupt(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        while signal.getsignal(signal.SIGINT) is before:  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0)
        # What the handler has asked the reactor for is done by then.
        for _ in range(3):
            await asyncio.sleep(0)


def at_opening() -> dict[str, str]:
    """Settings for a crawl that is to be interrupted so."""
    return {"EXTENSIONS": json.dumps(settings.EXTENSIONS | {f"{__name__}.AtOpening": 0})}
