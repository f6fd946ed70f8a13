"""The request for a file of an item, as the range middleware takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scrapy import Request
from scrapy.http.request import NO_CALLBACK

from fetcher.contract import META_FETCH, FileMeta, plain_row
from fetcher.errors import InvalidRowError
from fetcher.rules.checksums import parse_checksum
from fetcher.rules.names import check_name
from fetcher.rules.urls import check_url, redact
from fetcher.transfer.addresses import without_login

GIVEN = ("size", "checksum", "splits", "tries", "if_exists")
"""What may be known of a file beforehand."""


def row(request: Request, path: str, folder: Path) -> FileMeta:
    """What is to be fetched.

    :param request: may know more of the file, in ``meta["fetch"]``: some of :data:`GIVEN`.
    :param path: where the file belongs, relative to ``folder``, which is absolute.
    :raises InvalidRowError: the request, the path, or what the request knows cannot be used.
    """
    check_url(request.url)
    if request.method != "GET":
        raise InvalidRowError(
            f"{redact(request.url)} is asked for by {request.method}: a file can only be fetched "
            "by GET"
        )
    # As a file system takes it, and so Scrapy's own store.
    name = "/".join(part for part in path.split("/") if part not in ("", "."))
    meta = plain_row(check_name(name), str(folder))
    given: dict[str, Any] = request.meta.get(META_FETCH) or {}
    for key, value in given.items():
        if key not in GIVEN:
            raise InvalidRowError(
                f'meta["fetch"] of {redact(request.url)} has {key!r}: only '
                f"{', '.join(GIVEN)} may be there"
            )
        meta[key] = value  # type: ignore[literal-required] # they are those of GIVEN
    if meta["checksum"] is not None:
        try:
            meta["checksum"] = parse_checksum(meta["checksum"])
        except ValueError as error:
            raise InvalidRowError(f"{redact(request.url)}: {error}") from error
    return meta


def file_request(request: Request, meta: FileMeta) -> Request:
    """The same request, for the file; no log shows its login."""
    meta_of_all = {**request.meta, META_FETCH: meta}
    return without_login(request).replace(meta=meta_of_all, callback=NO_CALLBACK, errback=None)
