"""One address of a file: how it is asked, what is known of it, and the connections to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from scrapy import Request

from fetcher.contract import Answer, FileProgress, Send
from fetcher.rules.bucket import Bucket
from fetcher.rules.ranges import Claim
from fetcher.rules.resource import Resource
from fetcher.transfer.hosts import Host
from fetcher.transfer.intake import Intake
from fetcher.transfer.requester import Requester
from fetcher.transfer.trail import Trail
from fetcher.transfer.writer import RangeWriter


class Source:
    """An address and its connections; what the writers of those call (``writer.Owner``).

    :param request: asks for the file there, the headers meant for that address included.
    :param send: see :data:`fetcher.contract.Send`.
    :param host: the server, and how many connections it bears.
    :param progress: kept up to date for displays.
    :param intake: takes the bytes.
    :param resource: what is known of the file there.
    :param condition: headers that ask for the file only if it has changed; for the address that
        decides about its version.
    :param bucket: the rate that all connections of the crawl share; None for no limit.
    :param on_answer: called with each answer before it is judged, while the address decides about
        the file's version.
    """

    def __init__(
        self,
        request: Request,
        send: Send,
        host: Host,
        progress: FileProgress,
        intake: Intake,
        resource: Resource,
        condition: Mapping[str, str],
        on_answer: Callable[[Answer], Awaitable[None]],
        bucket: Bucket | None = None,
    ) -> None:
        self.address = request.url
        self.condition = condition
        self.requester = Requester(request, send)
        self.host = host
        self.intake = intake
        self.resource = resource
        self.bucket = bucket
        self.connections = 0
        """How many fill a range from here, those included that wait for their turn; kept by the
        transfer."""
        self.speed: float | None = None
        """Bytes a second of one connection lately, while it could be read; None until one has
        brought something."""
        self._progress = progress
        self._on_answer = on_answer
        self._connected: set[RangeWriter] = set()
        self._trail: Trail | None = None
        self._on_proven: Callable[[], None] = lambda: None

    def serve(self, trail: Trail | None, on_proven: Callable[[], None]) -> None:
        """Begin an attempt.

        :param trail: notes who brought which bytes; None where there is no other address.
        :param on_proven: called when an answer has shown that ranges work.
        """
        self._trail, self._on_proven = trail, on_proven

    def note_speed(self, speed: float) -> None:
        """One of its connections has had so many bytes a second; more than the crawl may have are
        all the same."""
        if self.bucket is not None:
            speed = min(speed, self.bucket.rate)
        self.speed = speed if self.speed is None else (self.speed + speed) / 2

    def note_bytes(self, count: int, seconds: float) -> None:
        """One of its connections has brought ``count`` bytes in so many seconds."""
        if count and seconds > 0:
            self.note_speed(count / seconds)

    # --- writer.Owner ---------------------------------------------------------------------------

    def headers_for(self, writer: RangeWriter) -> Mapping[str, str]:
        """See ``Owner.headers_for``."""
        if writer not in self._connected:
            self._connected.add(writer)
            self._progress.connections += 1
        return self.resource.headers(writer.range_header())

    async def prepare(self, answer: Answer) -> None:
        """See ``Owner.prepare``."""
        if self.resource is self.intake.resource:
            await self._on_answer(answer)

    def accept(self, writer: RangeWriter, answer: Answer) -> bool:
        """See ``Owner.accept``."""
        intake, proven = self.intake, self.intake.plan.proven
        if self.resource is intake.resource:
            accepted = intake.accept(writer, answer)
        else:
            accepted = intake.join(writer, answer, self.resource)
        if not accepted:
            return False
        self.requester.note(answer.url)
        self.host.serve(writer)
        if intake.plan.proven and not proven:
            self._on_proven()
        return True

    def store(self, claim: Claim, data: bytes | memoryview) -> None:
        """See ``Owner.store``."""
        position = claim.position
        self.intake.store(claim, data)
        if self._trail is not None:
            self._trail.note(self.address, claim, position, data)

    def count_retry(self, writer: RangeWriter) -> None:
        """See ``Owner.count_retry``."""
        self.intake.counts.retries += 1
        self.disconnected(writer)
        # Others need not wait for the end of its pause.
        self.host.leave(writer)

    def count_received(self, count: int) -> None:
        """See ``Owner.count_received``."""
        self.intake.counts.received += count

    def turned_away(self, writer: RangeWriter) -> bool:
        """See ``Owner.turned_away``."""
        alone = self.connections == 1
        if not self.host.turns_away(writer, alone=alone):
            return False
        # A connection beside others is not needed, but who is asked to wait before it asks again
        # for a range does that.
        return alone or writer.retry_after is None

    async def wait_for_turn(self, writer: RangeWriter) -> None:
        """See ``Owner.wait_for_turn``."""
        if writer.away or self.host.full:
            await self.host.wait(writer)
        self.host.enter(writer)

    def disconnected(self, writer: RangeWriter) -> None:
        """The writer's answer is over."""
        writer.settle()
        self.host.rest(writer)
        self.intake.plan.streaming.discard(writer)
        if writer in self._connected:
            self._connected.discard(writer)
            self._progress.connections -= 1
