"""The client side of one HTTP connection: larger reads, and a memory of how it ended."""

from __future__ import annotations

from typing import Any

from scrapy.core.downloader.handlers.http11 import (
    _LenientHTTP11ClientFactory,
    _LenientHTTP11ClientProtocol,
)
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol
from twisted.web._newclient import Request as TxRequest
from twisted.web.iweb import IResponse

READ_SIZE = 256 << 10
"""Bytes asked of the kernel at a time; Twisted's 64 KiB cost twice the CPU on large files."""


class Connection(_LenientHTTP11ClientProtocol):
    """Scrapy's connection; gives each response itself as ``response.connection``."""

    ended_cleanly = False
    """Whether the peer has closed the connection by a regular FIN (under TLS: a close_notify)."""

    def connectionMade(self) -> None:
        """Make the reads of the transport under TLS, if there is TLS, larger."""
        super().connectionMade()
        transport: Any = self.transport
        while getattr(transport, "transport", None) is not None:
            transport = transport.transport
        transport.bufferSize = READ_SIZE

    def request(self, request: TxRequest) -> Deferred[IResponse]:
        """Send a request."""

        def attach(response: Any) -> Any:
            response.connection = self
            return response

        return super().request(request).addCallback(attach)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Note how the connection ended, then tell the response's reader."""
        self.ended_cleanly = bool(reason.check(ConnectionDone))
        super().connectionLost(reason)  # type: ignore[no-untyped-call] # assigned, not defined


class ConnectionFactory(_LenientHTTP11ClientFactory):
    """Builds :class:`Connection` protocols for Scrapy's connection pool."""

    def buildProtocol(self, addr: IAddress | None) -> HTTP11ClientProtocol:
        """A connection that goes back to the pool when it is idle."""
        return Connection(self._quiescentCallback)
