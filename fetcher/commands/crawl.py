"""``scrapy crawl``: Scrapy's own, with exit statuses that tell how the files fared."""

from __future__ import annotations

import argparse
import sys

from scrapy.commands.crawl import Command as CrawlCommand
from scrapy.spiderloader import get_spider_loader

from fetcher.commands.run import USAGE, complain, load_handler, make_crawler, quieten, run_crawl
from fetcher.errors import FetchError, InvalidSettingError
from fetcher.spiders.assignment import prepare
from fetcher.spiders.fetch import FetchSpider


class Command(CrawlCommand):
    """Run a spider; for the spider ``fetch``, check its arguments first."""

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
            sys.exit(USAGE)

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        process = self.crawler_process
        if args != [FetchSpider.name] or process is None:
            super().run(args, opts)
            return
        crawler = make_crawler(process, args[0])
        self.exitcode = run_crawl(process, crawler, **opts.spargs)


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
