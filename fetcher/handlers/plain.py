"""Requests that are no file's, in the hands of who would have them without this project."""

from __future__ import annotations

from typing import Any

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import NotConfigured, NotSupported
from scrapy.http import Response
from scrapy.utils.misc import build_from_crawler, load_object

from fetcher.rules.urls import redact


class PlainHandler:
    """The handler of a scheme in ``DOWNLOAD_HANDLERS_BASE``: Scrapy's, or, where the add-on has
    moved it there, the project's own.

    :param scheme: the one whose requests will come.
    """

    def __init__(self, crawler: Crawler, scheme: str) -> None:
        self._crawler = crawler
        self._path: Any = crawler.settings.getdict("DOWNLOAD_HANDLERS_BASE").get(scheme)
        self._handler: Any = None
        self._reason = 'it can only be fetched as a file: set meta["fetch"] of the request'
        if self._path and not getattr(load_object(self._path), "lazy", True):
            self._load()

    async def download_request(self, request: Request) -> Response:
        """What that handler makes of the request.

        :raises NotSupported: there is no such handler, or it cannot run.
        """
        if self._handler is None and self._path:
            self._load()
        if self._handler is None:
            raise NotSupported(f"{redact(request.url)} is no page: {self._reason}")
        response: Response = await self._handler.download_request(request)
        return response

    async def close(self) -> None:
        """Close that handler."""
        if self._handler is not None:
            await self._handler.close()

    def _load(self) -> None:
        made: Any = load_object(self._path)
        self._path = None
        try:
            self._handler = build_from_crawler(made, self._crawler)
        except NotConfigured as error:
            self._reason = str(error)
