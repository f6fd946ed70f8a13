"""How far the run is: bars on a terminal, lines in a log; `FETCHER_PROGRESS`."""

from __future__ import annotations

import logging
import sys
import time
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from scrapy import Spider, signals
from scrapy.utils.asyncio import AsyncioLoopingCall, create_looping_call

from fetcher import contract
from fetcher.config import Config
from fetcher.extensions.tally import Failure, Tally
from fetcher.extensions.ticker import Ticker, summary
from fetcher.items import FileItem

if TYPE_CHECKING:
    from typing import Self

    from scrapy.crawler import Crawler
    from twisted.internet.task import LoopingCall

logger = logging.getLogger("fetcher.progress")


class Display(Protocol):
    """What shows a :class:`Tally`."""

    @property
    def interval(self) -> float:
        """Seconds from one :meth:`draw` to the next."""

    def start(self) -> None:
        """Begin to show."""

    def draw(self) -> None:
        """Show how things are now."""

    def stop(self) -> None:
        """Put everything back; called more than once."""

    def summarise(self, lines: Iterable[str]) -> None:
        """Show what has become of the run, after :meth:`stop`."""


class Progress:
    """Extension: counts files and bytes and has them shown.

    A failed file is logged at once, as a warning, whatever the display; those that were in flight
    when the run was interrupted are only counted.
    """

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self.tally = Tally(time.monotonic())
        self._display: Display | None = None
        self._timer: AsyncioLoopingCall | LoopingCall | None = None
        self._restore: weakref.finalize[Any, Any] | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """:raises InvalidSettingError: where a setting of the project is none."""
        progress = cls(Config.from_settings(crawler.settings).progress)
        progress.tally.follow(crawler)
        connect = crawler.signals.connect
        connect(progress.item_scraped, signals.item_scraped)
        connect(progress.spider_opened, signals.spider_opened)
        connect(progress.spider_closed, signals.spider_closed)
        connect(progress.close, signals.engine_stopped)
        connect(progress.say_nothing, contract.unusable)
        return progress

    def item_scraped(self, item: Any, spider: Spider) -> None:
        if isinstance(item, FileItem) and item.status == "failed" and not item.was_stopped:
            logger.warning("%s: %s", *Failure.of(item), extra={"spider": spider})

    def spider_opened(self, spider: Spider) -> None:
        self.tally.begin(time.monotonic())
        self._display = make_display(self._mode, self.tally)
        if self._display is None:
            return
        # A crawl that is killed (a second SIGINT) ends without any signal.
        self._restore = weakref.finalize(self, self._display.stop)
        self._display.start()
        self._timer = create_looping_call(self._tick)
        self._timer.start(self._display.interval, now=False)

    def spider_closed(self, spider: Spider, reason: str) -> None:
        self.tally.look(time.monotonic())
        self.close()
        if self._display is not None:
            to_retry = spider.crawler.stats.get_value(contract.STAT_RETRY_ROWS, 0)
            self._display.summarise(summary(self.tally, spider, reason, to_retry))

    def say_nothing(self) -> None:
        """There has been nothing to show, and what is wrong is told elsewhere."""
        self.close()
        self._display = None

    def close(self) -> None:
        """Stop showing; once is enough, twice does no harm."""
        if self._timer is not None and self._timer.running:
            self._timer.stop()
        if self._restore is not None:
            self._restore()

    def _tick(self) -> None:
        if self._display is not None:
            self.tally.look(time.monotonic())
            self._display.draw()


def make_display(mode: str, tally: Tally) -> Display | None:
    """The display that ``FETCHER_PROGRESS`` asks for."""
    if mode == "none":
        return None
    if mode == "bar" or (mode == "auto" and sys.stderr.isatty()):
        # rich takes a twentieth of a second to import; only those pay who look at it.
        from fetcher.extensions.display import Bars, Terminal

        terminal = Terminal(force=mode == "bar")
        if terminal.moves:
            return Bars(tally, terminal)
    return Ticker(tally)
