"""One range request to a server that blocks, and its answer."""

from __future__ import annotations

import asyncio
from urllib.parse import urldefrag

from scrapy import Request
from scrapy.http import Response

from fetcher.config import Config
from fetcher.contract import Answer, RangeSink
from fetcher.errors import (
    ChangedError,
    ConnectionFailedError,
    ProtocolError,
    RangesRefusedError,
    ServerError,
    StalledError,
)
from fetcher.handlers import reasons
from fetcher.handlers.blocking.login import Login
from fetcher.handlers.blocking.pool import Pool
from fetcher.handlers.blocking.session import NoRanges, Refused, TooManyConnections
from fetcher.handlers.blocking.worker import Worker
from fetcher.handlers.stalls import StallTimer
from fetcher.rules.replies import Facts, Reply, reply_to, shown_reason
from fetcher.rules.urls import redact

FAREWELL = 0.5
"""Seconds for a block that is on its way, but is not wanted any more."""


class Exchange:
    """Asks, judges and writes, in the event loop; a session's thread only waits for the server.

    While a block is written, the next is read, unless the rate is limited.

    :param request: with the address and the credentials.
    :param sink: gets the answer and its body.
    :param size: bytes that a session hands on at a time.
    """

    def __init__(
        self, config: Config, pool: Pool, request: Request, sink: RangeSink, size: int
    ) -> None:
        self.login = Login.of(request)
        self._timeout = config.connect_timeout
        self._config = config
        self._pool = pool
        self._url = urldefrag(request.url)[0]
        self._sink = sink
        self._size = size
        self._answered: Response | None = None
        self._wanted = True
        self._unconfirmed: Facts | None = None
        """What the answer said of the file, while all that is missing is to ask whether it still
        holds."""

    async def run(self) -> Response:
        """The answer, its body already in the sink.

        :raises FetchError, OSError, EOFError: what went wrong.
        """
        while True:
            if self._config.rate_limit:
                await asyncio.sleep(self._sink.pace(self._size))
            try:
                worker = await self._logged_in()
            except TooManyConnections as busy:
                return await self._refused(503, busy.reason)
            except Refused as refused:
                return await self._refused(refused.status, refused.reason)
            try:
                response = await self._serve(worker)
            except Refused as refused:
                self._give_back(worker)
                return await self._refused(refused.status, refused.reason)
            except BaseException as error:
                self._pool.discard(worker)
                lost = isinstance(error, OSError | EOFError)
                if lost and self._answered is not None:
                    if self._unconfirmed is not None:
                        await self._confirm_anew(self._unconfirmed)
                        return self._answered
                    if not self._wanted:
                        return self._answered
                elif lost and worker.served:
                    continue  # The server had closed an idle session, which is no failure.
                raise
            self._give_back(worker)
            return response

    async def _logged_in(self) -> Worker:
        try:
            return await self._pool.acquire(self.login)
        except TimeoutError as error:
            raise reasons.unanswered(self.login.server) from error

    def _give_back(self, worker: Worker) -> None:
        if worker.session.reusable:
            self._pool.release(worker)
        else:
            self._pool.discard(worker)

    async def _refused(self, status: int, reason: str) -> Response:
        shown = shown_reason(reason, (self.login.password or "",))
        answer = Answer(self._url, status, {}, shown)
        await self._sink.prepare(answer)
        self._sink.begin(answer)
        return Response(self._url, status=status)

    async def _serve(self, worker: Worker) -> Response:
        try:
            async with asyncio.timeout(self._timeout):
                facts, reply = await self._open(worker)
        except TimeoutError as error:
            raise reasons.silent(redact(self._url), self._timeout) from error
        answer = Answer(self._url, reply.status, reply.headers)
        await self._sink.prepare(answer)
        self._wanted = self._sink.begin(answer)
        self._answered = Response(self._url, status=reply.status, headers=dict(reply.headers))
        if reply.has_body:
            problem = await self._read(worker, reply, facts) if self._wanted else None
            async with asyncio.timeout(self._timeout):
                await worker.call(worker.session.finish)
                if self._wanted:
                    self._confirm(facts, await self._facts_now(worker))
            if problem is not None:
                raise problem
        return self._answered

    async def _open(self, worker: Worker) -> tuple[Facts, Reply]:
        """Find out about the file, decide on the answer, and begin to read where there is a body.

        :raises Refused: the server gives no file.
        """
        session = worker.session
        facts = await worker.call(session.facts, self._url)
        asked = self._sink.request_headers()
        reply = reply_to(asked, facts, ranges=session.ranges, runs_on=session.runs_on)
        if facts.size == 0 and reply.status != 304:
            await worker.call(session.open, self._url, 0, 0)
            if await worker.call(session.read):
                # As those of /proc have.
                raise self._surplus(0)
            await worker.call(session.finish)
        elif reply.has_body:
            try:
                await worker.call(session.open, self._url, reply.start, reply.end)
            except NoRanges:
                reply = reply_to(asked, facts, ranges=False)
                await worker.call(session.open, self._url, reply.start, reply.end)
        return facts, reply

    async def _read(self, worker: Worker, reply: Reply, facts: Facts) -> ServerError | None:
        """Fill the sink; what is wrong with the body, unless the file has changed meanwhile."""
        reading = worker.call(worker.session.read)

        def stalled(error: StalledError) -> None:
            if not reading.done():
                reading.set_exception(error)

        timer = StallTimer(redact(self._url), self._config, stalled)
        end, position, full = reply.end, reply.start, False
        try:
            while not full and (blocks := await reading):
                count = sum(map(len, blocks))
                timer.received(count)
                position += count
                if not self._config.rate_limit:
                    reading = worker.call(worker.session.read)
                full = not all(map(self._sink.write, blocks))
                if self._config.rate_limit:
                    if not full:
                        await self._pause(timer)
                    reading = worker.call(worker.session.read)
            if full and end == facts.size == position:
                # Only the end itself shows that there is no more.
                position += sum(map(len, await self._last(reading)))
        finally:
            timer.stop()
        if end is None:
            return None  # How the transfer ends tells whether the file is whole.
        if position > end == facts.size:
            return self._surplus(reply.start)
        if position < end and not full:
            return ConnectionFailedError(
                f"{redact(self._url)} ended after {position} of the {end} bytes that its server "
                "states"
            )
        self._unconfirmed = facts
        if position < end and not (await asyncio.wait([reading], timeout=FAREWELL))[0]:
            raise TimeoutError  # What is not wanted does not come: ask over another connection.
        return None

    async def _pause(self, timer: StallTimer) -> None:
        """Wait until more may be read."""
        seconds = self._sink.pace(self._size)
        if seconds:
            timer.pause()
            await asyncio.sleep(seconds)
            timer.resume()

    async def _last(self, reading: asyncio.Future[list[memoryview]]) -> list[memoryview]:
        """What comes behind the last byte; normally nothing."""
        try:
            return await reading
        except StalledError as error:
            # There is nothing left of the range to ask for again.
            error.retryable = False
            raise
        except (OSError, EOFError):
            return []

    def _surplus(self, start: int) -> ServerError:
        if start:
            # A server that only seems to begin where it is told to gives itself away by this.
            return RangesRefusedError(
                "the server sends more bytes than lie between there and the file's end"
            )
        return ProtocolError(
            f"{redact(self._url)} goes on behind the bytes that its server states, so that nothing "
            "tells whether it is whole"
        )

    async def _facts_now(self, worker: Worker) -> Facts | None:
        """What the server says of the file now; None when there is no such file any more.

        :raises EOFError: it does not say.
        """
        try:
            return await worker.call(worker.session.facts, self._url)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise EOFError(refused.reason) from refused

    def _confirm(self, before: Facts, now: Facts | None) -> None:
        """:raises ChangedError: the file is not the one that the transfer began with.

        Neither FTP nor SFTP says so by itself: a file that is written over under the transfer
        arrives as half the old and half the new one.
        """
        if now is None or (now.size is None and before.size is not None):
            raise ChangedError("it is gone")
        if now.differ(before):
            raise ChangedError("its size or date changed during the transfer")

    async def _confirm_anew(self, facts: Facts) -> None:
        """The body is there, but the connection is lost: ask over another."""
        try:
            worker = await self._logged_in()
            try:
                async with asyncio.timeout(self._timeout):
                    now = await self._facts_now(worker)
            except BaseException:
                self._pool.discard(worker)
                raise
            self._give_back(worker)
        except (OSError, EOFError, Refused, TooManyConnections, ServerError) as error:
            unconfirmed = reasons.broken(self.login.server)
            # There is nothing left of the range to ask for again.
            unconfirmed.retryable = False
            raise unconfirmed from error
        self._confirm(facts, now)
