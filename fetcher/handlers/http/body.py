"""Reads one response's body into a sink, as fast as it may, with a stall clock beside it."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Response as TxResponse
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from fetcher.config import Config
from fetcher.contract import RangeSink
from fetcher.errors import ConnectionFailedError, FetchError, ProtocolError, StalledError
from fetcher.handlers.http.connection import is_malformed
from fetcher.handlers.stalls import StallTimer


def abort(txresponse: TxResponse) -> None:
    """Close the response's connection at once, if it is still the response's."""
    producer = txresponse._transport._producer
    if producer is not None:
        producer.abortConnection()


class BodyReader(Protocol):
    """Delivers a body to a sink.

    :param url: what is fetched, for errors; as it may be shown.
    :param txresponse: the response whose body this will get.
    :param sink: where the bytes go; None for a short body that nobody wants, which is read so that
        the connection can be used again.
    :param config: for the stall timeout and speed, and whether there is a limit to the rate.
    :param size: bytes that come at a time where there is one.

    :ivar finished: fires when the body has ended as it should or the sink has enough; fails with a
        :class:`fetcher.errors.FetchError`, or with what the sink raised.
    """

    SHORT = 64 << 10
    """Bytes of an unwanted body that are rather read than the connection given up."""

    def __init__(
        self, url: str, txresponse: TxResponse, sink: RangeSink | None, config: Config, size: int
    ) -> None:
        self.finished: Deferred[None] = Deferred()
        self._url = url
        self._txresponse = txresponse
        self._sink = sink
        self._config = config
        self._size = size
        self._received = 0
        self._full = False
        self._timer: StallTimer | None = None
        self._pause: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Let the body come."""
        self._txresponse.deliverBody(self)
        if self._pause is not None:
            # Some came with the head; to deliver the rest, the connection has been let go on.
            self._txresponse._transport.pauseProducing()

    def connectionMade(self) -> None:
        """The body is about to come."""
        self._timer = StallTimer(self._url, self._config, self._stalled)

    def dataReceived(self, data: bytes) -> None:
        """A block of the body."""
        if self.finished.called:
            return
        self._received += len(data)
        if self._timer is not None:
            self._timer.received(len(data))
        if self._full:
            self._end_early()
        elif self._sink is None:
            self._full = self._received > self.SHORT
        else:
            try:
                self._full = not self._sink.write(data)
            except Exception:  # noqa: BLE001 - whatever it is, it goes to who waits for the body
                self._end_early(Failure())
                return
            # An answer that ends here too leaves the connection for the next request; the rest of
            # any other is not waited for.
            length: Any = self._txresponse.length
            if self._full and length != self._received:
                self._end_early()
            elif self._config.rate_limit and not self._full:
                self._pace(self._sink.pace(self._size))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The body has ended, as it should or not."""
        if self.finished.called:
            return
        if reason.check(ResponseDone) or self._full:
            self._end()
        elif reason.check(PotentialDataLoss) and self._ended_cleanly():
            # Neither a length nor chunks: the end of the connection is the end of the body
            # (RFC 9112, section 6.3), but only if the connection was closed, not cut.
            self._end()
        else:
            self._end(Failure(self._broken(reason)))

    def stop(self) -> None:
        """End the transfer from this side; the sink knows why."""
        if not self.finished.called:
            self._end_early(Failure(ConnectionFailedError("the transfer was stopped")))

    def _pace(self, seconds: float) -> None:
        """Do not read for so long, from now on."""
        if self._pause is not None:
            self._pause.cancel()
        elif not seconds:
            return
        else:
            self._txresponse._transport.pauseProducing()
            if self._timer is not None:
                self._timer.pause()
        self._pause = asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._timer is not None:
            self._timer.resume()
        self._txresponse._transport.resumeProducing()

    def _ended_cleanly(self) -> bool:
        connection: Any = self._txresponse
        return bool(connection.connection.ended_cleanly)

    def _broken(self, reason: Failure) -> FetchError:
        if not is_malformed(reason):
            return ConnectionFailedError(f"the connection broke after {self._received} bytes")
        error = ProtocolError(
            f"the server sends a malformed chunk after {self._received} bytes: try again later"
        )
        error.retryable = True
        return error

    def _stalled(self, error: StalledError) -> None:
        self._end_early(Failure(error))

    def _end_early(self, failure: Failure | None = None) -> None:
        self._end(failure)
        abort(self._txresponse)

    def _end(self, failure: Failure | None = None) -> None:
        if self._timer is not None:
            self._timer.stop()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
            # Under TLS, the connection ends by what the other side says last.
            connection: Any = self._txresponse
            connection.connection.transport.resumeProducing()
        if failure is None:
            self.finished.callback(None)
        else:
            self.finished.errback(failure)
