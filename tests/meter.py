"""A Scrapy extension for crawls under test: writes down how the bytes come in.

curve = read_curve(path)  # of a crawl with `settings=metered(path)`
"""

import asyncio
import json
import time
from pathlib import Path
from typing import NamedTuple, Self

from scrapy import signals
from scrapy.crawler import Crawler

from fetcher import settings
from fetcher.contract import FileProgress, file_ended, file_started

INTERVAL = 0.02
"""Seconds from one look to the next."""


class Look(NamedTuple):
    """What a crawl had done at one moment."""

    at: float
    """Seconds of a clock that only goes forward."""
    done: int
    """Bytes of all files."""
    cpu: float
    """Seconds of processor time since the start of the process."""


class Meter:
    """Looks from the first file's turn to the crawl's end."""

    def __init__(self, crawler: Crawler) -> None:
        self._path = Path(crawler.settings["METER"])
        self._files: list[FileProgress] = []
        self._looks: list[Look] = []
        self._next: asyncio.TimerHandle | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        meter = cls(crawler)
        crawler.signals.connect(meter.started, file_started)
        crawler.signals.connect(meter.look, file_ended)
        crawler.signals.connect(meter.closed, signals.spider_closed)
        return meter

    def started(self, progress: FileProgress) -> None:
        self._files.append(progress)
        if self._next is None:
            self._tick()

    def look(self) -> None:
        done = sum(each.done for each in self._files)
        self._looks.append(Look(time.monotonic(), done, time.process_time()))

    def closed(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._path.write_text(json.dumps(self._looks))

    def _tick(self) -> None:
        self.look()
        self._next = asyncio.get_running_loop().call_later(INTERVAL, self._tick)


def metered(path: Path) -> dict[str, str]:
    """Settings for a crawl whose curve is to be written there."""
    extensions = settings.EXTENSIONS | {"tests.meter.Meter": 0}
    return {"EXTENSIONS": json.dumps(extensions), "METER": str(path)}


def read_curve(path: Path) -> list[Look]:
    """From the first file's turn up to the last byte."""
    looks = [Look(*each) for each in json.loads(path.read_text())]
    last = next(number for number, look in enumerate(looks) if look.done == looks[-1].done)
    return looks[: last + 1]
