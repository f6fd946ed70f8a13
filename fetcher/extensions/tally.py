"""What a run has done so far, and the files it is at: the numbers behind every display."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from scrapy import signals

from fetcher import contract
from fetcher.contract import FileProgress, ListProgress
from fetcher.extensions.figures import Speed, plain
from fetcher.items import FileItem
from fetcher.rules.urls import redact_text

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

FAILURES_KEPT = 20
"""Failed files remembered for the summary; the report has all of them."""


class Failure(NamedTuple):
    """A failed file, both texts safe to show."""

    name: str
    message: str

    @classmethod
    def of(cls, item: FileItem) -> Failure:
        """The item's name (or its line in the list) and its error's sentence."""
        error = item.error or {}
        line = error.get("line")
        name = item.name or ("a row" if line is None else f"line {line}")
        message = str(error.get("message") or error.get("type") or "failed")
        return cls(plain(name), plain(redact_text(message)))


@dataclass
class Tracked:
    """A file in flight, and what was seen of it.

    :param last: bytes there at the last look.
    :param moved: bytes that came while it was looked at; those resumed are not among them.
    """

    progress: FileProgress
    last: int = 0
    moved: int = 0
    connected: bool = False
    speed: Speed = field(default_factory=Speed)

    def look(self, now: float) -> None:
        """Take a sample.

        What was on the disk before the first connection has not been transferred now; and a
        file begun anew has less than before, which is no transfer either.
        """
        progress = self.progress
        if self.connected:
            self.moved += max(0, progress.done - self.last)
        self.connected = self.connected or progress.connections > 0
        self.last = progress.done
        self.speed.add(now, self.moved)


class Tally:
    """Counts of the run; memory grows with the files in flight, not with those done.

    :param now: the time (seconds of a monotonic clock) at which the run begins.
    """

    def __init__(self, now: float) -> None:
        self.files: Counter[str] = Counter()
        self.received = 0
        self.resumed = 0
        self.failures: list[Failure] = []
        self.list: ListProgress | None = None
        """How much of the list has been read; None where nobody says."""
        self._active: dict[int, Tracked] = {}
        self._ended: dict[str, int] = {}
        self.begin(now)

    def begin(self, now: float) -> None:
        """Only now does the run begin."""
        self.began = self.now = now
        self._speed = Speed()
        self._speed.add(now, 0)

    def follow(self, crawler: Crawler) -> None:
        """Hear of the files of a crawl, for as long as this is kept."""
        connect = crawler.signals.connect
        connect(self.list_opened, contract.list_opened)
        connect(self.started, contract.file_started)
        connect(self.ended, contract.file_ended)
        connect(self.item_scraped, signals.item_scraped)

    def list_opened(self, progress: ListProgress) -> None:
        """The list's first row is about to come."""
        self.list = progress

    def item_scraped(self, item: object) -> None:
        """An item has passed the pipelines; others than files' are none of ours."""
        if isinstance(item, FileItem):
            self.scraped(item)

    def started(self, progress: FileProgress) -> None:
        """A file's turn has come."""
        self._active[id(progress)] = Tracked(progress)

    def ended(self, progress: FileProgress) -> None:
        """Nothing more of the file will be transferred; its item is yet to come."""
        tracked = self._active.pop(id(progress), None)
        if tracked is not None:
            tracked.look(self.now)
            # Unpacking an archive, it comes a second time.
            self._ended[progress.name] = self._ended.get(progress.name, 0) + tracked.moved

    def scraped(self, item: FileItem) -> None:
        """The item is there: its exact figures replace what was seen."""
        if item.name in self._ended:
            del self._ended[item.name]
        elif item.received and self._ended:
            # The server gave it another name; the one that waits longest is the likeliest.
            del self._ended[next(iter(self._ended))]
        self.received += item.received
        self.resumed += item.resumed
        if item.was_stopped:
            self.files["stopped"] += 1
            return
        self.files[item.status] += 1
        if item.status == "failed" and len(self.failures) < FAILURES_KEPT:
            self.failures.append(Failure.of(item))

    def look(self, now: float) -> None:
        """Take a sample of every file in flight."""
        self.now = now
        for tracked in self._active.values():
            tracked.look(now)
        self._speed.add(now, self.moved)

    @property
    def active(self) -> list[Tracked]:
        """The files in flight, in the order of their start."""
        return list(self._active.values())

    @property
    def moved(self) -> int:
        """Bytes over the network so far: exact for files done, as seen for the others."""
        in_flight = sum(tracked.moved for tracked in self._active.values())
        return self.received + sum(self._ended.values()) + in_flight

    @property
    def speed(self) -> float:
        """Bytes a second, smoothed."""
        return self._speed.value

    @property
    def elapsed(self) -> float:
        """Seconds from the beginning to the last look."""
        return self.now - self.began

    @property
    def mean_speed(self) -> float:
        """Bytes a second over the whole run."""
        return self.moved / self.elapsed if self.elapsed > 0 else 0.0

    def counts(self) -> str:
        """``12 done, 3 unchanged, 1 failed``; in the end also how many were stopped."""
        done, unchanged, failed = (self.files[status] for status in ("ok", "unchanged", "failed"))
        text = f"{done} done, {unchanged} unchanged, {failed} failed"
        stopped = self.files["stopped"]
        return f"{text}, {stopped} stopped" if stopped else text

    @property
    def rows_left(self) -> int | None:
        """Rows that were read and have not been reported; None where nobody says."""
        return None if self.list is None else max(0, self.list.rows - self.files.total())

    @property
    def left(self) -> str:
        """``84 left``, those in flight among them; ``1024+`` while the list goes on behind them."""
        if self.list is None:
            return ""
        return f"{self.rows_left} left" if self.list.whole else f"{self.rows_left}+ left"
