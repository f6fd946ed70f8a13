"""Asks a server how large a file is, by a request for its first byte; never by HEAD."""

from __future__ import annotations

from collections.abc import Mapping

from scrapy import Request
from scrapy.http import Response

from fetcher.config import Config
from fetcher.contract import Answer, Send
from fetcher.errors import ServerError, Stopped
from fetcher.rules.answers import judge, unsatisfied_size
from fetcher.rules.backoff import Backoff
from fetcher.rules.ranges import Claim
from fetcher.transfer.hosts import Host
from fetcher.transfer.requester import Requester, refused
from fetcher.transfer.writer import RangeWriter

_TOLD = (200, 206, 416)


class Probe:
    """One question about one file; takes no byte of it.

    :param request: asks for the file at one address.
    :param config: the settings.
    :param send: see :data:`fetcher.contract.Send`.
    :param host: the server, and how many connections it bears.
    """

    def __init__(self, request: Request, config: Config, send: Send, host: Host) -> None:
        self._address = request.url
        self._requester = Requester(request, send)
        self._host = host
        self._max_retry_after = config.max_retry_after
        self._answer: Answer | None = None
        backoff = Backoff(config.max_tries, config.retry_backoff)
        self._writer = RangeWriter(Claim(0, 1), self, backoff)

    async def answer(self) -> Answer:
        """The head of what the server says, status 200, 206 or 416.

        :raises FetchError: it has no such file, or was not reached.
        """
        writer = self._writer
        try:
            if self._host.full:
                await self._host.wait(writer)
            self._host.enter(writer)
            while (response := await self._ask()) is None:
                # The server has enough connections.
                await writer.pause(min(writer.retry_after or 0.0, self._max_retry_after))
        finally:
            self._host.leave(writer)
        if self._answer is None or response.status not in _TOLD:
            raise refused(self._address, response.status, writer.reason)
        return self._answer

    def stop(self, reason: Stopped) -> None:
        """End it now; :meth:`answer` raises ``reason``."""
        self._writer.stop(reason)

    async def _ask(self) -> Response | None:
        """The server's answer; None when it has enough connections."""
        try:
            response = await self._requester.ask(self._writer)
        except ServerError:
            if self._writer.away:
                return None
            raise
        if response.status not in _TOLD and (self._writer.away or self._writer.turned_away()):
            return None
        return response

    # writer.Owner

    def headers_for(self, writer: RangeWriter) -> Mapping[str, str]:
        """See ``Owner.headers_for``."""
        return {"Accept-Encoding": "identity", "Range": writer.range_header()}

    async def prepare(self, answer: Answer) -> None:
        """See ``Owner.prepare``."""

    def accept(self, writer: RangeWriter, answer: Answer) -> bool:
        """See ``Owner.accept``: the head is all that is wanted."""
        self._answer = answer
        return False

    def store(self, claim: Claim, data: bytes | memoryview) -> None:
        """See ``Owner.store``; never called, as no body is accepted."""

    def count_retry(self, writer: RangeWriter) -> None:
        """See ``Owner.count_retry``."""
        self._host.leave(writer)

    def count_received(self, count: int) -> None:
        """See ``Owner.count_received``."""

    def turned_away(self, writer: RangeWriter) -> bool:
        """See ``Owner.turned_away``."""
        return self._host.turns_away(writer, alone=True)

    async def wait_for_turn(self, writer: RangeWriter) -> None:
        """See ``Owner.wait_for_turn``."""
        if writer.away or self._host.full:
            await self._host.wait(writer)
        self._host.enter(writer)


def stated_size(answer: Answer) -> int | None:
    """Bytes of the file that an answer to a :class:`Probe` is about; None where the server does not
    tell that of the plain form.

    :raises ServerError: the answer makes no sense.
    """
    if answer.status == 416:
        return unsatisfied_size(answer)
    version = judge(answer, 0, None).version
    return None if version.codings else version.size
