"""``scrapy schedule``: gives a list to Scrapyd, or shares it out to several.

0: scheduled, or still at it; with ``--wait``, every file is there. 1: something failed. 2: wrong
usage, of this command or of the spider.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scrapy.commands import ScrapyCommand
from scrapy.utils.conf import arglist_to_dict

from fetcher.commands import options
from fetcher.commands.plain import plain
from fetcher.commands.run import FAILED, OK, USAGE
from fetcher.errors import FetchError, InvalidListError, NodeError

if TYPE_CHECKING:
    from fetcher.scrapyd.ending import Ending
    from fetcher.scrapyd.gathering import Gathering
    from fetcher.scrapyd.jobs import Job

# Scrapy imports every command whichever is run: what only this one needs is imported where it is.

ANSWER_SECONDS = 20.0
"""The longest that one answer is waited for."""


class Command(ScrapyCommand):
    """Schedule jobs of the spider ``fetch``; see ``long_desc``."""

    requires_project = True
    requires_crawler_process = False

    def syntax(self) -> str:
        return "[options] [LIST]"

    def short_desc(self) -> str:
        return "Give a list to Scrapyd, or share it out to several"

    def long_desc(self) -> str:
        return (
            "Schedules a list, a path or an address, as a job of the spider fetch at a Scrapyd; at "
            "several, each gets a shard of it, or they share it through FETCHER_QUEUE. Paths are "
            "those of the nodes; a relative one counts from the current folder. Does nothing while "
            "a job of the same list into the same folder waits or runs. -s gives settings to the "
            "job. Ends with 0, or with 1 when something failed, and with 2 when it, or the spider, "
            "was called wrongly."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        super().add_options(parser)
        wrong_usage = partial(options.wrong_usage, "schedule")
        parser.error = wrong_usage  # type: ignore[method-assign] # one line, not ten
        add = parser.add_argument
        add(
            "--node",
            metavar="URL",
            action="append",
            dest="nodes",
            help="the address of a Scrapyd, with a login where it wants one (may be repeated); by "
            "default the one that scrapyd-deploy takes",
        )
        add("--project", metavar="NAME", help="as deployed; by default as scrapyd-deploy has it")
        add(
            "-a",
            dest="arguments",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            help="an argument of the spider, such as out (may be repeated)",
        )
        add("--wait", action="store_true", help="wait until the jobs have ended, and say how")
        add("--report", metavar="FILE", help="with --wait: put the reports of all jobs into FILE")
        add(
            "--timeout",
            metavar="SECONDS",
            type=options.seconds,
            default=60.0,
            help="give a node up that has not answered for so long; 60 by default",
        )

    def process_options(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`.

        :raises UsageError: what is wrong, in one line.
        """
        super().process_options(args, opts)
        try:
            opts.arguments = arglist_to_dict(opts.arguments)
        except ValueError:
            raise options.usage("-a is for NAME=VALUE, such as -a out=/data/files") from None
        lists = options.addresses(args)
        if len(lists) > 1 or (lists and "urls" in opts.arguments):
            raise options.usage("give one list")
        if lists:
            opts.arguments["urls"] = lists[0]
        if opts.report and not opts.wait:
            raise options.usage("--report needs --wait: there is none before the jobs have ended")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        # Ended from outside, it ends as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # Waiting may take days, and somebody may read along.
            sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
        try:
            queue = self.settings is not None and bool(self.settings.get("FETCHER_QUEUE"))
            self.exitcode = _run(opts, queue)
        except InvalidListError as error:
            _complain(error.message)
            self.exitcode = USAGE
        except FetchError as error:
            _complain(error.message)
            self.exitcode = FAILED
        except KeyboardInterrupt:
            _complain("interrupted: jobs that are scheduled go on")
            self.exitcode = FAILED
        except BrokenPipeError:
            # Who reads has seen enough; what is left goes nowhere when it is flushed at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.exitcode = FAILED


def _run(opts: argparse.Namespace, queue: bool) -> int:
    """The exit status.

    :raises FetchError: what went wrong.
    """
    from fetcher.scrapyd.gathering import Gathering
    from fetcher.scrapyd.jobs import check_arguments, plan
    from fetcher.scrapyd.node import Node
    from fetcher.scrapyd.target import Target
    from fetcher.spiders.credentials import Credentials

    target = Target.configured()
    credentials, timeout = Credentials(), min(opts.timeout, ANSWER_SECONDS)
    nodes = [Node(each, timeout, credentials) for each in opts.nodes or (target.address,)]
    project = opts.project or target.project
    arguments = check_arguments(opts.arguments)
    jobs = plan(nodes, project, arguments, datetime.now(UTC), queue=queue)
    with Gathering(Path(opts.report) if opts.report else None) as gathering:
        if _is_at_it(jobs):
            return OK
        for job in jobs:
            job.node.schedule(job.project, job.id, job.arguments, opts.set)
            _say(f"scheduled {job}")
        if not opts.wait:
            return OK
        status = _wait(jobs, opts.timeout, gathering)
        gathering.publish()
    return status


def _is_at_it(jobs: list[Job]) -> bool:
    """Whether jobs of the same list are not through; also, that all nodes are there.

    :raises NodeError: one is not.
    """
    first = jobs[0]
    found = [
        f"skipped, the job before is still {state}: {job} at {node}"
        for node in {str(job.node): job.node for job in jobs}.values()
        for job, state in node.jobs(first.project).items()
        if state != "finished" and first.is_like(job)
    ]
    for line in found[:1]:
        _say(line)
    return bool(found)


def _wait(jobs: list[Job], timeout: float, gathering: Gathering) -> int:
    """The exit status of them all: the highest."""
    from fetcher.scrapyd.following import follow

    status = OK
    total: Counter[str] = Counter()
    for job, ending in follow(jobs, timeout):
        if isinstance(ending, NodeError):
            _complain(f"{ending.message}; its job {job.id} may go on, look at it there")
            status = max(status, FAILED)
            continue
        counts: Counter[str] = Counter()
        try:
            counts = _gather(job, ending, gathering)
        except NodeError as error:
            _complain(f"the report of {job.id} is not whole: {error.message}")
            status = max(status, FAILED)
        total += counts
        status = max(status, _judge(job, ending, counts))
        _say(f"{job.id}: {_figures(counts)}")
    if len(jobs) > 1:
        _say(f"in all: {_figures(total)}")
    return status


def _gather(job: Job, ending: Ending, gathering: Gathering) -> Counter[str]:
    """How many files of each status a job has reported.

    :raises NodeError: its items are not to be had.
    """
    with job.node.items(job.project, job.id) as lines:
        if lines is not None:
            return gathering.add(lines, lambda name, why: _say(f"{name}: {why}"))
    if ending.status == OK and gathering.wanted:
        raise NodeError(f"the Scrapyd at {job.node} keeps no items, set its items_dir")
    return Counter()


def _judge(job: Job, ending: Ending, counts: Counter[str]) -> int:
    """The exit status of a job; what its files do not tell is told here."""
    if ending.status is None:
        _complain(
            f"{job} ended without a word, killed or never begun; schedule it again: it goes on"
        )
        return FAILED
    if ending.status == USAGE:
        _complain(f"{job} was called wrongly: {ending.error}")
    elif ending.status != OK and not counts["failed"]:
        _complain(f"{job} was stopped, or broke off; schedule it again: it goes on, see {job.log}")
    return ending.status


def _figures(counts: Counter[str]) -> str:
    from fetcher.scrapyd.gathering import STATUSES

    if not counts:
        return "no file reported"
    files = "1 file" if counts.total() == 1 else f"{counts.total()} files"
    return f"{files}, " + ", ".join(f"{counts[each]} {each}" for each in STATUSES if counts[each])


def _say(text: str) -> None:
    sys.stdout.write(f"{plain(text)}\n")


def _complain(text: str) -> None:
    sys.stderr.write(f"fetcher: {plain(text)}\n")
