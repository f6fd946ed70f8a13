"""``scrapy download``: fetches the addresses on the command line, for people who have no list.

The same crawl as ``scrapy crawl fetch``; the options are its settings and arguments by other names.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scrapy import signals
from scrapy.commands import ScrapyCommand

from fetcher.commands import options
from fetcher.commands.run import (
    FAILED,
    USAGE,
    complain,
    load_handler,
    make_crawler,
    quieten,
    run_crawl,
)
from fetcher.config import Config
from fetcher.errors import FetchError
from fetcher.lists import BadRow, make_row
from fetcher.spiders.assignment import prepare

if TYPE_CHECKING:
    from scrapy import Spider
    from scrapy.crawler import CrawlerProcessBase
    from scrapy.settings import Settings

    from fetcher.workers.channel import Job

logger = logging.getLogger(__name__)

SETTINGS = {
    "max_parallel": "FETCHER_MAX_PARALLEL",
    "max_splits": "FETCHER_MAX_SPLITS",
    "max_tries": "FETCHER_MAX_TRIES",
    "limit_rate": "FETCHER_RATE_LIMIT",
}
"""Options, and the settings whose values they give."""

SCRAPYS_RESOLVER = "scrapy.resolver.CachingThreadedResolver"


class Command(ScrapyCommand):
    """Fetch files; exit statuses are those of ``scrapy crawl fetch``."""

    requires_project = True

    def syntax(self) -> str:
        return "[options] URL [URL ...]"

    def short_desc(self) -> str:
        return "Download files over HTTP(S), FTP(S) and SFTP"

    def long_desc(self) -> str:
        return (
            "Downloads files, several at a time and over several connections each, and verifies "
            "them. Run the same command again to go on where it was stopped. The exit status is 0 "
            "when every file is there, 1 when one failed or the run was stopped, 2 when the "
            "command was called wrongly."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        super().add_options(parser)
        wrong_usage = partial(options.wrong_usage, "download")
        parser.error = wrong_usage  # type: ignore[method-assign] # one line, not ten
        add = parser.add_argument
        add(
            "--dir",
            metavar="DIR",
            default=".",
            help="save the files in DIR, made if missing; by default the current folder",
        )
        add(
            "-i",
            "--input-file",
            metavar="FILE",
            help="fetch the files of a list as well: a path, an address, or - for standard input",
        )
        add("--max-parallel", metavar="N", type=options.count, help="files at a time; 5 by default")
        add(
            "--max-splits",
            metavar="N",
            type=options.count,
            help="connections per file, where the server allows it; 5 by default",
        )
        add(
            "--max-tries",
            metavar="N",
            type=options.count,
            help="tries without progress before a file fails; 5 by default",
        )
        add(
            "--timeouts",
            metavar="SECONDS",
            type=options.seconds,
            help="give a connection up after so long without a byte, 60 by default; an answer is "
            "waited for as long, but at most FETCHER_CONNECT_TIMEOUT. A transfer as a whole may "
            "take any time",
        )
        add(
            "--limit-rate",
            metavar="RATE",
            type=options.rate,
            help="bytes a second in all, such as 10M",
        )
        add(
            "--checksum",
            metavar="ALGO:HEX",
            type=options.checksum,
            help="what the file must have: md5, sha1, sha256 or sha512; for exactly one URL",
        )
        add(
            "--checksums",
            metavar="FILE",
            help="what sha256sum, md5sum and their like have written, a path, an address, or - for "
            "standard input: the files of the same names must have these checksums",
        )
        add(
            "--header",
            metavar="'NAME: VALUE'",
            type=options.header,
            action="append",
            default=[],
            help="send a header with the requests for each file, to the host of its address and to "
            "no other (may be repeated)",
        )
        add(
            "--processes",
            metavar="N",
            type=options.count,
            default=1,
            help="share the files out among N processes, to use more than one processor; all "
            "limits stay those of the whole",
        )
        add("--overwrite", action="store_true", help="fetch files that are there already anew")
        add(
            "--unpack",
            action="store_true",
            help="unpack archives (tar, zip) into a folder beside them",
        )
        add("--quiet", action="store_true", help="show no progress and no warnings")
        add(
            "--show-errors",
            action="store_true",
            help="at the end, write the failed files and why to standard error, a line each",
        )
        add("--verbose", action="store_true", help="show the log in all detail")

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`.

        :raises UsageError: what is wrong, in one line.
        """
        try:
            super().process_options(args, opts)
            if opts.logfile:
                Path(opts.logfile).open("a").close()
        except OSError as error:
            raise options.usage(
                f"{error.filename} cannot be written to: {error.strerror}"
            ) from error
        level = str(opts.loglevel or "INFO")
        if not level.isdigit() and level not in logging.getLevelNamesMapping():
            raise options.usage(f"-L {level}: give DEBUG, INFO, WARNING, ERROR or CRITICAL")
        fields = _fields(options.addresses(args), opts)
        try:
            self._set(opts)
            quieten(self._settings())
            self._prepare(fields, opts)
        except FetchError as error:
            complain(error)
            sys.exit(USAGE)
        except KeyboardInterrupt:
            # While a list came in that has to be whole first.
            sys.exit(FAILED)

    def _set(self, opts: argparse.Namespace) -> None:
        settings = self._settings()
        values = {name: getattr(opts, option) for option, name in SETTINGS.items()}
        if opts.timeouts is not None:
            connect = Config.from_settings(settings).connect_timeout
            values["FETCHER_STALL_TIMEOUT"] = opts.timeouts
            values["FETCHER_CONNECT_TIMEOUT"] = min(opts.timeouts, connect)
        if opts.overwrite:
            values["FETCHER_IF_EXISTS"] = "overwrite"
        if opts.unpack:
            values["FETCHER_UNPACK"] = True
        if opts.quiet:
            values["FETCHER_PROGRESS"] = "none"
        if not opts.loglevel and (opts.verbose or opts.quiet):
            values["LOG_LEVEL"] = "DEBUG" if opts.verbose else "ERROR"
        for name, value in values.items():
            if value is not None:
                settings.set(name, value, priority="cmdline")

    def _settings(self) -> Settings:
        # Scrapy sets them, before it asks for anything.
        return cast("Settings", self.settings)

    def _prepare(self, fields: list[dict[str, str]], opts: argparse.Namespace) -> None:
        settings = self._settings()
        arguments = {"out": str(Path(opts.dir).expanduser())}
        if opts.input_file:
            arguments["urls"] = opts.input_file
        if opts.checksums:
            arguments["checksums"] = opts.checksums
        opts.team = opts.notice = None
        if opts.processes > 1:
            from fetcher.workers.limits import Limits
            from fetcher.workers.team import Team

            count, opts.notice = Limits(settings).fitting(opts.processes)
            if not opts.input_file:
                count = min(count, len(fields))
            if count > 1:
                job: Job = {"arguments": arguments, "rows": fields, "headers": opts.header}
                opts.team = Team(job, settings, count)
                # No name is looked up in this process, and this resolver loads no HTTP modules.
                settings.set("TWISTED_DNS_RESOLVER", SCRAPYS_RESOLVER, priority="project")
                return
        load_handler()
        rows = tuple(make_row(0, each) for each in fields)
        opts.assignment = prepare(arguments, settings, rows, tuple(opts.header))

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        if opts.notice:
            logger.warning(opts.notice)
        self.exitcode = FAILED
        try:
            with ExitStack() as stack:
                self.exitcode = self._run(opts, stack)
        except FetchError as error:
            complain(error)
        except KeyboardInterrupt:
            # Before the crawl has come so far as to take care of it.
            sys.stderr.write("fetcher: stopped: run the same command again\n")

    def _run(self, opts: argparse.Namespace, stack: ExitStack) -> int:
        spider, arguments = _spider(opts, stack)
        # What only this command needs is imported here: Scrapy imports every command whichever is
        # run.
        from fetcher.extensions.tally import Failure
        from fetcher.items import FileItem

        process = cast("CrawlerProcessBase", self.crawler_process)
        crawler = make_crawler(process, spider)
        # In a file: there may be a million.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as failures:

            def note(item: object) -> None:
                if isinstance(item, FileItem) and item.status == "failed":
                    name, message = Failure.of(item)
                    failures.write(f"{name}: {message}\n")

            if opts.show_errors:
                crawler.signals.connect(note, signals.item_scraped)
            status = run_crawl(process, crawler, urls=opts.input_file, **arguments)
            failures.seek(0)
            for line in failures:
                sys.stderr.write(line)
        return status


def _spider(opts: argparse.Namespace, stack: ExitStack) -> tuple[type[Spider], dict[str, Any]]:
    """What is run in this process: the download itself, or what stands for several processes."""
    if opts.team is None:
        from fetcher.spiders.fetch import FetchSpider

        return FetchSpider, {"assignment": opts.assignment}
    # First of all: they take long to load, and do so while this process goes on.
    supervisor = stack.enter_context(opts.team.start())
    from fetcher.workers.shards import ShardsSpider

    return ShardsSpider, {"assignment": opts.team.assignment, "supervisor": supervisor}


def _fields(addresses: list[str], opts: argparse.Namespace) -> list[dict[str, str]]:
    """Those of a row for each address; some may be unusable, which is reported as in any list."""
    if not addresses and not opts.input_file:
        raise options.usage("nothing to fetch: give at least one URL, or a list by -i FILE")
    if opts.checksum and (len(addresses) != 1 or opts.input_file):
        raise options.usage(
            "--checksum is that of one file: give exactly one URL with it, and no list"
        )
    common = {"checksum": opts.checksum} if opts.checksum else {}
    fields = [{"url": address, **common} for address in addresses]
    rows = [make_row(0, each) for each in fields]
    bad = [row for row in rows if isinstance(row, BadRow)]
    if bad and len(bad) == len(rows) and not opts.input_file:
        raise options.usage(bad[0].error.message)
    return fields
