"""What ``scrapy crawl`` and ``scrapy download`` have in common: one crawl and its exit status.

0: every file is there. 1: one failed, or the crawl was stopped. 2: wrong usage.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from scrapy import Spider
from scrapy.crawler import Crawler, CrawlerProcessBase
from scrapy.settings import SETTINGS_PRIORITIES, Settings

from fetcher.contract import STAT_FILES, STAT_UNREPORTED, unusable
from fetcher.errors import FetchError

OK, FAILED, USAGE = 0, 1, 2

GARBAGE = 20_000, 20, 20
"""How seldom to search for garbage: a tenth of the time of many small files is spent on that by
Python's own (700, 10, 10)."""

LOOK_SECONDS = 0.02
"""How often one who stops a crawl looks whether it has begun."""


class StoppableCrawler(Crawler):
    """A crawler that can be stopped while its spider is being opened, too.

    Scrapy's forgets that, stops the reactor under it, and waits for whatever threads wait for; see
    https://github.com/scrapy/scrapy/issues/6916
    """

    async def stop_async(self) -> None:
        """See :class:`scrapy.crawler.Crawler`."""
        while self.crawling and not self._runs():  # noqa: ASYNC110 - Scrapy has no event for it
            await asyncio.sleep(LOOK_SECONDS)
        await super().stop_async()

    def _runs(self) -> bool:
        with suppress(RuntimeError):  # there is no engine yet
            return self.engine.running
        return False


def make_crawler(process: CrawlerProcessBase, spider: type[Spider] | str) -> Crawler:
    """The crawler of a spider, which may be given by its name."""
    if isinstance(spider, str):
        spider = process.spider_loader.load(spider)
    return StoppableCrawler(spider, process.settings, init_reactor=True)


def complain(error: FetchError) -> None:
    """Tell what is wrong with the call, in one line."""
    sys.stderr.write(f"fetcher: {error.message}\n")


def run_crawl(
    process: CrawlerProcessBase,
    crawler: Crawler,
    *,
    signals: bool = True,
    tell: Callable[[FetchError], None] = complain,
    **arguments: Any,
) -> int:
    """Run a crawl of the spider ``fetch`` to its end; the exit status.

    :param signals: whether SIGINT and SIGTERM stop it.
    :param tell: called, with the exit status 2, with what is wrong with the call.
    :param arguments: the spider's.
    """
    quieten(process.settings)
    wrong: list[FetchError] = []

    def hear(error: FetchError) -> bool:
        wrong.append(error)
        return True

    crawler.signals.connect(hear, signal=unusable)
    crawling: Any = process.crawl(crawler, **arguments)
    # What has been loaded stays: it is not to be searched for garbage again and again.
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    process.start(install_signal_handlers=signals)
    # Searching all that is alive for garbage once more would cost a quarter of a second.
    gc.freeze()
    error = crawling.exception() if crawling.done() and not crawling.cancelled() else None
    if isinstance(error, FetchError):
        wrong.append(error)
    if wrong:
        tell(wrong[0])
        return USAGE
    return _status(crawler, error)


def _status(crawler: Crawler, error: BaseException | None) -> int:
    if error is not None:
        logging.getLogger(__name__).error("the crawl broke off", exc_info=error)
        return FAILED
    failed = crawler.stats.get_value(STAT_FILES.format(status="failed"), 0)
    finished = crawler.stats.get_value("finish_reason") == "finished"
    unreported = crawler.stats.get_value(STAT_UNREPORTED, 0)
    return OK if finished and not failed and not unreported else FAILED


def load_handler() -> None:
    """Load what Scrapy would load from deep inside the engine.

    While its HTTP modules load, they look through the whole call stack with :mod:`inspect`, which
    takes 0.1 s there and half of it here; the first of them by itself, for there are fewer calls to
    look through than from the project's own modules.
    """
    import_module("scrapy.core.downloader.contextfactory")
    import_module("fetcher.handlers.http")


def quieten(settings: Settings) -> None:
    """Scrapy's report of its own start is for who asks for it, by ``-L INFO``.

    Called before Scrapy sets up its logging, which sets all levels anew and writes the first line
    at once, and after that.
    """
    chosen = settings.getpriority("LOG_LEVEL") or 0
    if chosen < SETTINGS_PRIORITIES["cmdline"]:
        logging.getLogger("scrapy").setLevel(logging.WARNING)
        logging.getLogger("scrapy.utils.log").addFilter(_matters)


def _matters(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
