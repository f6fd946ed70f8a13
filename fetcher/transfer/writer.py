"""The sink of one range: where a download handler's bytes go (see ``contract.RangeSink``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

from fetcher.contract import Answer
from fetcher.rules.backoff import Backoff, retry_after
from fetcher.rules.bucket import Bucket, Share
from fetcher.rules.ranges import UNKNOWN, Claim

INSTANT = 0.001
"""Seconds: what was waiting in the system's buffers is not taken to have come any faster."""


class Owner(Protocol):
    """What a writer needs of the transfer it belongs to."""

    def headers_for(self, writer: RangeWriter) -> Mapping[str, str]:
        """The headers of the writer's next request."""

    async def prepare(self, answer: Answer) -> None:
        """See :meth:`RangeSink.prepare`."""

    def accept(self, writer: RangeWriter, answer: Answer) -> bool:
        """Judge an answer before its body; see :meth:`RangeSink.begin`."""

    def store(self, claim: Claim, data: bytes | memoryview) -> None:
        """Write a block at the claim's position and advance it."""

    def count_retry(self, writer: RangeWriter) -> None:
        """A request has to be repeated."""

    def count_received(self, count: int) -> None:
        """Bytes have come over the network."""

    def turned_away(self, writer: RangeWriter) -> bool:
        """Whether a failed try is about the number of connections, so that it does not count."""

    async def wait_for_turn(self, writer: RangeWriter) -> None:
        """Return when the writer may ask again, after its pause."""


class RangeWriter:
    """Fills one claim; survives the retries and redirects of its request.

    :param claim: the range to fill.
    :param owner: the file's transfer.
    :param backoff: how often the range may be tried in vain.
    :param bucket: the rate that all connections share; None for no limit.
    """

    def __init__(
        self, claim: Claim, owner: Owner, backoff: Backoff, bucket: Bucket | None = None
    ) -> None:
        self.claim = claim
        self.whole = False
        """The answer is the whole file; set by the owner."""
        self.skip = 0
        """Bytes of the coming body that are there already; set by the owner."""
        self.reason = ""
        """The server's own words with its last answer."""
        self.status: int | None = None
        """That of the last answer; None as long as there is none."""
        self.retry_after: float | None = None
        """Seconds that the last answer asks to wait."""
        self.served = False
        """Whether the last answer has been accepted."""
        self.silent = False
        """Whether the last try has ended without a word from the server."""
        self.away = False
        """Whether the last try is one that does not count: the server has enough connections."""
        self.turn: Enum | None = None
        """How it came to its turn; kept by :mod:`fetcher.transfer.hosts`."""
        self.trials = 0
        """How often its turn was a trial; kept there, too."""
        self.rate: float | None = None
        """Bytes a second lately, while it could be read; None until :meth:`measure` has told."""
        self._owner = owner
        self._backoff = backoff
        self._best = claim.position
        self._share = None if bucket is None else Share(bucket)
        self._began: float | None = None
        self._waited = 0.0
        self._seen: tuple[int, float] | None = None
        self._reason: BaseException | None = None
        self._stop: Callable[[], None] | None = None
        self._stopping: asyncio.Future[None] | None = None

    @property
    def stopped(self) -> BaseException | None:
        """See ``RangeSink.stopped``."""
        return self._reason

    def request_headers(self) -> Mapping[str, str]:
        """Where to go on, read at the moment of sending."""
        if self._began is None:
            self._began = time.monotonic() - self.paused
        self.status, self.retry_after = None, None
        self.served = self.silent = self.away = False
        return self._owner.headers_for(self)

    def range_header(self) -> str:
        """``Range`` from the position on (RFC 9110, section 14.2)."""
        last = "" if self.claim.end == UNKNOWN else str(self.claim.end - 1)
        return f"bytes={self.claim.position}-{last}"

    def attach(self, stop: Callable[[], None]) -> None:
        """See ``RangeSink.attach``."""
        if self._reason is not None:
            raise self._reason
        self._stop = stop

    def stop(self, reason: BaseException) -> None:
        """End the transfer now; its request fails with ``reason``."""
        if self._reason is None:
            self._reason = reason
            if self._stop is not None:
                self._stop()
            if self._stopping is not None:
                self._stopping.set_result(None)

    def stopping(self) -> asyncio.Future[None]:
        """Done once :meth:`stop` has been called."""
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_future()
            if self._reason is not None:
                self._stopping.set_result(None)
        return self._stopping

    async def prepare(self, answer: Answer) -> None:
        """See ``RangeSink.prepare``."""
        await self._owner.prepare(answer)
        if self._reason is not None:
            raise self._reason

    def begin(self, answer: Answer) -> bool:
        """See ``RangeSink.begin``."""
        if self._reason is not None:
            raise self._reason
        self.skip = 0
        self.reason = answer.reason
        self.status = answer.status
        self.retry_after = retry_after(answer.headers.get("retry-after"))
        wanted = self._owner.accept(self, answer)
        if wanted:
            self.served, self.turn = True, None
        return wanted

    def write(self, data: bytes | memoryview) -> bool:
        """See ``RangeSink.write``."""
        if self._reason is not None:
            raise self._reason
        claim = self.claim
        self._owner.count_received(len(data))
        if self._share is not None:
            self._share.read(len(data))
        block = memoryview(data)[self.skip :]
        self.skip -= len(data) - len(block)
        if block:
            self._owner.store(claim, block[: claim.remaining])
        return claim.position < claim.end

    def pace(self, size: int) -> float:
        """See ``RangeSink.pace``."""
        if self._share is None:
            return 0.0
        return self._share.pace(min(size, self.skip + self.claim.remaining), time.monotonic())

    @property
    def paused(self) -> float:
        """Seconds in which the rate has kept the connection from being read."""
        return 0.0 if self._share is None else self._share.paused(time.monotonic())

    def settle(self) -> None:
        """The answer is over: give back what it has not used of the rate."""
        if self._share is not None:
            self._share.end(time.monotonic())

    def measure(self, seconds: float) -> None:
        """Bring :attr:`rate` up to date; called again after ``seconds``."""
        position, paused = self.claim.position, self.paused
        if self._seen is not None:
            moved = max(0, position - self._seen[0])
            readable = seconds - (paused - self._seen[1])
            # That nothing came in a moment tells nothing of the server.
            if moved or readable > seconds / 2:
                lately = moved / max(readable, INSTANT)
                self.rate = lately if self.rate is None else (self.rate + lately) / 2
        self._seen = position, paused

    def next_try(self, *, crowding: bool = True, silent: bool = False) -> float | None:
        """See ``RangeSink.next_try``."""
        self.silent = silent
        if crowding and self.turned_away():
            return None
        self._backoff = self._backoff.after_failure(progress=self._progressed())
        self._best = max(self._best, self.claim.position)
        self._began = None
        if self._backoff.exhausted:
            return None
        self._owner.count_retry(self)
        # The next try is measured with this before it, but not with what its server asks to wait,
        # nor with the time until its turn.
        self._waited = self._backoff.delay()
        return self._waited

    def got_on(self) -> bool:
        """Whether an answer that was right but shorter than asked was worth its time.

        Otherwise it is a failed try: a server may answer each request with a single byte.
        """
        if not self._progressed():
            return False
        self._backoff = self._backoff.afresh()
        self._best, self._began, self._waited = self.claim.position, None, 0.0
        return True

    def _progressed(self) -> bool:
        # The time since the first request of the try, but that in which reading was not allowed.
        lasted = 0.0 if self._began is None else time.monotonic() - self.paused - self._began
        return self._backoff.is_progress(self.claim.position - self._best, self._waited + lasted)

    def turned_away(self) -> bool:
        """Ask the owner whether the failed try counts."""
        self.away = self._owner.turned_away(self)
        if self.away:
            self._began = None
        return self.away

    async def pause(self, seconds: float) -> None:
        """See ``RangeSink.pause``."""
        await asyncio.wait({self.stopping()}, timeout=seconds)
        if self._reason is not None:
            raise self._reason
        await self._owner.wait_for_turn(self)
