"""``scrapy verify``: whether the files of a folder still are what was fetched.

0: all of them. 1: something is wrong, or it was interrupted. 2: wrong usage.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from scrapy.commands import ScrapyCommand

from fetcher.commands.plain import plain
from fetcher.errors import FetchError, InvalidListError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fetcher.disk.checklist import Checklist

# Scrapy imports every command whichever is run: what only this one needs is imported in its run().

_ADVICE = "the same crawl fetches what is missing, and what is wrong once you have removed it"


class Command(ScrapyCommand):
    """Compare folders with their reports and ``SHA256SUMS``."""

    requires_project = True
    requires_crawler_process = False

    def syntax(self) -> str:
        return "[options] OUT [OUT ...]"

    def short_desc(self) -> str:
        return "Check the files of output folders against their reports and SHA256SUMS"

    def long_desc(self) -> str:
        return (
            "Reads each file again and compares its size and checksums with report.jsonl (and "
            "report-*.jsonl) and SHA256SUMS beside it. Asks no server. Says what is missing, "
            "different or unfinished, and ends with 0 when nothing is, with 1 otherwise."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument("--verbose", action="store_true", help="name the files that are right")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """See :class:`scrapy.commands.ScrapyCommand`."""
        # Ended from outside, it ends as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with ExitStack() as stack:
                self.exitcode = _verify(_open(args, stack), opts.verbose)
        except InvalidListError as error:
            _complain(error)
            self.exitcode = 2
        except FetchError as error:
            _complain(error)
            self.exitcode = 1
        except KeyboardInterrupt:
            sys.stderr.write("fetcher: interrupted, not all files were checked\n")
            self.exitcode = 1
        except BrokenPipeError:
            # Who reads has seen enough; what is left goes nowhere when it is flushed at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.exitcode = 1


def _open(args: list[str], stack: ExitStack) -> list[Checklist]:
    """What there is to check.

    :raises InvalidListError: there is nothing.
    """
    from fetcher.disk.checklist import Checklist

    if not args:
        raise InvalidListError("nothing to verify: give an output folder")
    opened = []
    for out in dict.fromkeys(map(Path, args)):
        if not out.is_dir():
            raise InvalidListError(f"{plain(str(out))} is no folder: give an output folder")
        checklist = Checklist(out)
        stack.callback(checklist.close)
        if not checklist.count and not checklist.broken and not any(checklist.unfinished()):
            raise InvalidListError(
                f"{plain(str(out))} has neither a report nor a SHA256SUMS with a file in it: "
                "there is nothing to verify"
            )
        opened.append(checklist)
    return opened


def _verify(checklists: list[Checklist], verbose: bool) -> int:
    """The exit status."""
    from fetcher.disk.verification import VERDICTS, Verification

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    counts: Counter[str] = Counter()
    right = True
    with ExitStack() as stack:
        tick = _progress(stack, sum(checklist.size for checklist in checklists))
        before = 0
        for checklist in checklists:
            folder = f"{checklist.out}/" if len(checklists) > 1 else ""

            def tell(name: str, problem: str, folder: str = folder) -> None:
                if problem or verbose:
                    text = ": ".join(filter(None, (folder + name, problem or "OK")))
                    sys.stdout.write(plain(text) + "\n")

            read = [0]

            def moved(count: int, before: int = before, read: list[int] = read) -> None:
                read[0] = count
                tick(before + count)

            verification = Verification(checklist, tell, moved)
            verification.run()
            before += read[0]
            counts += verification.counts
            right = right and verification.all_right
    files = "1 file" if counts.total() == 1 else f"{counts.total()} files"
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    sys.stdout.write(f"{files}: {verdicts}\n")
    if not right:
        sys.stderr.write(f"fetcher: {_ADVICE}\n")
    sys.stdout.flush()
    return 0 if right else 1


def _progress(stack: ExitStack, total: int) -> Callable[[int], None]:
    """A bar on a terminal; takes the bytes that have been read."""
    if not sys.stderr.isatty():
        return lambda _: None
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # Lines go above the bar, unless they go to a file.
        redirect_stdout=sys.stdout.isatty(),
    )
    stack.enter_context(bar)
    task = bar.add_task("", total=total or None)
    return lambda count: bar.update(task, completed=count, total=max(total, count) or None)


def _complain(error: FetchError) -> None:
    sys.stderr.write(f"fetcher: {plain(error.message)}\n")
