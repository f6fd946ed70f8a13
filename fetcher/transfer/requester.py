"""Sends a file's range requests to where the file is: the list's address, or where that led."""

from __future__ import annotations

import asyncio
from typing import Any

from scrapy import Request
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response

from fetcher.contract import META_FETCH, META_SINK, Send
from fetcher.errors import FilteredError, StatusError
from fetcher.rules.urls import origin, redact
from fetcher.transfer.writer import RangeWriter

_EXPIRED = (401, 403, 404, 410)
_NOT_PASSED_ON = {
    META_FETCH,
    # What became of the file's request on its way, and what it wants of an answer that it never
    # gets itself.
    *("download_timeout", "download_latency", "cached_response", "retry_times"),
    *("redirect_times", "redirect_ttl", "redirect_urls", "redirect_reasons", "dont_redirect"),
    *("handle_httpstatus_list", "handle_httpstatus_all"),
}
_RANGE_META = {
    # Its body is not in the response: a cache would keep an empty one.
    "dont_cache": True,
    # The sink counts the tries; another count would begin when that one has ended.
    "dont_retry": True,
}
_ADVICE = {
    **dict.fromkeys((301, 302, 303, 307, 308), "REDIRECT_ENABLED=False keeps it from going there"),
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
        self._meta = _range_meta(request)
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

        :raises FilteredError: a middleware lets it not through.
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
            raise FilteredError(
                f"{redact(self.url)} is not asked ({error}): allow it in the project's settings, "
                "or leave the file out"
            ) from error

    def _range_request(self, writer: RangeWriter) -> Request:
        request = self._request
        same = origin(self.url) == origin(request.url)
        return Request(
            self.url,
            headers=request.headers if same else None,
            cookies=request.cookies if same else None,
            meta={**self._meta, META_SINK: writer},
            dont_filter=request.dont_filter,
            priority=request.priority,
        )


def _range_meta(request: Request) -> dict[str, Any]:
    """What middlewares are told of the file's request: all that its owner has put there."""
    meta = {
        key: value
        for key, value in request.meta.items()
        if key not in _NOT_PASSED_ON and not str(key).startswith("_")
    }
    if not _has_robots(request):
        meta["dont_obey_robotstxt"] = True
    return meta | _RANGE_META


def _has_robots(request: Request) -> bool:
    """Whether its server may have a ``robots.txt`` for everybody (RFC 9309, section 2.3)."""
    scheme = origin(request.url)[0]
    if scheme == "ftp":
        return "Authorization" not in request.headers
    return scheme in ("http", "https")


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
