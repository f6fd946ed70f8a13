"""The client side of one HTTP connection: larger reads, and a memory of how it ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from scrapy.core.downloader.handlers.http11 import (
    _LenientHTTP11ClientFactory,
    _LenientHTTP11ClientProtocol,
)
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.python.failure import Failure
from twisted.web._newclient import HEADER, STATUS, HTTP11ClientProtocol
from twisted.web._newclient import Request as TxRequest
from twisted.web.http import _MalformedChunkedDataError
from twisted.web.http_headers import InvalidHeaderName
from twisted.web.iweb import IResponse

from fetcher.errors import ProtocolError
from fetcher.rules import bucket

READ_SIZE = 256 << 10
"""Bytes asked of the kernel at a time; Twisted's 64 KiB cost twice the CPU on large files."""

TLS_RECORD = 16 << 10
"""Bytes that come out of TLS together (RFC 8446, section 5.1)."""

MAX_HEAD = 256 << 10
"""Bytes of an answer's head, as curl bounds them since CVE-2023-38039."""

MAX_LINES = 1000
"""Lines of an answer's head: the parser copies what is behind each of them."""


def read_size(rate: int, *, secure: bool) -> int:
    """How many bytes to ask of the kernel at a time.

    :param rate: ``FETCHER_RATE_LIMIT``.
    :param secure: whether they come over TLS.
    """
    return bucket.read_size(rate, READ_SIZE, TLS_RECORD if secure else bucket.LEAST)


class Connection(_LenientHTTP11ClientProtocol):
    """Scrapy's connection; gives each response itself as ``response.connection``."""

    rate = 0
    """``FETCHER_RATE_LIMIT``."""
    _head = 0
    _records: list[bytes] | None = None
    ended_cleanly = False
    """Whether the peer has closed the connection by a regular FIN (under TLS: a close_notify)."""

    def connectionMade(self) -> None:
        """Set the size of the reads, of the transport under TLS where there is TLS."""
        super().connectionMade()
        transport: Any = self.transport
        secure = False
        while getattr(transport, "transport", None) is not None:
            transport, secure = transport.transport, True
        transport.bufferSize = read_size(self.rate, secure=secure)
        if secure:
            self._join_records(self.transport)

    def _join_records(self, tls: Any) -> None:
        """Take what one read decrypts to at once; TLS gives each of its records by itself."""
        receive = tls.dataReceived

        def received(data: bytes) -> None:
            records: list[bytes] = []
            self._records = records
            try:
                receive(data)
            finally:
                self._records = None
            if records:
                self.dataReceived(b"".join(records))

        tls.dataReceived = received

    def request(self, request: TxRequest) -> Deferred[IResponse]:
        """Send a request."""

        def attach(response: Any) -> Any:
            response.connection = self
            return response

        self._head = 0
        answer = super().request(request)
        if self._parser is not None:
            parser: Any = self._parser
            # A line is bounded like all of the head, in `dataReceived`.
            parser.MAX_LENGTH = MAX_HEAD + READ_SIZE
            parser.headerReceived = _lenient(parser.headerReceived)
            parser.lineReceived = _counting(parser.lineReceived)
        return answer.addCallback(attach)

    def dataReceived(self, data: bytes) -> None:
        """Bound what comes before a body, interim answers (1xx) and all headers together."""
        if self._records is not None:
            self._records.append(data)
            return
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        if self._parser is not None and self._parser.state in (STATUS, HEADER):
            self._head += len(data)
            if self._head > MAX_HEAD:
                self._giveUp(Failure(_endless()))

    def _finishResponse_WAITING(self, rest: bytes) -> None:
        """What stands behind an answer belongs to none (RFC 9112, section 6.3)."""
        if rest and self._currentRequest is not None:
            self._currentRequest.persistent = False
        super()._finishResponse_WAITING(rest)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Note how the connection ended, then tell the response's reader."""
        self.ended_cleanly = bool(reason.check(ConnectionDone))
        super().connectionLost(reason)  # type: ignore[no-untyped-call] # assigned, not defined


def is_malformed(reason: Failure) -> bool:
    """Whether a body ended because of what stands between its chunks."""
    causes = getattr(reason.value, "reasons", ())
    return any(cause.check(_MalformedChunkedDataError) for cause in causes)


def _lenient(receive: Callable[[bytes, bytes], None]) -> Callable[[bytes, bytes], None]:
    """Take headers as proxies and browsers do: without the space behind a name (RFC 9112, section
    5.1), and not at all where the name is none."""

    def received(name: bytes, value: bytes) -> None:
        with suppress(InvalidHeaderName):
            receive(name.rstrip(b" \t"), value)

    return received


def _counting(receive: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Take so many lines and no more."""
    lines = itertools.count(1)

    def received(line: bytes) -> None:
        if next(lines) > MAX_LINES:
            raise _endless()
        receive(line)

    return received


def _endless() -> ProtocolError:
    return ProtocolError("the server sends headers without end")


class ConnectionFactory(_LenientHTTP11ClientFactory):
    """Builds :class:`Connection` protocols for Scrapy's connection pool.

    :param rate: ``FETCHER_RATE_LIMIT``.
    """

    def __init__(self, *args: Any, rate: int) -> None:
        super().__init__(*args)  # type: ignore[no-untyped-call] # Twisted's
        self._rate = rate

    def buildProtocol(self, addr: IAddress | None) -> HTTP11ClientProtocol:
        """A connection that goes back to the pool when it is idle."""
        connection = Connection(self._quiescentCallback)
        connection.rate = self._rate
        return connection
