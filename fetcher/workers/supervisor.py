"""The parent's side in a crawl: children whose events come by its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, Self

from scrapy.utils.asyncio import run_in_thread

from fetcher.workers.channel import Event, Job
from fetcher.workers.process import Child

PATIENCE = 1.2
"""Seconds that children have to end after :meth:`Supervisor.stop`; then they are killed. What is to
be written afterwards has the rest of two seconds."""


class Listener(Protocol):
    """Who wants to know what happens in the children."""

    def hear(self, child: int, event: Event) -> None:
        """A child has said something."""

    def gone(self, child: int) -> None:
        """A child has ended, and what is known of its end is told by its :class:`Child`."""


class Supervisor:
    """Starts children at once; leaving it, all of them are gone.

    :param jobs: one for each child.
    :ivar children: their other ends; what became of them is told there.
    :ivar stopped: whether somebody has asked for the end.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.children: list[Child] = []
        self.stopped = False
        self._ended: dict[Child, asyncio.Future[None]] = {}
        try:
            for job in jobs:
                child = Child(job)
                self.children.append(child)
                # They begin while this process is still starting.
                child.write()
        except BaseException:
            self.close()
            raise

    @property
    def usage(self) -> str | None:
        """What is wrong with the call, where none of them could begin."""
        found = [child.usage for child in self.children]
        return found[0] if all(usage is not None for usage in found) else None

    async def run(self, listener: Listener) -> None:
        """Until all children have ended; in the event loop of the crawl."""
        loop = asyncio.get_running_loop()
        for number, child in enumerate(self.children):
            self._ended[child] = loop.create_future()
            loop.add_reader(child.stdout, self._read, number, child, listener)
            if not self.stopped:
                loop.add_writer(child.stdin, self._write, child)
        await asyncio.gather(
            *(self._follow(number, listener) for number in range(len(self.children)))
        )

    def stop(self) -> None:
        """End all of them soon; in the event loop. Again, it does nothing."""
        if self.stopped:
            return
        self.stopped = True
        loop = asyncio.get_running_loop()
        for child in self.children:
            if child.stdin >= 0:
                loop.remove_writer(child.stdin)
            child.release()
        loop.call_later(PATIENCE, self._kill)

    def close(self) -> None:
        """Kill those that are left, and wait for the end of all."""
        self._kill()
        for child in self.children:
            child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _kill(self) -> None:
        for child in self.children:
            child.kill()

    def _write(self, child: Child) -> None:
        if not child.write():
            asyncio.get_running_loop().remove_writer(child.stdin)

    def _read(self, number: int, child: Child, listener: Listener) -> None:
        events = child.read()
        if events is None:
            asyncio.get_running_loop().remove_reader(child.stdout)
            self._ended[child].set_result(None)
        for event in events or ():
            listener.hear(number, event)

    async def _follow(self, number: int, listener: Listener) -> None:
        child = self.children[number]
        await self._ended[child]
        await run_in_thread(child.close)
        listener.gone(number)
