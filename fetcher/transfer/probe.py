"""Asks a server how large a file is, by a request for its first byte; never by HEAD."""

from __future__ import annotations

from collections.abc import Mapping

from scrapy import Request

from fetcher.config import Config
from fetcher.contract import META_SINK, Answer, Send
from fetcher.errors import Stopped
from fetcher.rules.answers import judge, unsatisfied_size
from fetcher.rules.backoff import Backoff
from fetcher.rules.ranges import Claim
from fetcher.transfer.requester import refused
from fetcher.transfer.writer import RangeWriter


class Probe:
    """One question about one file; takes no byte of it.

    :param request: the file's own request.
    """

    def __init__(self, request: Request, config: Config, send: Send) -> None:
        self.answer: Answer | None = None
        self._request = request
        self._send = send
        backoff = Backoff(config.max_tries, config.retry_backoff)
        self._writer = RangeWriter(Claim(0, 1), self, backoff)

    async def size(self) -> int | None:
        """The file's size in bytes, None where the server does not tell that of the plain form.

        :raises FetchError: the server has no such file, or was not reached.
        """
        meta = {**self._request.meta, META_SINK: self._writer}
        response = await self._send(self._request.replace(meta=meta, dont_filter=True))
        if self.answer is None or response.status not in (200, 206, 416):
            raise refused(self._request.url, response.status, self._writer.reason)
        if self.answer.status == 416:
            return unsatisfied_size(self.answer)
        version = judge(self.answer, 0, None).version
        return None if version.codings else version.size

    def stop(self, reason: Stopped) -> None:
        """End it now; :meth:`size` raises ``reason``."""
        self._writer.stop(reason)

    # writer.Owner

    def headers_for(self, writer: RangeWriter) -> Mapping[str, str]:
        """See ``Owner.headers_for``."""
        return {"Accept-Encoding": "identity", "Range": writer.range_header()}

    async def prepare(self, answer: Answer) -> None:
        """See ``Owner.prepare``."""

    def accept(self, writer: RangeWriter, answer: Answer) -> bool:
        """See ``Owner.accept``: the head is all that is wanted."""
        self.answer = answer
        return False

    def store(self, claim: Claim, data: bytes | memoryview) -> None:
        """See ``Owner.store``; never called, as no body is accepted."""

    def count_retry(self, writer: RangeWriter) -> None:
        """See ``Owner.count_retry``."""

    def count_received(self, count: int) -> None:
        """See ``Owner.count_received``."""

    def turned_away(self, writer: RangeWriter) -> bool:
        """See ``Owner.turned_away``."""
        return False

    async def wait_for_turn(self, writer: RangeWriter) -> None:
        """See ``Owner.wait_for_turn``."""
