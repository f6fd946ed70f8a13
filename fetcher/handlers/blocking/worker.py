"""A session and the thread that waits for it."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from fetcher.handlers.blocking.login import Login
from fetcher.handlers.blocking.session import Session

T = TypeVar("T")


class Worker:
    """Runs a session's methods in a thread of its own, in the order in which they are called.

    All methods belong to the event loop. The thread is a daemon: a name server that does not answer
    cannot be interrupted, and must not keep the process alive.

    :param login: what the session is for.
    :param session: not used by anybody else.

    :ivar served: requests that the session has served.
    """

    def __init__(self, login: Login, session: Session) -> None:
        self.login = login
        self.session = session
        self.served = 0
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._closed = False
        threading.Thread(target=self._run, name=f"{login.scheme}-session", daemon=True).start()

    def call(self, method: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """What ``method(*args)`` will have returned or raised."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            _fail(future, ConnectionAbortedError(errno.ECONNABORTED, "the session is closed"))
            return future

        def work() -> None:
            try:
                result = method(*args)
            except BaseException as error:  # noqa: BLE001 - it goes to who waits for the result
                self._answer(_fail, future, error)
            else:
                self._answer(_succeed, future, result)

        self._calls.put(work)
        return future

    def close(self, *, interrupt: bool) -> None:
        """End session and thread.

        :param interrupt: what is going on is not waited for.
        """
        if self._closed:
            return
        self._closed = True
        if interrupt:
            self.session.interrupt()
        self._calls.put(None)

    def _run(self) -> None:
        while (work := self._calls.get()) is not None:
            work()
        self.session.close()

    def _answer(self, deliver: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(deliver, *args)
        except RuntimeError:
            # The loop has been closed: nobody waits any more.
            return


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # Who has gone does not want to be told that it was never asked for.
