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

LOW = AHEAD // 4
"""... and how few of them are left when more are read: the two threads wait for Python's lock less
often than if the reader had each single row to make up for ..."""

AHEAD_BYTES = 4 << 20
"""... and about how many bytes they may take: the hashes of a file's pieces can be megabytes."""

TOGETHER = 128
"""Rows that are handed over at a time, at most."""

FAREWELL = 1.0
"""Seconds that the thread has to end."""


class RowFeed(Generic[T]):
    """An asynchronous iterator over rows, those that are there at a time together.

    The thread is a daemon: one that waits at a silent pipe does not keep the process alive.

    :param rows: read in the thread; a :class:`FetchError` that it raises is raised here.
    :param size_of: about how many bytes a row takes.
    :param progress: kept up to date.
    """

    def __init__(
        self,
        rows: Iterable[T],
        size_of: Callable[[T], int],
        progress: ListProgress,
    ) -> None:
        self._rows = rows
        self._size_of = size_of
        self._progress = progress
        self._ready: deque[tuple[T, int]] = deque()
        self._out = 0
        self._bytes = self._bytes_out = 0
        self._end: FetchError | bool = False
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._awaited = False
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="list-reader", daemon=True)
        self._thread.start()

    async def __aiter__(self) -> AsyncIterator[list[T]]:
        while True:
            rows = self._take()
            if rows:
                yield rows
            elif isinstance(self._end, FetchError):
                raise self._end
            elif self._end:
                return
            else:
                await self._arrived.wait()

    def close(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify()

    def join(self) -> None:
        """Wait until it has; but not for one that nothing can wake."""
        self._thread.join(FAREWELL)

    def _take(self) -> list[T]:
        """Some rows; those taken before are done with. Where there are none, wait, or this is the
        end."""
        with self._changed:
            entries = [self._ready.popleft() for _ in range(min(TOGETHER, len(self._ready)))]
            self._bytes -= self._bytes_out
            self._bytes_out = sum(size for _, size in entries)
            self._out = len(entries)
            if not entries and not self._end:
                self._awaited = True
                self._arrived.clear()
            self._changed.notify()
        return [row for row, _ in entries]

    def _read(self) -> None:
        end: FetchError | bool = True
        try:
            for row in self._rows:
                self._progress.rows += 1
                self._put(row, self._size_of(row))
                if self._closed:
                    return
        except FetchError as error:
            end = error
        except Exception as error:  # noqa: BLE001 - else who waits for a row would wait for ever
            end = InvalidListError(f"the list cannot be read any further: {error}")
        self._progress.whole = True
        with self._changed:
            self._end = end
            self._wake()

    def _put(self, row: T, size: int) -> None:
        with self._changed:
            if not self._has_room(AHEAD):
                self._changed.wait_for(lambda: self._closed or self._has_room(LOW))
            if self._closed:
                return
            self._ready.append((row, size))
            self._bytes += size
            self._wake()

    def _wake(self) -> None:
        if self._awaited and not self._closed:
            self._awaited = False
            self._loop.call_soon_threadsafe(self._arrived.set)

    def _has_room(self, most: int) -> bool:
        # One row there always is room for, however large it is.
        return not self._ready or (
            len(self._ready) + self._out < most and self._bytes < AHEAD_BYTES
        )
