"""Reads rows in a thread, a few ahead, so that a slow list never holds up the crawl."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from queue import Empty, Queue
from typing import Generic, TypeVar

from fetcher.contract import ListProgress
from fetcher.errors import FetchError

T = TypeVar("T")

AHEAD = 1024
"""Rows that are read before they are asked for."""

FAREWELL = 1.0
"""Seconds that the thread has to end."""


class RowFeed(Generic[T]):
    """An asynchronous iterator over rows.

    The thread is a daemon: one that waits at a silent pipe does not keep the process alive.

    :param rows: read in the thread; a :class:`FetchError` that it raises is raised here.
    :param progress: kept up to date.
    """

    def __init__(self, rows: Iterable[T], progress: ListProgress) -> None:
        self._rows = rows
        self._progress = progress
        self._ready: Queue[T | FetchError | None] = Queue(AHEAD)
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="list-reader", daemon=True)
        self._thread.start()

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            self._arrived.clear()
            try:
                entry = self._ready.get_nowait()
            except Empty:
                await self._arrived.wait()
                continue
            if entry is None:
                return
            if isinstance(entry, FetchError):
                raise entry
            yield entry

    def close(self) -> None:
        """Let the thread end."""
        self._closed = True
        while not self._ready.empty():
            self._ready.get_nowait()

    def join(self) -> None:
        """Wait until it has; but not for one that nothing can wake."""
        self._thread.join(FAREWELL)

    def _read(self) -> None:
        try:
            for entry in self._rows:
                self._progress.rows += 1
                self._put(entry)
                if self._closed:
                    return
        except FetchError as error:
            self._put(error)
        self._progress.whole = True
        self._put(None)

    def _put(self, entry: T | FetchError | None) -> None:
        self._ready.put(entry)
        if not self._closed:
            self._loop.call_soon_threadsafe(self._arrived.set)
