"""Brings one file into its part, over as many connections as the server allows.

Plans ranges, sends a request for each, has every answer judged before its body, and begins anew
when the resource turns out to be another version. Knows no protocol: ``send`` takes a request with
a sink through Scrapy's downloader middlewares to the handler of its scheme.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from scrapy import Request
from scrapy.http import Response

from fetcher.config import Config
from fetcher.contract import Answer, FileProgress, Send
from fetcher.disk.journal import Journal
from fetcher.disk.part import Part
from fetcher.errors import (
    ChangedError,
    FetchError,
    ProtocolError,
    RangesRefusedError,
    ServerError,
    SizeMismatchError,
    Stopped,
    TooLargeError,
)
from fetcher.rules.answers import Version
from fetcher.rules.backoff import Backoff
from fetcher.rules.pages import HEAD
from fetcher.rules.ranges import Claim
from fetcher.rules.resource import Resource
from fetcher.rules.urls import redact
from fetcher.transfer.expectations import Expectations
from fetcher.transfer.hosts import Host
from fetcher.transfer.plan import Plan
from fetcher.transfer.requester import Requester, refused
from fetcher.transfer.safekeeping import Safekeeping
from fetcher.transfer.writer import RangeWriter

TICK = 0.5
"""Seconds between two looks at how fast the connections are."""


@dataclass
class Counts:
    """What a transfer tells of itself in the report; see :class:`fetcher.items.FileItem`."""

    received: int = 0
    resumed: int = 0
    connections: int = 0
    retries: int = 0
    restarts: int = 0


class Transfer:
    """One file's transfer.

    :param request: the file's own request: the list's address and the row's headers.
    :param part: where the bytes go.
    :param config: the settings.
    :param send: asks a server; see the module.
    :param progress: kept up to date for displays.
    :param expectations: what the file has to be.
    :param on_first: called with the first answer of each attempt and its version, before any byte
        is written; may raise to refuse the file.
    :param condition: headers that make the first request conditional.
    :param host: the server, and how many connections it bears.
    """

    def __init__(
        self,
        request: Request,
        part: Part,
        config: Config,
        send: Send,
        host: Host,
        progress: FileProgress,
        expectations: Expectations,
        on_first: Callable[[Answer, Version], None],
        condition: Mapping[str, str] | None = None,
    ) -> None:
        self._expectations = expectations
        self.counts = Counts()
        self.resource = Resource(condition)
        self._url = request.url
        self._requester = Requester(request, send)
        self._host = host
        self._config = config
        self._progress = progress
        self._on_first = on_first
        self._plan = Plan(config, self.resource)
        self._connected: set[RangeWriter] = set()
        self._greeted = False
        self._stale = False
        self._workers: set[asyncio.Task[None]] = set()
        self._writers: set[RangeWriter] = set()
        self._stopped: Stopped | None = None
        self._measured = 0.0
        self.adopt(part)

    # --- what the file's owner calls ------------------------------------------------------------

    def adopt(self, part: Part) -> None:
        """Write into this part from now on; only before the first byte."""
        self.part = part
        self.safekeeping = Safekeeping(part, self._journal, lambda: self._plan.ranges.front)

    @property
    def url(self) -> str:
        """Where the file is, redirects followed."""
        return self._requester.url

    @property
    def received(self) -> int:
        """Bytes of the file that are in the part."""
        return self._plan.ranges.received

    def resume(self, journal: Journal) -> None:
        """Go on from what a journal says is there.

        Of a whole file the last byte is asked for again: its server has to confirm the version,
        and states its checksum.
        """
        self.resource.version = journal.version
        done, size = journal.ranges, journal.version.size
        if size and done == ((0, size),):
            done = ((0, size - 1),) if size > 1 else ()
        self._plan = Plan(self._config, self.resource, done)
        self.part.size = size
        self.safekeeping.reserve(size or 0)
        self.counts.resumed = self._plan.ranges.received
        self._show()

    async def run(self) -> None:
        """Return when the whole file is in the part.

        :raises FetchError: why it is not; what was fetched is in the journal.
        """
        while True:
            try:
                return await self._attempt()
            except ChangedError as error:
                self._note_restart()
                if self.counts.restarts >= self._config.max_tries:
                    raise ChangedError(
                        f"{redact(self._url)} changed {self.counts.restarts} times while "
                        f"it was fetched (at last {error}): try again when it is at rest"
                    ) from error
                self.resource.changed(error)
            except RangesRefusedError:
                if not self.resource.ranged:
                    raise
                if self._plan.ranges.received:
                    self._note_restart()
                self.resource.refused()
            # What is there stays until another version has been accepted in its place.
            self._stale = self._stale or self._plan.ranges.received > 0
            self._plan = Plan(self._config, self.resource)
            self.safekeeping.forget_size()
            self._show()

    def _note_restart(self) -> None:
        self.counts.restarts += 1
        self.counts.resumed = 0

    def stop(self, reason: Stopped) -> None:
        """End the transfer now; :meth:`run` raises ``reason``."""
        self._stopped = self._stopped or reason
        for writer in tuple(self._writers):
            writer.stop(reason)

    # --- planning -------------------------------------------------------------------------------

    async def _attempt(self) -> None:
        """Until the file is whole, or going on makes no sense."""
        self._greeted = False
        failure: BaseException | None = None
        keeper = asyncio.ensure_future(self.safekeeping.run())
        try:
            self._grow()
            while self._workers and failure is None:
                done, _ = await asyncio.wait(
                    {keeper, *self._workers}, timeout=TICK, return_when=asyncio.FIRST_COMPLETED
                )
                self._workers -= done
                for task in done:
                    error = self._fatal(task.exception())
                    failure = failure or error
                failure = self._stopped or failure
                self._measure()
                if failure is None:
                    self._grow()
        finally:
            await self._wind_down(keeper)
        if failure is not None:
            raise failure
        if not self._plan.ranges.complete:
            raise ProtocolError(f"{redact(self._url)} did not come whole: run again")

    async def _wind_down(self, keeper: asyncio.Future[None]) -> None:
        keeper.cancel()
        for writer in tuple(self._writers):
            writer.stop(Stopped("the transfer has ended"))
        # One error has been chosen already; those of the others are only taken notice of.
        await asyncio.gather(keeper, *self._workers, return_exceptions=True)
        self._workers.clear()
        if not self._plan.ranges.complete:
            # An error on the way matters more than one about saving what is there.
            with suppress(FetchError):
                await self.safekeeping.checkpoint()

    def _fatal(self, error: BaseException | None) -> BaseException | None:
        """The error if it ends the attempt; otherwise its range is left to the other connections.

        A server may refuse one connection more and still serve those it has.
        """
        lasting = isinstance(error, ServerError) and not isinstance(
            error, ChangedError | RangesRefusedError | SizeMismatchError | TooLargeError
        )
        if lasting and self._workers:
            self._plan.lower(len(self._workers))
            return None
        return error

    def _grow(self) -> None:
        """Put as many connections to work as make sense now."""
        while len(self._workers) < self._plan.connections:
            if self._workers and not self._host.bears_more:
                return
            claim = self._plan.claim(alone=not self._workers)
            if claim is None:
                return
            self._workers.add(asyncio.ensure_future(self._work(claim)))

    def _measure(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._measured >= TICK:
            self._plan.measure(now - self._measured)
            self._measured = now

    # --- one connection -------------------------------------------------------------------------

    async def _work(self, claim: Claim | None) -> None:
        while claim is not None:
            backoff = Backoff(
                self._config.max_tries, self._config.retry_backoff, speed=self._config.stall_speed
            )
            writer = RangeWriter(claim, self, backoff)
            self._writers.add(writer)
            try:
                if self._stopped is not None:
                    raise self._stopped
                if self._host.full and len(self._workers) == 1:
                    await self._host.wait(writer)
                self._host.enter(writer)
                if not await self._fill(writer):
                    return
            finally:
                self._host.leave(writer)
                self._writers.discard(writer)
                self._plan.ranges.release(claim)
            if len(self._workers) > 1 and (self._host.wanted or self._host.full):
                # Other files had no connection at all.
                return
            claim = self._plan.next_claim()

    async def _fill(self, writer: RangeWriter) -> bool:
        """Fill the writer's claim; false when that is better left to the other connections."""
        claim = writer.claim
        while claim.remaining:
            before = claim.position
            response = await self._ask(writer)
            if response is None:
                if len(self._workers) > 1:
                    return False
                self.count_retry(writer)
                await writer.pause(min(writer.retry_after or 0.0, self._config.max_retry_after))
                continue
            if response.status in (200, 206):
                if writer.whole and self._plan.ranges.size is None:
                    self._end_of_whole(claim.position)
                if claim.position > before or not claim.remaining:
                    continue
            elif response.status == 416 and not claim.remaining:
                return True
            delay = writer.next_try(crowding=False)
            if delay is None:
                raise refused(self._url, response.status, writer.reason)
            await writer.pause(delay)
        return True

    async def _ask(self, writer: RangeWriter) -> Response | None:
        """The answer to the writer's range; None when its server has enough connections."""
        try:
            response = await self._requester.ask(writer)
        except ServerError:
            if writer.away:
                return None
            raise
        finally:
            self._disconnected(writer)
        if response.status in (200, 206) or self._requester.expire(response):
            return response
        if response.status == 416 and not writer.claim.remaining:
            return response
        if writer.away or writer.turned_away():
            return None
        raise refused(self._url, response.status, writer.reason)

    # --- what writers call (writer.Owner) -------------------------------------------------------

    def headers_for(self, writer: RangeWriter) -> Mapping[str, str]:
        """See ``Owner.headers_for``."""
        self._connected.add(writer)
        self._progress.connections = len(self._connected)
        return self.resource.headers(writer.range_header())

    def accept(self, writer: RangeWriter, answer: Answer) -> bool:
        """See ``Owner.accept``."""
        if answer.status == 304 and self.resource.conditional:
            self._on_first(answer, Version())
        if answer.status not in (200, 206, 416):
            return False
        body = self.resource.judge(answer, writer.claim.position, self._plan.ranges.received)
        served = len(self._plan.streaming | {writer})
        self.counts.connections = max(self.counts.connections, served)
        if not self._greeted:
            self._greeted = True
            self._on_first(answer, body.version)
        if self._stale:
            self._expectations.check_page()
            self._stale = False
            self.safekeeping.begin_anew()
        if body.whole and self._plan.take_whole(writer, body.version):
            self.safekeeping.compute(self.safekeeping.algorithms)
        if self.resource.version is None:
            self.resource.learn(body.version)
        if body.version.size is not None and self._plan.ranges.size is None:
            self._set_size(body.version.size)
        self._show()
        if answer.status == 416:
            return False
        # What comes behind the writer's claim would have to come from another answer.
        complete = body.start == 0 and body.end == body.version.size == writer.claim.end
        if not (body.whole or complete or self.resource.joinable):
            raise RangesRefusedError("nothing would show whether its pieces belong together")
        self._requester.note(answer.url)
        writer.whole = body.whole
        self._plan.streaming.add(writer)
        self._host.serve(writer)
        if not body.whole and not self._plan.proven:
            self._plan.proven = True
            self._grow()
        return True

    def store(self, claim: Claim, data: bytes | memoryview) -> None:
        """See ``Owner.store``."""
        if claim.position < HEAD:
            self._check_page(claim, data)
        self.part.write(claim.position, data)
        claim.advance(len(data))
        self._progress.done += len(data)
        self.safekeeping.wrote(len(data))
        self._expectations.check_size(self.part.name, claim.position, more=True)

    def _check_page(self, claim: Claim, data: bytes | memoryview) -> None:
        try:
            self._expectations.check_page(data)
        except ProtocolError:
            # Nor are the few bytes of it that may be there already the file's.
            self._plan.ranges.rewind(claim)
            raise

    def count_retry(self, writer: RangeWriter) -> None:
        """See ``Owner.count_retry``."""
        self.counts.retries += 1
        self._disconnected(writer)
        # Others need not wait for the end of its pause.
        self._host.leave(writer)

    def count_received(self, count: int) -> None:
        """See ``Owner.count_received``."""
        self.counts.received += count

    def turned_away(self, writer: RangeWriter) -> bool:
        """See ``Owner.turned_away``."""
        alone = len(self._workers) == 1
        if not self._host.turns_away(writer, alone=alone):
            return False
        # A connection beside others is not needed, but who is asked to wait before it asks again
        # for a range does that.
        return alone or writer.retry_after is None

    async def wait_for_turn(self, writer: RangeWriter) -> None:
        """See ``Owner.wait_for_turn``."""
        if writer.away or self._host.full:
            await self._host.wait(writer)
        self._host.enter(writer)

    def _disconnected(self, writer: RangeWriter) -> None:
        self._host.rest(writer)
        self._plan.streaming.discard(writer)
        self._connected.discard(writer)
        self._progress.connections = len(self._connected)

    def _end_of_whole(self, size: int) -> None:
        """A body without a length has ended; that tells the size, unless the list knows better."""
        listed = self._expectations.listed_size
        if listed is None or size >= listed:
            self._set_size(size)

    def _set_size(self, size: int) -> None:
        self._expectations.check_size(self.part.name, size)
        try:
            self._plan.ranges.set_size(size)
        except ValueError as error:
            raise ChangedError(f"it became shorter, {size} bytes") from error
        self.part.size = size
        if size > self._config.min_split_size:
            self.safekeeping.reserve(size)
        if self.resource.version is not None:
            self.resource.version = self.resource.version.with_size(size)
        self._show()

    def _show(self) -> None:
        self._progress.size = self._plan.ranges.size
        self._progress.done = self._plan.ranges.received

    def _journal(self) -> Journal | None:
        """What can be said now; nothing is worth saying that could not be gone on with."""
        version = self.resource.version
        if version is None or version.size is None or not self.resource.ranged:
            return None
        if not self._plan.ranges.received:
            return None
        return Journal(self.part.name, version, tuple(self._plan.ranges.snapshot()))
