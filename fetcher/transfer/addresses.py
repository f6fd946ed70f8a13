"""The requests for one file, an address each: the list's, then its mirrors."""

from __future__ import annotations

from scrapy import Request

from fetcher.contract import META_FETCH, FileMeta
from fetcher.rules.urls import split_credentials


def addresses(request: Request) -> list[Request]:
    """What to ask, best first.

    A mirror gets its own login only: the row's headers were given for the first address.

    :param request: the file's own request; ``meta["fetch"]`` is its :class:`FileMeta`.
    """
    meta: FileMeta = request.meta[META_FETCH]
    requests = [request]
    for url, authorization in meta.get("mirrors") or ():
        headers = {"Authorization": authorization} if authorization else {}
        # What Scrapy noted in the first request's meta, such as its proxy, is that address' own.
        plain = {META_FETCH: meta}
        requests.append(request.replace(url=url, headers=headers, meta=plain))
    only = meta.get("only")
    return requests if only is None else [requests[only]]


def alone(request: Request, index: int | None) -> Request:
    """The file's request once more, for one of its addresses.

    :param index: in what :func:`addresses` gives; None for all of them.
    """
    meta: FileMeta = request.meta[META_FETCH].copy()
    meta["only"] = index
    return request.replace(meta={**request.meta, META_FETCH: meta})


def without_login(request: Request) -> Request:
    """The request with what stands before its address' host as an ``Authorization``."""
    url, authorization = split_credentials(request.url)
    if authorization is None:
        return request
    headers = request.headers.copy()
    headers.setdefault("Authorization", authorization)
    return request.replace(url=url, headers=headers)
