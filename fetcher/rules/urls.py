"""Addresses: what is accepted, and what of them may be shown."""

from __future__ import annotations

import base64
import re
from urllib.parse import SplitResult, quote, unquote, unquote_to_bytes, urlsplit, urlunsplit

from fetcher.errors import InvalidURLError
from fetcher.rules import remote_paths

SCHEMES = ("http", "https", *remote_paths.SCHEMES)
"""Schemes with a download handler."""

MAX_URL = 16 << 10
"""Characters of the longest address that is taken; hardly a server takes more than half of it."""

_MAX_HOST = 255
"""Characters of a login, host and port that are not all ASCII."""

# Nearly all addresses look like this, and the full checks would find nothing to say about them:
# they only cost most of the time that reading a long list takes.
_PLAIN = re.compile(
    r"(https?://[a-z0-9][a-z0-9.-]*(?::(?:[1-9][0-9]{,3}|[1-5][0-9]{4}))?/[!$&-;=@-Z_a-z~%]*)"
    r"(?:\?([!$&-;=@-Z_a-z~%]+))?"
)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE | re.ASCII)
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_PARAMETER = re.compile(r"([^&;=]*=)[^&;]*|[^&;]+")
_AUTHORITY = re.compile(r"(?:[^:/?#]*:)?//([^/?#]*)")
# Not from the scheme on: a search for where that begins would take quadratic time.
_IN_TEXT = re.compile(r"://[^\s<>\"']+", re.ASCII)

DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "ftps": 990, "sftp": 22}


def looks_like_url(text: str) -> bool:
    """Whether a field of a list is an address rather than a name or a title."""
    return _URL.match(text) is not None


def is_plain(url: str) -> bool:
    """Whether an address is in no way unusual: valid, written as Scrapy writes it, without a login
    and without a fragment."""
    return len(url) <= MAX_URL and _PLAIN.fullmatch(url) is not None


def check_url(url: str) -> str:
    """The address, without a fragment.

    :raises InvalidURLError: it has no known scheme, no host, a bad port, control characters, or
        names no file.
    """
    if len(url) > MAX_URL:
        raise InvalidURLError(
            f"the address {redact(url)[:60]!r}… is longer than {MAX_URL} characters; shorten it"
        )
    if _FORBIDDEN.search(url):
        raise InvalidURLError(
            f"{redact(url)!r} holds blanks or control characters; percent-encode them"
        )
    try:
        parts = _split(url)
        port = parts.port
    except ValueError:
        # Not from the cause: its message quotes the address, password and all.
        raise InvalidURLError(f"{redact(url)!r} is no address; check host and port") from None
    if parts.scheme.lower() not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InvalidURLError(f"{redact(url)!r} does not start with one of {known}")
    if not parts.hostname or port == 0:
        raise InvalidURLError(f"{redact(url)!r} names no host")
    if parts.scheme.lower() in remote_paths.SCHEMES:
        remote_paths.check_remote(parts, redact(url))
    return urlunsplit(parts._replace(fragment=""))


def split_credentials(url: str) -> tuple[str, str | None]:
    """The address without ``user:password@``, and the value of an ``Authorization`` header.

    Basic authentication, RFC 7617; both parts are percent-decoded.
    """
    if "@" not in url:
        return url, None
    parts = urlsplit(url)
    userinfo, separator, host = parts.netloc.rpartition("@")
    if not separator:
        return url, None
    user, _, password = userinfo.partition(":")
    token = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    bare = urlunsplit(parts._replace(netloc=host))
    return bare, "Basic " + base64.b64encode(token).decode("ascii")


def join_credentials(url: str, authorization: str | None) -> str | None:
    """The address with its login in it: what :func:`split_credentials` took apart.

    :return: None where the ``Authorization`` is another one than that of a login.
    """
    if authorization is None:
        return url
    scheme, _, token = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(token, validate=True).partition(b":")
    except ValueError:
        return None
    if scheme.lower() != "basic":
        return None
    parts = urlsplit(url)
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port (RFC 6454), for which credentials are valid."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or ""), parts.port or DEFAULT_PORTS.get(scheme, 0)


def without_query(url: str) -> str:
    """Where a resource is, whatever signature is given along: its origin and path."""
    scheme, host, port = origin(url)
    host = f"[{host}]" if ":" in host else host
    return urlunsplit((scheme, f"{host}:{port}", urlsplit(url).path, "", ""))


def last_segment(url: str) -> str:
    """The last segment of the path, percent-decoded; may be empty."""
    path = remote_paths.path_name(urlsplit(url))
    return unquote(path.rpartition("/")[2], errors="replace")


def redact(url: str) -> str:
    """The address without credentials and without the values of its query parameters."""
    if plain := _PLAIN.fullmatch(url):
        return f"{plain[1]}?{_redact_query(plain[2])}" if plain[2] else url
    if not _URL.match(url):
        before, mark, query = url.partition("?")
        url = before.rpartition("@")[2] + mark + query
    try:
        parts = _split(url)
        _ = parts.port  # A password with a bare slash in it looks like a bad port.
    except ValueError:
        return _URL.match(url)[0] + "…" if _URL.match(url) else "…"  # type: ignore[index]
    return urlunsplit(
        SplitResult(
            parts.scheme,
            parts.netloc.rpartition("@")[2],
            parts.path,
            _redact_query(parts.query),
            "",
        )
    )


def _redact_query(query: str) -> str:
    if len(query) > MAX_URL:
        return "…"
    # What has no name may be a signature itself.
    return _PARAMETER.sub(r"\1…", query)


def redact_text(text: str) -> str:
    """A text with every address in it redacted."""
    if "://" not in text:
        return text
    return _IN_TEXT.sub(lambda match: redact("http" + match[0]).removeprefix("http"), text)


def _split(url: str) -> SplitResult:
    """As the standard library does it, but not for hours.

    :raises ValueError: it is no address.
    """
    if _has_long_host(url):
        raise ValueError("too long a host")
    return urlsplit(url)


def is_too_long(url: str) -> bool:
    """Whether to look into an address would take long; it may be relative."""
    return len(url) > MAX_URL or _has_long_host(url)


def _has_long_host(url: str) -> bool:
    # The library normalizes what is not ASCII, in time quadratic in the marks on one letter.
    authority = _AUTHORITY.match(url)
    return bool(authority and not authority[1].isascii() and len(authority[1]) > _MAX_HOST)
