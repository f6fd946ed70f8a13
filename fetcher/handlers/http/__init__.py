"""http:// and https://, on Twisted."""

from fetcher.handlers.http.handler import RangeHTTPDownloadHandler, RangeHTTPSDownloadHandler

__all__ = ["RangeHTTPDownloadHandler", "RangeHTTPSDownloadHandler"]
