"""Redirects of range requests: credentials stay with the origin they were given for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Self, cast

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.redirect import RedirectMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response

from fetcher.contract import META_SINK
from fetcher.errors import RedirectError
from fetcher.rules.urls import is_too_long, origin, redact, split_credentials

_REDIRECTS = (301, 302, 303, 307, 308)


class OriginRedirectMiddleware(RedirectMiddleware):
    """Scrapy's redirects, http and https only, without the row's headers for another origin.

    Scrapy itself takes ``Authorization`` and ``Cookie`` away; the list may have given others, such
    as a key in a header of its own. Requests that are no range's pass untouched: whatever else
    redirects in a project stands beside it, farther from the server.
    """

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """As Scrapy's, but for looking for who handles ``Referer``: of ranges, nobody does."""
        middleware = cls(crawler.settings)
        # Which statuses a spider wants to see (handle_httpstatus_list) is about its pages.
        middleware.crawler = cast("Crawler", SimpleNamespace(spider=None))
        return middleware

    def handle_referer(self, request: Request, response: Response) -> None:
        """No ``Referer``: a list is not a page."""
        request.headers.pop("Referer", None)

    def process_response(
        self, request: Request, response: Response, spider: Any = None
    ) -> Request | Response:
        """See :class:`RedirectMiddleware`.

        :raises RedirectError: a range's request is sent to something that is neither http nor
            https, or nowhere, or too often.
        """
        if META_SINK not in request.meta:
            return response
        if is_too_long((response.headers.get("Location") or b"").decode("latin-1")):
            raise RedirectError(f"{redact(request.url)} redirects to an address that is too long")
        try:
            result = super().process_response(request, response)
        except ValueError:
            # Not from the cause: its message quotes the address, password and all.
            raise RedirectError(
                f"{redact(request.url)} redirects to something that is no address"
            ) from None
        except IgnoreRequest as error:
            first = request.meta.get("redirect_urls", [request.url])[0]
            raise RedirectError(
                f"{redact(first)} was redirected too often: check the address"
            ) from error
        if isinstance(result, Request):
            return self._without_credentials(request, result)
        if response.status in _REDIRECTS:
            raise RedirectError(
                f"{redact(request.url)} redirects to no http or https address: check the address"
            )
        return result

    def _without_credentials(self, request: Request, redirected: Request) -> Request:
        headers, meta = redirected.headers, redirected.meta
        if origin(request.url) != origin(redirected.url):
            # The proxy's login is not the row's; whether the request goes by that proxy, or by any,
            # HttpProxyMiddleware decides anew, and takes the login away where it does not.
            login = headers.get("Proxy-Authorization") if "_auth_proxy" in meta else None
            headers.clear()
            if login is not None:
                headers["Proxy-Authorization"] = login
        if meta.pop("_scheme_proxy", False):
            meta.pop("proxy", None)
        bare, _ = split_credentials(redirected.url)
        return redirected.replace(url=bare) if bare != redirected.url else redirected
