"""``scrapy crawl``: Scrapy's own, with exit statuses that tell how the files fared."""

from __future__ import annotations

import argparse
import logging
import sys
from contextlib import suppress

from scrapy.commands.crawl import Command as CrawlCommand
from scrapy.spiderloader import get_spider_loader
from scrapy.utils.log import configure_logging

from fetcher.commands.run import USAGE, complain, load_handler, make_crawler, quieten, run_crawl
from fetcher.errors import FetchError, InvalidSettingError
from fetcher.scrapyd.ending import EXIT_STATUS
from fetcher.spiders.assignment import JOB, prepare
from fetcher.spiders.fetch import FetchSpider

logger = logging.getLogger(__name__)


class Command(CrawlCommand):
    """Run a spider; for the spider ``fetch``, check its arguments first.

    Of a job of Scrapyd nobody sees standard error or the exit status: its log tells of both.
    """

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        super().process_options(args, opts)
        if self.settings is None:
            return
        try:
            _check(args, get_spider_loader(self.settings).list())
            if args == [FetchSpider.name]:
                load_handler()
                quieten(self.settings)
                opts.spargs["assignment"] = prepare(opts.spargs, self.settings)
        except FetchError as error:
            complain(error)
            if self.settings["LOG_FILE"]:
                with suppress(OSError):
                    # Scrapy would do that only after this.
                    configure_logging(self.settings)
                    logger.error("%s", error.message)
                    _sign_off(USAGE, opts)
            sys.exit(USAGE)

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        process = self.crawler_process
        if args != [FetchSpider.name] or process is None:
            super().run(args, opts)
            return
        crawler = make_crawler(process, args[0])

        def tell(error: FetchError) -> None:
            complain(error)
            if process.settings["LOG_FILE"]:
                logger.error("%s", error.message)

        self.exitcode = run_crawl(process, crawler, tell=tell, **opts.spargs)
        _sign_off(self.exitcode, opts)


def _sign_off(status: int, opts: argparse.Namespace) -> None:
    if JOB in opts.spargs:
        # Whatever LOG_LEVEL is: without this line, the job counts as killed.
        level = max([logging.INFO, *(handler.level for handler in logging.root.handlers)])
        logger.log(level, EXIT_STATUS, status)


def _check(args: list[str], known: list[str]) -> None:
    """:raises InvalidSettingError: it is not one spider of a name that is known."""
    if len(args) == 1 and args[0] in known:
        return
    if args[:1] == [FetchSpider.name]:
        wrong = f"the list belongs behind urls=: scrapy crawl fetch -a urls={args[1]}"
    elif args:
        wrong = f"there is no spider {' '.join(args)!r}, only {', '.join(known)}"
    else:
        wrong = "no spider is named: scrapy crawl fetch -a urls=LIST"
    raise InvalidSettingError(wrong)
