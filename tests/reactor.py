"""Twisted's asyncio reactor in a thread, for tests of what needs a running one.

A reactor starts once in a process, so all test modules share this one::

    def test_it(reactor: Reactor) -> None:
        assert reactor.run(some_coroutine()) == 3
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from functools import cache
from typing import Any, TypeVar, cast

import pytest
from twisted.internet import asyncioreactor
from twisted.logger import LogLevel, globalLogPublisher

T = TypeVar("T")

LIMIT = 30
"""Seconds that a test may take; a healthy one takes a fraction of one."""


class Reactor:
    """Runs until `stop`, and cannot be started again."""

    def __init__(self) -> None:
        self._complaints: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self._complain(context))
        self._log = cast("Any", globalLogPublisher)
        self._log.addObserver(self._observe)
        asyncioreactor.install(self._loop)
        from twisted.internet import reactor  # It exists only now.

        self._reactor = cast("Any", reactor)
        # All of its threads, which look up names, start with it: none appears during a test.
        self._reactor.getThreadPool().adjustPoolsize(4, 4)
        self._thread = threading.Thread(
            target=self._reactor.run, kwargs={"installSignalHandlers": False}, name="reactor"
        )
        self._thread.start()
        self.run(asyncio.sleep(0))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What it returns or raises.

        Fails where an error found nobody to tell it to, a task's or a Deferred's.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            result = future.result(LIMIT)
        except TimeoutError:
            if not future.done():
                future.cancel()
                raise TimeoutError(f"it was not through after {LIMIT} s") from None
            raise
        finally:
            complaints, self._complaints = self._complaints, []
        assert not complaints, complaints
        return result

    def stop(self) -> None:
        if self._thread.is_alive():
            self._reactor.callFromThread(self._reactor.stop)
            self._thread.join(10)
            self._log.removeObserver(self._observe)
            self._loop.close()

    def _complain(self, context: dict[str, Any]) -> None:
        self._complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    def _observe(self, event: Any) -> None:
        if event["log_level"] is LogLevel.critical:
            self._complaints.append(f"{event.get('log_format')}: {event.get('log_failure')}")


_the_one = cache(Reactor)


@pytest.fixture(scope="session")
def reactor() -> Iterator[Reactor]:
    """The running reactor."""
    running = _the_one()
    yield running
    running.stop()
