"""The parent's side: starts children, listens to them, and stops them all."""

from __future__ import annotations

import json
import os
import selectors
import subprocess  # nosec B404 - starts nothing but this program itself
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Self

from fetcher.errors import FetchError
from fetcher.workers.channel import Event, Job

PATIENCE = 1.8
"""Seconds that children have to end after :meth:`Crew.stop`; then they are killed."""

_MAIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from fetcher.workers.child import main; main()"
)
_BLOCK = 1 << 16


class Child:
    """A running process.

    :param job: what it is to do.
    """

    def __init__(self, job: Job) -> None:
        if not sys.executable:
            raise FetchError("there is no Python interpreter to run the downloads in")
        self.status: int | None = None
        """What it has said of its end; None while, or where, it has not."""
        self.usage: str | None = None
        self.last_words = ""
        """Once it is closed: its signal, or the last line of its standard error."""
        self._listening = True
        self._rest = b""
        with ExitStack() as stack:
            self._complaints: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            # It finds what this process finds, wherever that is; and -P: nothing else.
            command = [sys.executable, "-P", "-c", _MAIN, json.dumps(sys.path)]
            self._process = subprocess.Popen(  # noqa: S603 # nosec B603 - our own code
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
            )
            stack.pop_all()
        self._job: memoryview | None = memoryview(json.dumps(job).encode() + b"\n")
        os.set_blocking(self.stdin, False)
        os.set_blocking(self.stdout, False)

    @property
    def stdin(self) -> int:
        return self._process.stdin.fileno()  # type: ignore[union-attr]

    @property
    def stdout(self) -> int:
        return self._process.stdout.fileno()  # type: ignore[union-attr]

    def write(self) -> bool:
        """Write some of the job; whether there is more."""
        if self._job:
            with suppress(BlockingIOError, BrokenPipeError):
                self._job = self._job[os.write(self.stdin, self._job[:_BLOCK]) :]
                return bool(self._job)
        return False

    def read(self) -> list[Event] | None:
        """What it has said meanwhile; None when it says no more."""
        try:
            data = os.read(self.stdout, _BLOCK)
        except BlockingIOError:
            return []
        if not data:
            self._listening = False
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        events: list[Event] = [json.loads(line) for line in lines]
        for event in events:
            if event["kind"] == "done":
                self.status, self.usage = event["status"], event.get("usage")
        return events

    def release(self) -> None:
        """The sign to stop."""
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """Wait for its end, and close what is open; again, nothing."""
        if self._complaints.closed:
            return
        if self.status is None and self._listening:
            # Nobody hears it any more.
            self.kill()
        self.release()
        code = self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._complaints.seek(0)
        lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
        self._complaints.close()
        if code < 0:
            self.last_words = f"it was ended by signal {-code}"
        else:
            self.last_words = lines[-1] if lines else f"it ended with status {code}"


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
                    os.read(self._wake[0], _BLOCK)
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
