"""The sessions of one protocol: reused, bounded for each server, closed when idle."""

from __future__ import annotations

import asyncio
import errno
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from fetcher.handlers.blocking.login import Login
from fetcher.handlers.blocking.session import Refused, Session, TooManyConnections
from fetcher.handlers.blocking.worker import Worker

IDLE = 10.0
"""Seconds a session is kept for the next file; servers close theirs after a minute or so."""

PATIENCE = 30.0
"""Seconds after which a server that took no further connection is asked for one more."""


@dataclass(eq=False)
class _Server:
    """What is open to one server."""

    limit: int | None = None
    """Connections that it takes; None until it has refused one."""
    refused_at: float = 0.0
    lent: int = 0
    """Sessions that serve, or are being logged in."""
    serving: set[Worker] = field(default_factory=set)
    """Of those, the ones that are logged in."""
    idle: dict[Worker, asyncio.TimerHandle] = field(default_factory=dict)
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def established(self) -> int:
        """Connections that the server has taken."""
        return len(self.serving) + len(self.idle)

    def has_room(self) -> bool:
        if self.limit is None:
            return True
        if time.monotonic() - self.refused_at > PATIENCE:
            self.limit += 1
            self.refused_at = time.monotonic()
        return self.lent < self.limit

    def refused(self) -> None:
        """It has not taken one of those that are lent."""
        self.limit = self.lent - 1 + len(self.idle)
        self.refused_at = time.monotonic()

    def accepted(self, worker: Worker) -> None:
        """A login that succeeds proves that so many are possible."""
        self.serving.add(worker)
        if self.limit is not None:
            self.limit = max(self.limit, self.established)


class Pool:
    """Lends sessions, and belongs to the event loop.

    How many requests go to a host at a time is for Scrapy's slots to say
    (``CONCURRENT_REQUESTS_PER_DOMAIN``); how many connections a server takes, the server says, and
    further requests wait here until one is free.

    :param make: a session for a login, not connected yet.
    :param timeout: seconds for connecting and logging in.
    """

    def __init__(self, make: Callable[[Login], Session], timeout: float) -> None:
        self._make = make
        self._timeout = timeout
        self._servers: dict[tuple[str, int | None], _Server] = {}
        self._workers: set[Worker] = set()
        self._welcome: set[Login] = set()
        self._unwelcome: dict[Login, Refused] = {}
        self._first: dict[Login, asyncio.Lock] = {}
        self._closed = False

    async def acquire(self, login: Login) -> Worker:
        """A session that is logged in; waiting for a free one is not bounded.

        A password that has been refused is not tried again: that is how accounts are locked. So the
        first session of a login is waited for before there is a second one.

        :raises Refused: the login is, now or earlier.
        :raises TooManyConnections: the server takes none at all.
        :raises TimeoutError: it did not answer in time.
        :raises ConnectionAbortedError: the pool is closed, or is being closed meanwhile.
        """
        if login not in self._welcome:
            async with self._first.setdefault(login, asyncio.Lock()):
                if login not in self._welcome:
                    return await self._acquire_first(login)
        return await self._acquire(login)

    async def _acquire_first(self, login: Login) -> Worker:
        refused = self._unwelcome.get(login)
        if refused is not None:
            raise Refused(refused.status, refused.reason)
        try:
            worker = await self._acquire(login)
        except Refused as error:
            if error.status == 401:
                self._unwelcome[login] = error
            raise
        self._welcome.add(login)
        return worker

    async def _acquire(self, login: Login) -> Worker:
        server = self._servers.setdefault((login.host, login.port), _Server())
        while True:
            if self._closed:
                raise _closed()
            await self._turn(server)
            worker = self._idle(server, login)
            if worker is not None:
                server.serving.add(worker)
                return worker
            worker = Worker(login, self._make(login))
            self._workers.add(worker)
            try:
                async with asyncio.timeout(self._timeout):
                    await worker.call(worker.session.login)
            except BaseException as error:
                # Where it takes others, this one's turn comes after theirs.
                others = server.lent - 1 + len(server.idle)
                again = isinstance(error, TooManyConnections) and others > 0
                if again:
                    server.refused()
                self.discard(worker)  # Only now: it wakes another.
                if not again:
                    raise
            else:
                server.accepted(worker)
                return worker

    def release(self, worker: Worker) -> None:
        """The request has been served; the session may serve another."""
        worker.served += 1
        server = self._of(worker)
        server.serving.discard(worker)
        loop = asyncio.get_running_loop()
        server.idle[worker] = loop.call_later(IDLE, self._close_idle, server, worker)
        self._next(server)

    def discard(self, worker: Worker) -> None:
        """The session cannot be used any more."""
        self._workers.discard(worker)
        worker.close(interrupt=True)
        server = self._of(worker)
        server.serving.discard(worker)
        self._next(server)

    def close(self) -> None:
        """End all sessions at once."""
        self._closed = True
        for server in self._servers.values():
            for turn in server.waiting:
                if not turn.done():
                    turn.set_exception(_closed())
            server.waiting.clear()
            for worker in tuple(server.idle):
                self._close_idle(server, worker)
        for worker in self._workers:
            worker.close(interrupt=True)
        self._workers.clear()

    async def _turn(self, server: _Server) -> None:
        """Wait until a session may be lent; first come, first served."""
        if not server.waiting and server.has_room():
            server.lent += 1
            return
        turn = asyncio.get_running_loop().create_future()
        server.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in server.waiting:
                server.waiting.remove(turn)
            elif not turn.cancelled():
                self._next(server)
            raise

    def _next(self, server: _Server) -> None:
        """One that was lent is back: let those who wait have it."""
        server.lent -= 1
        while server.waiting and server.has_room():
            turn = server.waiting.popleft()
            if not turn.done():
                server.lent += 1
                turn.set_result(None)

    def _idle(self, server: _Server, login: Login) -> Worker | None:
        """One of the same login that has nothing to do; else room for a new one is made."""
        for worker in reversed(server.idle):
            if worker.login == login:
                server.idle.pop(worker).cancel()
                return worker
        if (
            server.idle
            and server.limit is not None
            and server.lent + len(server.idle) > server.limit
        ):
            self._close_idle(server, next(iter(server.idle)))
        return None

    def _close_idle(self, server: _Server, worker: Worker) -> None:
        server.idle.pop(worker).cancel()
        self._workers.discard(worker)
        worker.close(interrupt=False)

    def _of(self, worker: Worker) -> _Server:
        return self._servers[worker.login.host, worker.login.port]


def _closed() -> ConnectionAbortedError:
    return ConnectionAbortedError(errno.ECONNABORTED, "the handler is closed")
