"""Scrapy's downloader, whose slots keep to ``CONCURRENT_REQUESTS_PER_DOMAIN``."""

from __future__ import annotations

from collections import deque
from typing import Any

from scrapy import Request, Spider
from scrapy.core.downloader import Downloader, Slot


class SlotDownloader(Downloader):
    """Counts a request as being transferred from the moment when its turn has come.

    Scrapy 2.19 starts a task for it and counts it when that first runs; until then the place is
    given away again, so that all who wait for one free place get it at once.
    """

    def _get_slot(self, request: Request, spider: Spider | None = None) -> tuple[str, Slot]:
        key, slot = super()._get_slot(request)
        if not isinstance(slot.queue, _Queue):
            slot.queue = _Queue(slot)
        return key, slot


class _Queue(deque[Any]):
    """The requests that wait for their turn in a slot, each with its Deferred."""

    def __init__(self, slot: Slot) -> None:
        super().__init__(slot.queue)
        self._slot = slot

    def popleft(self) -> Any:
        request, waiting = super().popleft()
        # The downloader itself takes it out again.
        self._slot.transferring.add(request)
        return request, waiting
