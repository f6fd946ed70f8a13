"""What Twisted, OpenSSL and Scrapy raise, as errors of this project: the one place for it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from OpenSSL import SSL
from scrapy.core.downloader.handlers.http11 import TunnelError
from service_identity import VerificationError
from twisted.internet import error as tx
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.error import SchemeNotSupported

from fetcher.errors import (
    ConnectionFailedError,
    FetchError,
    ProtocolError,
    RangesRefusedError,
)
from fetcher.handlers import reasons
from fetcher.rules.urls import redact

_WRAPPERS = (
    ResponseFailed,
    ResponseNeverReceived,
    RequestTransmissionFailed,
    RequestGenerationFailed,
)

_NO_WAY = (
    tx.ConnectError,  # and all that are one: refused, timed out, no route, no such name
    tx.DNSLookupError,
    SchemeNotSupported,
)

_SHORT = ("the connection broke", "the server ", "nothing ")
"""How the errors begin that do not tell which file they are about."""


def translated(error: BaseException, url: str, proxy: str | None = None) -> BaseException:
    """The :class:`FetchError` for what went wrong while ``url`` was asked.

    Errors that are of this project already, and what is no error of a server, come back as they
    are.

    :param proxy: that by which it was asked: without it, there is no way to the server.
    """
    host = urlsplit(url).netloc.rpartition("@")[2]
    for cause in _causes(error):
        if isinstance(cause, FetchError) or type(cause).__module__.startswith("fetcher."):
            return _located(cause, url)
        if isinstance(cause, VerificationError) or _is_untrusted(cause):
            return reasons.untrusted(host)
    for cause in _causes(error):
        if proxy is not None and isinstance(cause, _NO_WAY):
            return _no_proxy(cause, redact(proxy))
        if isinstance(cause, tx.DNSLookupError):
            return reasons.not_found(host)
        if isinstance(cause, tx.ConnectionRefusedError):
            return reasons.refused(host)
        if isinstance(cause, tx.TimeoutError):
            return reasons.unanswered(host)
        if isinstance(cause, tx.NoRouteError | tx.ConnectError):
            return reasons.unreachable(host)
        if isinstance(cause, TunnelError):
            return ConnectionFailedError(f"the proxy gave no way to {host}: {cause}")
        if isinstance(cause, tx.SSLError | SSL.Error):
            return reasons.no_tls(host, _reason(cause))
        if isinstance(cause, tx.ConnectionLost):
            return reasons.broken(host)
        if isinstance(cause, ParseError | ValueError | KeyError):
            garbage = ProtocolError(f"{redact(url)} was answered with {_nonsense(cause)}")
            garbage.retryable = True
            return garbage
    if isinstance(error, _WRAPPERS):
        return reasons.broken(host)
    return error


def _no_proxy(error: BaseException, proxy: str) -> ConnectionFailedError:
    what = "cannot be reached"
    if isinstance(error, SchemeNotSupported):
        what = "is of a kind that is not known here"
    elif isinstance(error, tx.ConnectionRefusedError):
        what = "refused the connection"
    elif isinstance(error, tx.TimeoutError):
        what = "did not answer in time"
    return ConnectionFailedError(f"the proxy {proxy} {what}: check http_proxy and https_proxy")


def _located(error: BaseException, url: str) -> BaseException:
    """Name the file in the short errors about an answer's head and body."""
    if isinstance(error, ConnectionFailedError | ProtocolError | RangesRefusedError) and str(
        error
    ).startswith(_SHORT):
        located = type(error)(f"{redact(url)}: {error}")
        located.retryable = error.retryable
        return located
    return error


def _nonsense(error: BaseException) -> str:
    """What Twisted stumbled over, in words: it raises bare errors for some heads."""
    if isinstance(error, KeyError):
        return "a Transfer-Encoding that is not known here: the file cannot be told from it"
    if isinstance(error, ValueError):
        return "a length that is none, or with several: its end cannot be told"
    return "something that is not HTTP"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error itself and everything that Twisted has wrapped into it."""
    yield error
    for reason in getattr(error, "reasons", None) or ():
        cause = reason.value if isinstance(reason, Failure) else reason
        if isinstance(cause, BaseException) and cause is not error:
            yield from _causes(cause)


def _is_untrusted(error: BaseException) -> bool:
    return isinstance(error, SSL.Error) and "certificate verify failed" in _reason(error)


def _reason(error: BaseException) -> str:
    """The last word of OpenSSL's error queue."""
    queue = error.args[0] if error.args else ""
    if isinstance(queue, list) and queue:
        return str(queue[-1][-1])
    return str(queue) or type(error).__name__
