"""Brings one file into its part, over as many connections as its servers allow.

Plans ranges, sends a request for each, and begins anew when the resource turns out to be another
version. Knows no protocol: ``send`` takes a request with a sink through Scrapy's downloader
middlewares to the handler of its scheme. Answers are judged and bytes written in
:mod:`fetcher.transfer.intake`; what writers call is in :mod:`fetcher.transfer.source`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from scrapy.http import Response

from fetcher.config import Config
from fetcher.errors import (
    FetchError,
    MirrorError,
    ProtocolError,
    ServerError,
    StalledError,
    Stopped,
)
from fetcher.rules.backoff import Backoff
from fetcher.rules.ranges import Claim
from fetcher.rules.resource import Resource
from fetcher.rules.urls import redact
from fetcher.transfer.disputes import Disputes
from fetcher.transfer.intake import Intake
from fetcher.transfer.recourse import Recourse
from fetcher.transfer.requester import refused
from fetcher.transfer.source import Source
from fetcher.transfer.sources import Sources
from fetcher.transfer.trail import Trail
from fetcher.transfer.writer import RangeWriter

TICK = 0.5
"""Seconds between two looks at how fast the connections are."""

BRIEF = 0.05
"""Seconds: a file that is through so soon needs no checkpoint, nor to be hashed as it comes."""

FAIR_SECONDS = 3.0
"""Seconds that a mirror has to show how fast it is."""

FASTER = "another mirror is much faster"


@dataclass
class _Work:
    """What a writer does.

    :ivar source: where its bytes come from.
    :ivar began: when, on the loop's clock.
    """

    source: Source
    began: float


class Transfer:
    """One file's transfer.

    :param intake: where the bytes go.
    :param sources: where they come from.
    :param config: the settings.
    """

    def __init__(self, intake: Intake, sources: Sequence[Source], config: Config) -> None:
        self.intake = intake
        self.sources = Sources(sources)
        self.trail = Trail()
        self._recourse = Recourse(intake, self.sources, config)
        self._config = config
        self._workers: set[asyncio.Future[None]] = set()
        self._writers: dict[RangeWriter, _Work] = {}
        self._stopped: Stopped | None = None
        self._measured = 0.0
        self._serve()

    # --- what the file's owner calls ------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the file is, redirects followed."""
        return self.sources.lead.requester.url

    async def run(self) -> None:
        """Return when the whole file is in the part.

        :raises FetchError: why it is not; what was fetched is in the journal.
        """
        while True:
            try:
                return await self._attempt()
            except ServerError as error:
                self._recourse.begin_anew(error)
            self._serve()

    def stop(self, reason: Stopped) -> None:
        """End the transfer now; :meth:`run` raises ``reason``."""
        self._stopped = self._stopped or reason
        if self.intake.check is not None:
            self.intake.check.stop(reason)
        for writer in tuple(self._writers):
            writer.stop(reason)

    # --- addresses ------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Let all addresses bring bytes for the plan that has just been made."""
        self.trail = Trail()
        self._disputes = Disputes(self.intake, self.sources, self.trail, self._bring, self._give_up)
        for source in self.sources:
            if source is not self.sources.lead:
                source.resource = Resource()
            trail = self.trail if self.sources.several else None
            source.serve(trail, self._grow)

    def _give_up(self, source: Source, why: str) -> None:
        """Ask an address for nothing more, and end what it is sending."""
        self.sources.drop(source, why)
        for writer, work in tuple(self._writers.items()):
            if work.source is source:
                writer.stop(MirrorError(why))

    # --- planning -------------------------------------------------------------------------------

    async def _attempt(self) -> None:
        """Until the file is whole, or going on makes no sense."""
        intake = self.intake
        intake.begin_attempt()
        failure: BaseException | None = None
        keepers: set[asyncio.Future[None]] = set()
        try:
            self._grow()
            while failure is None and (self._workers or intake.to_check):
                done = await self._wait_for_one(keepers)
                self._workers -= done
                # Each of them is asked, or asyncio would complain of those that were not.
                errors = [error for task in done if (error := task.exception()) is not None]
                failure = self._stopped or next(iter(errors), None)
                if self._workers and not keepers:
                    # Most files are through before there is anything to keep.
                    keepers.add(asyncio.ensure_future(intake.safekeeping.run()))
                self._measure()
                if failure is None:
                    await self._disputes.look()
                    self._grow()
        finally:
            await self._wind_down(keepers)
        if failure is not None:
            raise failure
        if not intake.complete:
            raise ProtocolError(
                f"{redact(self.sources.lead.address)} did not come whole: run again"
            )

    async def _wait_for_one(self, keepers: set[asyncio.Future[None]]) -> set[asyncio.Future[None]]:
        """Until a connection is through, or it is time to look at them; which are through."""
        waited_for = self._workers | keepers
        if not waited_for:
            return set()
        done, _ = await asyncio.wait(
            waited_for,
            timeout=0 if self.intake.to_check else TICK if keepers else BRIEF,
            return_when=asyncio.FIRST_COMPLETED,
        )
        return done

    async def _wind_down(self, keepers: set[asyncio.Future[None]]) -> None:
        for keeper in keepers:
            keeper.cancel()
        for writer in tuple(self._writers):
            writer.stop(Stopped("the transfer has ended"))
        # One error has been chosen already; those of the others are only taken notice of.
        await asyncio.gather(*keepers, *self._workers, return_exceptions=True)
        self._workers.clear()
        if not self.intake.complete:
            # An error on the way matters more than one about saving what is there.
            with suppress(FetchError):
                await self.intake.safekeeping.checkpoint()

    def _grow(self) -> None:
        """Put as many connections to work as make sense now."""
        while len(self._workers) < self.intake.plan.connections:
            if self._disputes.waiting:
                self._workers.add(asyncio.ensure_future(self._disputes.settle()))
                continue
            source = self._recourse.next_source()
            if self._workers and not source.host.bears_more:
                return
            claim = self.intake.plan.claim(alone=not self._workers, speed=source.speed)
            if claim is None:
                return
            source.connections += 1
            self._workers.add(asyncio.ensure_future(self._work(source, claim)))

    def _measure(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._measured < TICK:
            return
        self.intake.plan.measure(now - self._measured)
        self._measured = now
        if not self.sources.several:
            return
        for writer, work in tuple(self._writers.items()):
            if writer.rate is None or now - work.began - writer.paused < FAIR_SECONDS:
                continue
            work.source.note_speed(writer.rate)
            if self.sources.too_slow(work.source, writer.rate, writer.claim.remaining):
                self.sources.set_aside(work.source, FASTER)
                writer.stop(MirrorError(FASTER))

    # --- one connection -------------------------------------------------------------------------

    async def _work(self, source: Source, claim: Claim | None) -> None:
        while claim is not None:
            host = source.host
            try:
                if not await self._bring(claim, source):
                    return
            finally:
                source.connections -= 1
                self.intake.plan.ranges.release(claim)
            if len(self._workers) > 1 and (host.wanted or host.full):
                # Other files had no connection at all.
                return
            if self._disputes.waiting:
                return
            source = self._recourse.next_source()
            claim = self.intake.plan.next_claim(source.speed)
            source.connections += claim is not None

    async def _bring(self, claim: Claim, source: Source) -> bool:
        """Fill a claim from one address; false when that is better left to others."""
        backoff = Backoff(
            self._config.max_tries, self._config.retry_backoff, speed=self._config.stall_speed
        )
        writer = RangeWriter(claim, source, backoff, source.bucket)
        clock = asyncio.get_running_loop().time
        began = clock()
        self._writers[writer] = _Work(source, began)
        try:
            if self._stopped is not None:
                raise self._stopped
            if source.host.full and (claim.whole or len(self._workers) == 1):
                await source.host.wait(writer)
            source.host.enter(writer)
            return await self._fill(writer, source)
        except ServerError as error:
            if self._recourse.do_without(source, error):
                return False
            raise
        finally:
            source.host.leave(writer)
            source.note_bytes(claim.position - claim.start, clock() - began - writer.paused)
            self.trail.close(claim)
            del self._writers[writer]

    async def _fill(self, writer: RangeWriter, source: Source) -> bool:
        """Fill the writer's claim; false when that is better left to the other connections."""
        claim = writer.claim
        while claim.remaining:
            before = claim.position
            response = await self._ask(writer, source)
            if response is None:
                if not claim.whole and (
                    len(self._workers) > 1 or self._recourse.instead_of(source)
                ):
                    return False
                source.count_retry(writer)
                await writer.pause(min(writer.retry_after or 0.0, self._config.max_retry_after))
                continue
            if response.status in (200, 206):
                if writer.whole and self.intake.plan.ranges.size is None:
                    self.intake.end_of_whole(claim.position)
                if not claim.remaining or writer.got_on():
                    continue
            elif response.status == 416 and not claim.remaining:
                return True
            delay = writer.next_try(crowding=False)
            if delay is None and claim.position > before:
                raise StalledError(
                    f"{redact(source.address)} stalled: its answers end early, each with so little "
                    f"that it comes to less than {self._config.stall_speed} bytes a second; run "
                    "again when its server is less busy, or bear with it (FETCHER_STALL_SPEED)"
                )
            if delay is None:
                raise refused(source.address, response.status, writer.reason)
            await writer.pause(delay)
        return True

    async def _ask(self, writer: RangeWriter, source: Source) -> Response | None:
        """The answer to the writer's range; None when its server has enough connections."""
        try:
            response = await source.requester.ask(writer)
        except ServerError:
            if writer.away:
                return None
            raise
        finally:
            source.disconnected(writer)
        if response.status in (200, 206) or source.requester.expire(response):
            return response
        if response.status == 416 and not writer.claim.remaining:
            return response
        if writer.away or writer.turned_away():
            return None
        raise refused(source.address, response.status, writer.reason)
