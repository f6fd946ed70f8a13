"""Sends a file's range requests to where the file is: the list's address, or where that led."""

from __future__ import annotations

import asyncio
from typing import Any

from scrapy import Request
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response

from fetcher.contract import META_SINK, Send
from fetcher.errors import RedirectError, StatusError
from fetcher.rules.urls import origin, redact
from fetcher.transfer.writer import RangeWriter

_EXPIRED = (401, 403, 404, 410)
_KEPT_META = ("proxy", "bindaddress")
_ADVICE = {
    401: "it wants a login, check user and password",
    403: "access is refused or the link has expired; a fresh link under the same name goes on",
    404: "there is no such file, check the address",
    407: "the proxy wants a login, check user and password in http_proxy or https_proxy",
    410: "the file is gone",
    416: "it refuses the range",
    429: "it wants fewer requests, try again later",
}


class Requester:
    """Remembers where a redirect led, so that it is not followed again for each range.

    :param request: the file's own request: the list's address and the row's headers.
    :param send: asks a server, see :data:`fetcher.contract.Send`.

    :ivar url: where the next request goes.
    """

    def __init__(self, request: Request, send: Send) -> None:
        self.url = request.url
        self._request = request
        self._send = send
        self._expired: set[str] = set()

    def note(self, url: str) -> None:
        """An answer with the file has come from ``url``."""
        if url not in self._expired:
            self.url = url

    def expire(self, response: Response) -> bool:
        """Whether only the address that a redirect led to has expired; it is not used again."""
        if response.status not in _EXPIRED or response.url == self._request.url:
            return False
        self._expired.add(response.url)
        if self.url == response.url:
            self.url = self._request.url
        return True

    async def ask(self, writer: RangeWriter) -> Response:
        """The answer to the writer's range, its body already in the writer.

        When the writer is stopped, the reason is raised at once, even while the request waits for
        its host's turn: it stays in Scrapy's queue, maybe for long, and its handler refuses it
        then.

        :raises RedirectError: there were too many redirects.
        """
        sending = asyncio.ensure_future(self._send(self._range_request(writer)))
        either: set[asyncio.Future[Any]] = {sending, writer.stopping()}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done() and writer.stopped is not None:
            sending.add_done_callback(_take_notice)
            raise writer.stopped
        try:
            return await sending
        except IgnoreRequest as error:
            raise RedirectError(
                f"{redact(self._request.url)} was redirected too often: check the address"
            ) from error

    def _range_request(self, writer: RangeWriter) -> Request:
        same = origin(self.url) == origin(self._request.url)
        meta = {key: self._request.meta[key] for key in _KEPT_META if key in self._request.meta}
        return Request(
            self.url,
            headers=self._request.headers if same else None,
            meta={**meta, META_SINK: writer},
            dont_filter=True,
            priority=self._request.priority,
        )


def _take_notice(ended: asyncio.Future[Response]) -> None:
    """Look at the outcome of what nobody waits for any more, so that it is not reported as lost."""
    if not ended.cancelled():
        ended.exception()


def refused(url: str, status: int, reason: str) -> StatusError:
    """The error for an answer that carries no file.

    :param reason: the server's own words.
    """
    advice = _ADVICE.get(status, "try again later")
    answer = f"{reason!r} (status {status})" if reason else f"status {status}"
    return StatusError(f"{redact(url)} was answered with {answer}: {advice}", status)
