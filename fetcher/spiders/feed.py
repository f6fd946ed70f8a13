"""Reads rows in a thread, a few ahead, so that a slow list never holds up the crawl."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, TypeVar

from fetcher.contract import ListProgress
from fetcher.errors import FetchError, InvalidListError

T = TypeVar("T")

AHEAD = 1024
"""Rows that are read before they are asked for ..."""

AHEAD_BYTES = 4 << 20
"""... and about how many bytes they may take: the hashes of a file's pieces can be megabytes."""

FAREWELL = 1.0
"""Seconds that the thread has to end."""


class RowFeed(Generic[T]):
    """An asynchronous iterator over rows.

    The thread is a daemon: one that waits at a silent pipe does not keep the process alive.

    :param rows: read in the thread; a :class:`FetchError` that it raises is raised here.
    :param size_of: about how many bytes a row takes.
    :param progress: kept up to date.
    """

    def __init__(
        self, rows: Iterable[T], size_of: Callable[[T], int], progress: ListProgress
    ) -> None:
        self._rows = rows
        self._size_of = size_of
        self._progress = progress
        self._ready: deque[tuple[T | FetchError | None, int]] = deque()
        self._changed = threading.Condition()
        self._bytes = 0
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="list-reader", daemon=True)
        self._thread.start()

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            self._arrived.clear()
            if not self._ready:
                await self._arrived.wait()
                continue
            entry = self._take()
            if entry is None:
                return
            if isinstance(entry, FetchError):
                raise entry
            yield entry

    def close(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify()

    def join(self) -> None:
        """Wait until it has; but not for one that nothing can wake."""
        self._thread.join(FAREWELL)

    def _take(self) -> T | FetchError | None:
        with self._changed:
            entry, size = self._ready.popleft()
            self._bytes -= size
            self._changed.notify()
        return entry

    def _read(self) -> None:
        try:
            for entry in self._rows:
                self._progress.rows += 1
                self._put(entry, self._size_of(entry))
                if self._closed:
                    return
        except FetchError as error:
            self._put(error)
        except Exception as error:  # noqa: BLE001 - else who waits for a row would wait for ever
            self._put(InvalidListError(f"the list cannot be read any further: {error}"))
        self._progress.whole = True
        self._put(None)

    def _put(self, entry: T | FetchError | None, size: int = 0) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room)
            if self._closed:
                return
            self._ready.append((entry, size))
            self._bytes += size
        self._loop.call_soon_threadsafe(self._arrived.set)

    @property
    def _has_room(self) -> bool:
        # One row there always is room for, however large it is.
        return not self._ready or (len(self._ready) < AHEAD and self._bytes < AHEAD_BYTES)
