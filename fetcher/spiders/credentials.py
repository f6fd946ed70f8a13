"""Logins and cookies that the user keeps in files: ``.netrc``, and one of browsers' cookies.

They are looked up for the addresses of the list only, and stay with their origin like those that
the list itself gives.
"""

from __future__ import annotations

import base64
import logging
import netrc
import os
import re
import warnings
from http.cookiejar import LoadError, MozillaCookieJar
from pathlib import Path
from urllib.request import Request

from fetcher.errors import InvalidSettingError
from fetcher.rules.urls import origin, split_credentials

_HTTP = ("http", "https")
_VISIBLE = re.compile(r"[\x20-\x7e\x80-\xff]*")

logger = logging.getLogger(__name__)


class Credentials:
    """What is known of the user for an address.

    :param cookies: a cookie file in Netscape's format, as curl and wget read it; empty for none.
    :raises InvalidSettingError: it cannot be read.
    """

    def __init__(self, cookies: str = "") -> None:
        self._cookies = _read_cookies(cookies) if cookies else None
        self._netrc = _read_netrc()

    def split(self, url: str) -> tuple[str, str | None]:
        """An address without its login, and the value of an ``Authorization`` header for it.

        The login of the address counts before that of ``.netrc``.
        """
        bare, authorization = split_credentials(url)
        if authorization is None and self._netrc is not None:
            authorization = self._remembered(bare)
        return bare, authorization

    def remembers(self, url: str) -> bool:
        """Whether an address has its login from ``.netrc``."""
        bare, authorization = split_credentials(url)
        return authorization is None and self._remembered(bare) is not None

    def cookies(self, url: str) -> str | None:
        """The value of a ``Cookie`` header for an address (RFC 6265, section 5.4)."""
        if self._cookies is None or origin(url)[0] not in _HTTP:
            return None
        request = Request(url)  # noqa: S310 - never sent: the jar's way of asking
        self._cookies.add_cookie_header(request)
        value = request.get_header("Cookie")
        return value if value and _VISIBLE.fullmatch(value) else None

    def _remembered(self, url: str) -> str | None:
        found = self._netrc.authenticators(origin(url)[1]) if self._netrc is not None else None
        if found is None:
            return None
        user, _, password = found
        token = base64.b64encode(f"{user}:{password or ''}".encode())
        return f"Basic {token.decode('ascii')}"


def _read_netrc() -> netrc.netrc | None:
    """``$NETRC``, else ``~/.netrc``; one that cannot be used is told of, and done without."""
    path = Path(os.environ.get("NETRC") or Path("~/.netrc").expanduser())
    if not path.exists():
        return None
    try:
        found = path.stat()
        if found.st_mode & 0o077:
            logger.warning("%s may be read by others: chmod 600 it", path)
        return netrc.netrc(path)
    except netrc.NetrcParseError as error:
        # Its message may hold a line of the file, and so a password.
        logger.warning("%s is done without, its line %s means nothing", path, error.lineno)
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is no text"
        logger.warning("%s is done without, it cannot be read: %s", path, reason)
    return None


def _read_cookies(path: str) -> MozillaCookieJar:
    jar = MozillaCookieJar(Path(path).expanduser())
    advice = "give a cookie file in Netscape's format"
    try:
        # Those of a session have no date in the file, or 0; the user gave them for this one.
        with warnings.catch_warnings():
            # Of what it cannot make sense of, it would print a traceback as well.
            warnings.simplefilter("ignore")
            jar.load(ignore_discard=True, ignore_expires=True)
    except LoadError as error:
        raise InvalidSettingError(f"FETCHER_COOKIES={path} holds no cookies: {advice}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "it is no text"
        raise InvalidSettingError(
            f"FETCHER_COOKIES={path} cannot be read: {reason}: {advice}"
        ) from error
    for cookie in jar:
        cookie.expires = cookie.expires or None
    jar.clear_expired_cookies()
    return jar
