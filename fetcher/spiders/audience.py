"""Tells all who listen to ``item_scraped`` of many items at a time.

As Scrapy sends a signal, it looks up who listens, and what each of them takes, anew for each item:
three times the work that they then do.
"""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from pydispatch.dispatcher import getAllReceivers, liveReceivers
from scrapy import Spider, signals
from scrapy.crawler import Crawler
from scrapy.utils.defer import ensure_awaitable

from fetcher.contract import STAT_FILES
from fetcher.items import FileItem

logger = logging.getLogger(__name__)


class Audience:
    """Those of one crawl.

    :ivar whole: whether to be told of an item is all that there is to one whose file was there:
        false where it has to pass pipelines or spider middlewares that are not this project's.
    """

    def __init__(self, crawler: Crawler, spider: Spider) -> None:
        self._crawler = crawler
        self._spider = spider
        self.whole = all(
            _full_name(step).startswith("fetcher.pipelines.")
            for setting in ("ITEM_PIPELINES", "SPIDER_MIDDLEWARES")
            for step, order in crawler.settings.getwithbase(setting).items()
            if order is not None
        )

    async def tell(self, items: Sequence[FileItem]) -> None:
        """Send the signal for each of them, and count them."""
        for status, count in Counter(item.status for item in items).items():
            self._crawler.stats.inc_value(STAT_FILES.format(status=status), count)
        sender = self._crawler.signals.sender
        waited_for: list[Awaitable[Any]] = []
        for receiver in liveReceivers(getAllReceivers(sender, signals.item_scraped)):
            waited_for += self._tell_one(receiver, items)
        for each in waited_for:
            await ensure_awaitable(each)

    def _tell_one(
        self, receiver: Callable[..., Any], items: Sequence[FileItem]
    ) -> Iterable[Awaitable[Any]]:
        known = {
            "item": None,
            "response": None,
            "spider": self._spider,
            "signal": signals.item_scraped,
            "sender": self._crawler.signals.sender,
        }
        taken = _taken(receiver, known)
        for item in items:
            if "item" in taken:
                taken["item"] = item
            try:
                answer = receiver(**taken)
            except Exception:
                # As Scrapy does it: one who fails keeps nobody else from being told.
                logger.exception("Error caught on signal handler: %s", receiver)
                continue
            if answer is not None and inspect.isawaitable(answer):
                yield answer


def _taken(receiver: Callable[..., Any], known: dict[str, Any]) -> dict[str, Any]:
    """What of the signal's arguments a receiver has parameters for."""
    parameters = inspect.signature(receiver).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return dict(known)
    return {name: value for name, value in known.items() if name in parameters}


def _full_name(step: object) -> str:
    if isinstance(step, str):
        return step
    return f"{getattr(step, '__module__', '')}.{getattr(step, '__qualname__', '')}"
