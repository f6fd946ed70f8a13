"""Runs what waits for a disk: in threads, or in place what is usually done in a moment.

A thread is dear where there are many small files: each of its system calls lets go of Python's
lock, and then waits until the event loop's thread lets go of it in turn.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from scrapy.utils.asyncio import run_in_thread

from fetcher.disk.database import Busy

T = TypeVar("T")
Together = Callable[[Sequence[T]], Sequence[Exception | None]]

BRIEF_SECONDS = 0.005
"""What takes longer than this in place is done in threads for a while."""

AFTER_SLOW = 20
"""How often it is, before it is tried in place again."""

MOST_WAITING = 64
"""With so much work in threads nothing is done in place: files would be begun faster than they are
committed, and each that waits for its name is open."""

MOST_TOGETHER = 64
"""Things that are worked on together; those behind them are not kept waiting for long."""


class DiskWork:
    """That of a crawl."""

    def __init__(self) -> None:
        self._waiting = 0
        self._slow = 0
        self._queues: dict[Together[Any], list[tuple[Any, asyncio.Future[None]]]] = {}
        self._draining: set[asyncio.Task[None]] = set()

    async def run(self, work: Callable[..., T], *args: object) -> T:
        """Work that may take long, in a thread."""
        self._waiting += 1
        try:
            return await run_in_thread(work, *args)
        finally:
            self._waiting -= 1

    async def run_together(self, work: Together[T], thing: T) -> None:
        """Work that is soon done, on all things together that are ready for it at a time.

        :param work: gives what has gone wrong with each of them.
        :raises Exception: what has gone wrong with this one.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if work not in self._queues:
            self._queues[work] = []
            draining = asyncio.ensure_future(self._drain(work))
            self._draining.add(draining)
            draining.add_done_callback(self._draining.discard)
        self._queues[work].append((thing, done))
        self._waiting += 1
        try:
            await done
        finally:
            self._waiting -= 1

    async def run_brief(self, work: Callable[[bool], T]) -> T:
        """Work that is usually done in a moment.

        :param work: called with whether it may wait for others; otherwise it raises :class:`Busy`
            where it would, and is called again, in a thread.
        """
        if self._slow:
            self._slow -= 1
        elif self._waiting < MOST_WAITING:
            began = time.monotonic()
            try:
                return work(False)
            except Busy:
                pass
            finally:
                if time.monotonic() - began > BRIEF_SECONDS:
                    self._slow = AFTER_SLOW
        return await run_in_thread(work, True)

    async def _drain(self, work: Together[Any]) -> None:
        queue = self._queues[work]
        while queue:
            batch = queue[:MOST_TOGETHER]
            del queue[:MOST_TOGETHER]
            try:
                errors = await run_in_thread(work, [thing for thing, _ in batch])
            except Exception as bug:  # noqa: BLE001 - it goes to who waits, as all errors do
                errors = [bug] * len(batch)
            for (_, done), error in zip(batch, errors, strict=True):
                if done.cancelled():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
        del self._queues[work]
