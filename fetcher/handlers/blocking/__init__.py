"""The base for protocols whose libraries block: sessions in threads, answers in HTTP's terms."""

from fetcher.handlers.blocking.handler import BlockingDownloadHandler
from fetcher.handlers.blocking.login import Login
from fetcher.handlers.blocking.session import NoRanges, Refused, Session, TooManyConnections

__all__ = [
    "BlockingDownloadHandler",
    "Login",
    "NoRanges",
    "Refused",
    "Session",
    "TooManyConnections",
]
