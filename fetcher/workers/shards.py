"""One crawl whose files are fetched by several processes, each over a shard of the list."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any, Self, cast

from scrapy import Request, Spider
from scrapy.crawler import Crawler
from scrapy.exceptions import CloseSpider
from scrapy.http import Response
from scrapy.settings import SETTINGS_PRIORITIES, BaseSettings
from twisted.python.failure import Failure

from fetcher.contract import UNUSABLE, stopping, unusable
from fetcher.errors import FetchError
from fetcher.extensions.report import keep_report
from fetcher.spiders.assignment import Assignment
from fetcher.spiders.fetch import FetchSpider
from fetcher.workers.channel import Event
from fetcher.workers.replay import Replay
from fetcher.workers.supervisor import Supervisor

logger = logging.getLogger(__name__)

DIED = "process_died"
"""Why a crawl has ended one of whose processes did not come to its end."""

FINISHED = "finished"
"""Scrapy's word for a crawl that has come to its end."""

_LAST_WORD = SETTINGS_PRIORITIES["cmdline"] + 1
_MIDDLEWARE = f"{__name__}.SupervisorMiddleware"


class ShardsSpider(Spider):
    """Stands for all the processes; what they fetch is this crawl's.

    Its only request is answered when all of them have ended, so that a crawl that is stopped waits
    for what they have to say.

    :param assignment: what they do together.
    :param supervisor: theirs.
    """

    name = FetchSpider.name

    def __init__(self, assignment: Assignment, supervisor: Supervisor, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.out = assignment.out
        self.report = assignment.report.as_uri().replace("file:", "report:", 1)
        self.supervisor = supervisor

    @classmethod
    def update_settings(cls, settings: BaseSettings) -> None:
        """Leave to the processes what belongs to fetching."""
        super().update_settings(settings)
        keep_report(settings, _LAST_WORD)
        own: dict[str, Any] = {
            # Those of the project, too, have done their work before an item comes here.
            "DOWNLOADER_MIDDLEWARES": {_MIDDLEWARE: 0},
            "DOWNLOADER_MIDDLEWARES_BASE": {},
            "SPIDER_MIDDLEWARES": {},
            "ITEM_PIPELINES": {},
            "DOWNLOAD_HANDLERS": {},
            "DOWNLOAD_HANDLERS_BASE": {},
            "JOBDIR": None,
        }
        for name, value in own.items():
            settings.set(name, value, priority=_LAST_WORD)

    async def start(self) -> AsyncIterator[Any]:
        """The one request."""
        yield Request("processes://all", callback=self.ended, errback=self.broken, dont_filter=True)

    def ended(self, response: Response) -> None:
        """All of them have ended.

        :raises CloseSpider: not all with all of their work done.
        """
        if self.supervisor.usage is not None:
            error = FetchError(self.supervisor.usage)
            self.crawler.signals.send_catch_log(unusable, error=error)
            raise CloseSpider(UNUSABLE)
        for child in self.supervisor.children:
            if child.reason != FINISHED:
                raise CloseSpider(child.reason or DIED)

    def broken(self, failure: Failure) -> None:
        """An error of this program.

        :raises CloseSpider: always.
        """
        self.logger.error("the processes could not be supervised", exc_info=failure.value)
        raise CloseSpider(DIED)


class SupervisorMiddleware:
    """Answers the request of :class:`ShardsSpider`."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._replay = Replay(crawler)
        self._wrong: dict[int, str] = {}
        crawler.signals.connect(self.stop, signal=stopping)

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """See Scrapy's documentation of components."""
        return cls(crawler)

    async def process_request(self, request: Request) -> Response:
        """See :meth:`scrapy.downloadermiddlewares.DownloaderMiddleware.process_request`."""
        await self._supervisor.run(self)
        if self._supervisor.usage is None:
            for child, usage in self._wrong.items():
                self._complain(child, usage)
        return Response(request.url)

    def hear(self, child: int, event: Event) -> None:
        """See :class:`fetcher.workers.supervisor.Listener`."""
        self._replay.hear(child, event, len(self._supervisor.children))

    def gone(self, child: int) -> None:
        """See :class:`fetcher.workers.supervisor.Listener`."""
        self._replay.gone(child)
        ended = self._supervisor.children[child]
        if ended.usage is not None:
            # It may be wrong for all of them.
            self._wrong[child] = ended.usage
        elif ended.reason != FINISHED and not self._supervisor.stopped:
            self._complain(child, ended.reason or ended.last_words)

    def stop(self) -> None:
        """The crawl is being stopped."""
        self._supervisor.stop()

    @property
    def _supervisor(self) -> Supervisor:
        return cast("ShardsSpider", self._crawler.spider).supervisor

    def _complain(self, child: int, why: str) -> None:
        logger.error(
            "process %d of %d has ended early (%s): those files of its share that are not in the "
            "report are unfinished; run the same command again to go on",
            child + 1,
            len(self._supervisor.children),
            why,
        )
