"""Where a session goes, and as whom."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from scrapy import Request


@dataclass(frozen=True)
class Login:
    """What two requests must have in common to share a session.

    :param scheme: of the address, in lower case.
    :param host: of the address.
    :param port: None where the address has none.
    :param user: None where there is none.
    :param password: None where there is none.
    """

    scheme: str
    host: str
    port: int | None
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, request: Request) -> Self:
        """From the request's address, and from its ``Authorization`` (Basic, RFC 7617)."""
        parts = urlsplit(request.url)
        user, password = _credentials(request.headers.get("Authorization") or b"")
        host = unquote(parts.hostname or "")  # the zone of an IPv6 address, RFC 6874
        return cls(parts.scheme.lower(), host, parts.port, user, password)

    @property
    def server(self) -> str:
        """Host and port as they may be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def _credentials(authorization: bytes) -> tuple[str | None, str | None]:
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None, None
    try:
        text = base64.b64decode(token, validate=True).decode("utf-8", "surrogateescape")
    except binascii.Error:
        return None, None
    user, colon, password = text.partition(":")
    return user or None, password if colon and (user or password) else None
