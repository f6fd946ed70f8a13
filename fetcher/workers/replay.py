"""Sends what children tell once more in this crawl, as if it had done it all by itself.

So the displays, the report and all other extensions work for one process as for several.
"""

from __future__ import annotations

import logging

from scrapy import Request, signals
from scrapy.crawler import Crawler
from scrapy.http import Response

from fetcher import contract
from fetcher.contract import META_FETCH, FileProgress, ListProgress
from fetcher.items import FileItem
from fetcher.lists import BROKEN_LIST
from fetcher.pipelines.count import count
from fetcher.spiders.fetch import FetchSpider
from fetcher.workers.channel import Event, item_of, log_record
from fetcher.workers.flight import Flight

MOST_SAID = 100
"""Sentences that are remembered, so that they are not said once more for each child."""


class Replay:
    """Turns events back into the signals that they were.

    :param crawler: whose signals and stats these become.
    """

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._flight = Flight(self._started, self._ended)
        self._list_is_broken = False
        self._said: dict[str, int] = {}
        self._list = ListProgress()
        self._lists: dict[int, ListProgress] = {}

    def hear(self, child: int, event: Event, children: int) -> None:
        """Take notice of an event.

        :param children: how many there are.
        """
        if event["kind"] == "list":
            self._read(child, ListProgress(event["rows"], event["whole"]), children)
        elif event["kind"] == "item":
            self._scraped(item_of(event), event)
        elif event["kind"] == "retried":
            self._crawler.signals.send_catch_log(contract.retried, reason=event["reason"])
        elif event["kind"] == "log":
            self._log(child, event)
        else:
            self._flight.hear(child, event)

    def gone(self, child: int) -> None:
        """The child has ended, and no file of it is in flight any more."""
        self._flight.gone(child)

    def _read(self, child: int, progress: ListProgress, children: int) -> None:
        """A child has read more of the list, or all of it: its share."""
        if not self._lists:
            self._crawler.signals.send_catch_log(contract.list_opened, progress=self._list)
        self._lists[child] = progress
        self._list.rows = sum(each.rows for each in self._lists.values())
        self._list.whole = len(self._lists) == children and all(
            each.whole for each in self._lists.values()
        )

    def _log(self, child: int, event: Event) -> None:
        record = log_record(event)
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno) and not self._repeats(child, record):
            logger.handle(record)

    def _repeats(self, child: int, record: logging.LogRecord) -> bool:
        """Whether another child has said the same of the list: each of them reads all of it."""
        if record.name != FetchSpider.name or len(self._said) >= MOST_SAID:
            return False
        return self._said.setdefault(record.getMessage(), child) != child

    def _scraped(self, item: FileItem, event: Event) -> None:
        if item.name == BROKEN_LIST and item.url is None:
            # Each of them has read the same list.
            if self._list_is_broken:
                return
            self._list_is_broken = True
        count(self._crawler.stats, item)
        self._crawler.signals.send_catch_log(
            signals.item_scraped,
            item=item,
            response=_response(event),
            spider=self._crawler.spider,
        )

    def _started(self, progress: FileProgress) -> None:
        self._crawler.signals.send_catch_log(contract.file_started, progress=progress)

    def _ended(self, progress: FileProgress) -> None:
        self._crawler.signals.send_catch_log(contract.file_ended, progress=progress)


def _response(event: Event) -> Response | None:
    row = event.get("row")
    if row is None:
        return None
    request = Request(row["url"], headers=row["headers"], meta={META_FETCH: row["meta"]})
    return Response(request.url, request=request)
