"""``scrapy crawl``: Scrapy's own, with exit statuses that tell how the files fared."""

from __future__ import annotations

import argparse
import sys

from scrapy.commands.crawl import Command as CrawlCommand

from fetcher.commands.run import USAGE, complain, load_handler, make_crawler, quieten, run_crawl
from fetcher.errors import FetchError
from fetcher.spiders.assignment import prepare
from fetcher.spiders.fetch import FetchSpider


class Command(CrawlCommand):
    """Run a spider; for the spider ``fetch``, check its arguments first."""

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        super().process_options(args, opts)
        if args == [FetchSpider.name] and self.settings is not None:
            load_handler()
            quieten(self.settings)
            try:
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
