"""Looks up host names for Twisted without keeping the process alive."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from threading import Thread
from typing import Any

from scrapy.resolver import CachingThreadedResolver, dnscache
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

THREADS = 10
"""Names that are looked up at one time."""


class DaemonThreadedResolver(CachingThreadedResolver):
    """Scrapy's resolver, with threads of its own that nobody waits for.

    A name server that does not answer cannot be interrupted. The reactor's threads would be waited
    for in the end, so that a signal took as long as the system's patience with name servers.
    """

    def __init__(self, reactor: ReactorBase, cache_size: int, timeout: float) -> None:
        super().__init__(reactor, cache_size, timeout)
        self._pool = ThreadPool(0, THREADS, "resolver")
        self._pool.threadFactory = partial(Thread, daemon=True)  # type: ignore[assignment]
        self._pool.start()

    def getHostByName(self, name: str, timeout: Sequence[int] = ()) -> Deferred[str]:
        """See :class:`twisted.internet.interfaces.IResolverSimple`; ``DNS_TIMEOUT`` counts."""
        if name in dnscache:
            return succeed(dnscache[name])
        reactor: Any = self.reactor
        found = deferToThreadPool(reactor, self._pool, socket.gethostbyname, name)
        found.addTimeout(self.timeout, reactor)

        def failed(failure: Failure) -> Failure:
            return self._fail(name, failure.getErrorMessage())

        found.addErrback(failed)
        if dnscache.limit:
            found.addCallback(self._cache_result, name)
        return found
