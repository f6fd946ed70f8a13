"""``scrapy crawl``: Scrapy's own, with exit statuses that tell how the files fared.

0: every file is there. 1: one failed, or the crawl was stopped. 2: wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sys
from importlib import import_module
from typing import Any

from scrapy.commands.crawl import Command as CrawlCommand
from scrapy.crawler import Crawler
from scrapy.settings import SETTINGS_PRIORITIES, Settings

from fetcher.contract import STAT_FILES, STAT_UNREPORTED
from fetcher.errors import FetchError
from fetcher.spiders.assignment import prepare
from fetcher.spiders.fetch import FetchSpider


class Command(CrawlCommand):
    """Run a spider; for the spider ``fetch``, check its arguments first."""

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        super().process_options(args, opts)
        if args == [FetchSpider.name] and self.settings is not None:
            _load_handler()
            try:
                opts.spargs["assignment"] = prepare(opts.spargs, self.settings)
            except FetchError as error:
                _complain(error)
                sys.exit(2)

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        process, settings = self.crawler_process, self.settings
        if args != [FetchSpider.name] or process is None or settings is None:
            super().run(args, opts)
            return
        _quieten(settings)
        crawler = self._create_crawler(args[0])
        crawling: Any = process.crawl(crawler, **opts.spargs)
        process.start()
        # Searching all that is alive for garbage once more would cost a quarter of a second.
        gc.freeze()
        self.exitcode = self._status(crawler, crawling)

    def _status(self, crawler: Crawler, crawling: asyncio.Future[None]) -> int:
        error = crawling.exception() if crawling.done() and not crawling.cancelled() else None
        if isinstance(error, FetchError):
            _complain(error)
            return 2
        if error is not None:
            logging.getLogger(__name__).error("the crawl broke off", exc_info=error)
            return 1
        failed = crawler.stats.get_value(STAT_FILES.format(status="failed"), 0)
        finished = crawler.stats.get_value("finish_reason") == "finished"
        unreported = crawler.stats.get_value(STAT_UNREPORTED, 0)
        return 0 if finished and not failed and not unreported else 1


def _complain(error: FetchError) -> None:
    print(f"fetcher: {error.message}", file=sys.stderr)  # noqa: T201 - the user's one line


def _load_handler() -> None:
    """Load what Scrapy would load from deep inside the engine.

    While its HTTP modules load, they look through the whole call stack with :mod:`inspect`, which
    takes 0.1 s there and a fraction of it here.
    """
    import_module("fetcher.handlers.http")


def _quieten(settings: Settings) -> None:
    """Scrapy's report of its own start is for who asks for it, by ``-L INFO``."""
    chosen = settings.getpriority("LOG_LEVEL") or 0
    if chosen < SETTINGS_PRIORITIES["cmdline"]:
        logging.getLogger("scrapy").setLevel(logging.WARNING)
