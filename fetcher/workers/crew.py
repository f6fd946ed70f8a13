"""The parent's side in a program: starts children, listens to them, and stops them all."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from fetcher.workers.channel import Event, Job
from fetcher.workers.process import BLOCK, Child

PATIENCE = 1.8
"""Seconds that children have to end after :meth:`Crew.stop`; then they are killed."""


class Crew:
    """Children that run at the same time.

    :param jobs: one for each child.
    :param hear: called with a child's number and each of its events.
    """

    def __init__(self, jobs: Sequence[Job], hear: Callable[[int, Event], None]) -> None:
        self._jobs = jobs
        self._hear = hear
        self._wake = os.pipe()
        for descriptor in self._wake:
            os.set_blocking(descriptor, False)
        self._stops = 0
        self._deadline: float | None = None
        self.children: list[Child] = []

    @property
    def stopped(self) -> bool:
        """Whether somebody has asked for the end."""
        return self._stops > 0

    def stop(self) -> None:
        """End all of it within two seconds; from any thread, or from a signal's handler.

        Called again, it does not wait for anything.
        """
        self._stops += 1
        with suppress(OSError):
            os.write(self._wake[1], b"\0")

    def run(self, tick: Callable[[], None], interval: float) -> None:
        """Until all children have ended.

        :param tick: called every so often.
        :param interval: seconds from one tick to the next.
        :raises KeyboardInterrupt: after all have ended.
        """
        interrupted = False
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake[0], selectors.EVENT_READ)
            for number, job in enumerate(self._jobs):
                child = Child(job)
                self.children.append(child)
                selector.register(child.stdin, selectors.EVENT_WRITE, (number, child))
                selector.register(child.stdout, selectors.EVENT_READ, (number, child))
            running, next_tick = len(self.children), time.monotonic() + interval
            while running:
                try:
                    running -= self._turn(selector, next_tick)
                    if time.monotonic() >= next_tick:
                        next_tick = time.monotonic() + interval
                        tick()
                except KeyboardInterrupt:
                    interrupted = True
                    self.stop()
        if interrupted:
            raise KeyboardInterrupt

    def _turn(self, selector: selectors.BaseSelector, until: float) -> int:
        """Wait for something to do, and do it; how many children have ended."""
        self._end_if_wanted(selector)
        limits = [until] if self._deadline is None else [until, self._deadline]
        ended = 0
        for key, _ in selector.select(max(0.0, min(limits) - time.monotonic())):
            if key.data is None:
                with suppress(BlockingIOError):
                    os.read(self._wake[0], BLOCK)
                continue
            number, child = key.data
            if key.events == selectors.EVENT_WRITE:
                if not child.write():
                    selector.unregister(key.fd)
                continue
            events = child.read()
            if events is None:
                selector.unregister(key.fd)
                ended += 1
            for event in events or ():
                self._hear(number, event)
        return ended

    def _end_if_wanted(self, selector: selectors.BaseSelector) -> None:
        if not self._stops:
            return
        if self._deadline is None:
            self._deadline = time.monotonic() + PATIENCE
            for child in self.children:
                with suppress(KeyError, ValueError):
                    selector.unregister(child.stdin)
                child.release()
        if self._stops > 1 or time.monotonic() > self._deadline:
            for child in self.children:
                child.kill()

    def close(self) -> None:
        """Wait until all children are gone; those that are still heard of are killed."""
        for child in self.children:
            child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        for descriptor in self._wake:
            os.close(descriptor)
