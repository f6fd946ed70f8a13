"""A line in the log now and then, where there is no terminal."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from scrapy import Spider

from fetcher.contract import FileProgress
from fetcher.extensions import figures
from fetcher.extensions.retry_list import retry_path
from fetcher.extensions.tally import Tally

logger = logging.getLogger("fetcher.progress")

_NAMED = 8


class Ticker:
    """A line in the log now and then."""

    interval = 1.0
    """Seconds from one :meth:`draw` to the next; most of them only look."""
    every = 10.0
    """Seconds from line to line."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._next = tally.began + self.every

    def start(self) -> None:
        """Nothing to do."""

    def draw(self) -> None:
        """Log a line when it is time."""
        # A tick may come a little early; the next one would be a second late.
        if self._tally.now < self._next - self.interval / 2:
            return
        self._next = self._tally.now + self.every
        logger.info("%s", self.line())

    def stop(self) -> None:
        """Nothing to do."""

    def summarise(self, lines: Iterable[str]) -> None:
        """One line that closes."""
        logger.info("%s", "; ".join(lines))

    def line(self) -> str:
        """Counts, bytes and speed, and how far the files in flight are."""
        tally = self._tally
        active = tally.active
        parts = [
            ", ".join(filter(None, (tally.counts(), f"{len(active)} in flight", tally.left))),
            f"{figures.size(tally.moved)}, {figures.rate(tally.speed)}",
        ]
        if active:
            files = [_file(tracked.progress) for tracked in active[:_NAMED]]
            if unnamed := len(active) - len(files):
                files.append(f"and {unnamed} more")
            parts.append(", ".join(files))
        return "; ".join(parts)


def _file(progress: FileProgress) -> str:
    name = figures.shorten(figures.plain(progress.name), 24)
    done = figures.percentage(progress.done, progress.size) or figures.size(progress.done)
    return f"{name} {done}"


def summary(tally: Tally, spider: Spider, reason: str, to_retry: int = 0) -> list[str]:
    """What has become of the run, where its report is, and how to go on.

    :param to_retry: how many failed rows are in the list that can be given back.
    """
    received, elapsed = figures.size(tally.received), figures.duration(tally.elapsed)
    lines = [f"{tally.counts()}, {received} in {elapsed} ({figures.rate(tally.mean_speed)})"]
    out = getattr(spider, "out", None)
    report = getattr(spider, "report", None) or (out and Path(out, "report.jsonl"))
    path = _path(str(report)) if report else None
    if path:
        lines.append(f"report: {figures.plain(path)}")
    failed = tally.files["failed"]
    if failed or reason != "finished":
        why = "" if reason == "finished" else f"stopped ({reason}): "
        where = ""
        if path and to_retry:
            what = "what failed is" if to_retry >= failed else f"{to_retry} of what failed are"
            where = f"; {what} in {retry_path(Path(path)).name}, too"
        lines.append(f"{why}run the same command again to go on{where}")
    return lines


def _path(report: str) -> str:
    parts = urlsplit(report)
    return url2pathname(parts.path) if parts.scheme in ("file", "report") else report
