"""``scrapy demo``: the whole way, from a list to verified files, on this machine alone."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from fetcher.demo import Outcome, Verdict

# Scrapy imports every command whichever is run: what only this one needs is imported in its run().


class Command(ScrapyCommand):
    """Serve files over loopback with faults, fetch them, and compare."""

    requires_project = True
    requires_crawler_process = False

    def syntax(self) -> str:
        return "[options]"

    def short_desc(self) -> str:
        return "Fetch generated files from servers on this machine, and verify them"

    def long_desc(self) -> str:
        return (
            "Starts servers on this machine over generated files, runs `scrapy crawl fetch` on a "
            "list of them, interrupts it once, runs it again, and compares every byte. Settings "
            "given with -s are those of the crawl. Needs no network."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument(
            "--keep",
            metavar="DIR",
            help="keep the files, the list and the log in DIR instead of removing them",
        )

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """:raises UsageError: for arguments, and for a DIR that holds something already."""
        if args:
            raise UsageError(f"scrapy demo takes no arguments: {' '.join(args)}", print_help=False)
        keep = Path(opts.keep).expanduser().absolute() if opts.keep else None
        if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise UsageError(f"--keep {opts.keep}: give an empty or a new folder", print_help=False)
        options = [part for setting in opts.set for part in ("-s", setting)]
        # Ended from outside, it cleans up as after Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self.exitcode = _run(keep, options)
        except KeyboardInterrupt:
            sys.stdout.write(f"Stopped; what there is, is in {keep}\n" if keep else "Stopped\n")
            self.exitcode = 1


def _run(keep: Path | None, options: list[str]) -> int:
    """The exit status; a folder of our own is left behind only where its log is needed."""
    import tempfile

    from rich.console import Console
    from scrapy.utils.conf import closest_scrapy_cfg

    from fetcher.demo import demonstrate

    console = Console(highlight=False, markup=False, soft_wrap=True)
    configuration = closest_scrapy_cfg()
    project = Path(configuration).parent if configuration else None
    folder = keep or Path(tempfile.mkdtemp(prefix="fetcher-demo-"))
    kept = keep is not None
    try:
        verdict = demonstrate(folder, options, project, console.print)
        kept = kept or bool(verdict.problems)
        console.print()
        console.print(_table(verdict.outcomes), soft_wrap=False)
        _conclude(console, verdict, folder, kept)
    except OSError as error:
        console.print(f"The demonstration could not run: {error}")
        return 1
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if verdict.problems else 0


def _conclude(console: Console, verdict: Verdict, folder: Path, kept: bool) -> None:
    console.print("\nBytes and seconds are those of both runs; K and M are powers of 1024.\n")
    if verdict.problems:
        console.print("Not all is right:")
        for problem in verdict.problems:
            console.print(f"- {problem}")
        console.print(f"The log is {folder / 'crawl.log'}")
        return
    size = sum(file.size or 0 for file in verdict.outcomes) / (1 << 20)
    console.print(
        f"The run was interrupted once (it ended {verdict.stopped_in or 0:.1f} s later) and went "
        f"on;\n{len(verdict.outcomes)} files, {size:.1f} MiB, all right byte for byte."
    )
    if kept:
        console.print(f"The files are in {folder}")


def _table(outcomes: list[Outcome]) -> Table:
    """At most 80 columns wide; the figures are those of both runs together."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False)
    table.add_column("File", overflow="fold")
    table.add_column("Status", overflow="fold")
    for title in ("Size", "Resumed", "Received", "Conns", "Retries", "Sec"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("Verified", no_wrap=True)
    for file in outcomes:
        table.add_row(
            Text(file.name, "bold").append(f"\n{file.special}", "not bold"),
            ",\n".join(file.statuses),
            "?" if file.size is None else _short(file.size),
            _short(file.resumed),
            _short(file.received),
            str(file.connections),
            str(file.retries),
            f"{file.seconds:.1f}",
            "yes" if file.right else Text("NO", "bold red"),
        )
    return table


def _short(size: int) -> str:
    """A size in five characters: bytes, or powers of 1024 with K, M or G."""
    amount = float(size)
    for unit in ("", "K", "M"):
        if amount < 1000:
            return f"{amount:.1f}{unit}" if unit else str(size)
        amount /= 1024
    return f"{amount:.1f}G"
