"""The add-on: this project's downloads in any other Scrapy project.

It brings what files need and nothing else: requests without ``meta["fetch"]`` keep the handlers and
middlewares that they have without it. See https://docs.scrapy.org/en/latest/topics/addons.html
"""

from __future__ import annotations

import logging

from scrapy.exceptions import NotConfigured
from scrapy.settings import BaseSettings
from scrapy.utils.misc import load_object

from fetcher.config import Config, unknown_settings
from fetcher.extensions.shutdown import Shutdown
from fetcher.extensions.throttle import RangeThrottle
from fetcher.middlewares.ranges import RangeMiddleware
from fetcher.middlewares.redirect import OriginRedirectMiddleware
from fetcher.middlewares.retry import ResumeRetryMiddleware
from fetcher.pipelines.commit import CommitPipeline
from fetcher.pipelines.count import CountPipeline

HANDLERS = {
    "http": "fetcher.handlers.http.RangeHTTPDownloadHandler",
    "https": "fetcher.handlers.http.RangeHTTPSDownloadHandler",
    "ftp": "fetcher.handlers.ftp.FTPDownloadHandler",
    "ftps": "fetcher.handlers.ftp.FTPSDownloadHandler",
    "sftp": "fetcher.handlers.sftp.SFTPDownloadHandler",
}

COMPONENTS: dict[str, dict[type, int]] = {
    "DOWNLOADER_MIDDLEWARES": {
        RangeMiddleware: 10,
        # Each a step nearer to the server than Scrapy's (550 and 600), which are for the pages:
        # so it does not matter which of those a project has replaced, or done without.
        ResumeRetryMiddleware: 551,
        OriginRedirectMiddleware: 601,
    },
    "EXTENSIONS": {Shutdown: 0, RangeThrottle: 0},
    # For the items that a spider makes of files' answers; all other items pass.
    "ITEM_PIPELINES": {CommitPipeline: 100, CountPipeline: 120},
}

DOWNLOADER = "fetcher.handlers.downloader.SlotDownloader"

_log = logging.getLogger(__name__)


class Addon:
    """``ADDONS = {"fetcher.Addon": 500}``; what the project itself has set, stays."""

    def update_settings(self, settings: BaseSettings) -> None:
        """See Scrapy's documentation of add-ons.

        :raises InvalidSettingError: naming the setting, its value and what it may be.
        :raises NotConfigured: the project does without Twisted's reactor.
        """
        if not settings.getbool("TWISTED_REACTOR_ENABLED"):
            raise NotConfigured("files are fetched by Twisted: set TWISTED_REACTOR_ENABLED=True")
        config = Config.from_settings(settings)
        for sentence in unknown_settings(settings):
            _log.warning("%s", sentence)
        _add_handlers(settings)
        for name, components in COMPONENTS.items():
            for component, order in components.items():
                settings.setdefault_in_component_priority_dict(name, component, order)
        settings.set("DOWNLOADER", DOWNLOADER, "addon")
        least = config.least_concurrent_requests()
        if 0 < settings.getint("CONCURRENT_REQUESTS") < least:
            settings.set("CONCURRENT_REQUESTS", least, "addon")


def _add_handlers(settings: BaseSettings) -> None:
    """Put the handlers of files before those of pages, which go where the former look for them.

    A scheme that the project has switched off stays so.
    """
    handlers = settings.getdict("DOWNLOAD_HANDLERS")
    base = settings["DOWNLOAD_HANDLERS_BASE"]
    for scheme, path in HANDLERS.items():
        theirs = handlers.get(scheme, path)
        if theirs is None:
            continue
        if theirs != path and load_object(theirs) is not load_object(path):
            base[scheme] = theirs
        handlers[scheme] = path
    priority = settings.getpriority("DOWNLOAD_HANDLERS") or 0
    settings.set("DOWNLOAD_HANDLERS", handlers, priority)
