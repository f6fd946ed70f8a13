"""http:// and https://, on Twisted."""

from fetcher.handlers.http.handler import RangeHTTPDownloadHandler

__all__ = ["RangeHTTPDownloadHandler"]
